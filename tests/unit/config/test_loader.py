"""The loader on altered copies of the shipped files, and what the shipped files promise to the rest of the project."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import config
from config import ConfigError
from config.loader import CONFIG_DIR, EVENT_SCHEMA_FILE, load_environment
from spark_jobs.lake.tables import USER_FEATURES
from tests.altered_settings import write_altered

Alter = Callable[[dict[str, Any]], Any]


@pytest.fixture(autouse=True)
def _no_environment_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAKEHOUSE_ENV", raising=False)
    monkeypatch.delenv("LAKEHOUSE_PIPELINE", raising=False)
    monkeypatch.delenv("LAKEHOUSE_PATHS", raising=False)


def local_environment(tmp_path: Path, alter: Alter) -> str:
    return write_altered(tmp_path, CONFIG_DIR / "environments" / "local.yaml", alter)


@pytest.mark.parametrize(
    ("alter", "key"),
    [
        (lambda c: c["kafka"].update(bootstrap_server="typo"), "kafka.bootstrap_server: "),
        (lambda c: c.update(colour="red"), "colour: "),
        (lambda c: c["aws"].pop("bucket"), "aws.bucket: "),
        (lambda c: c.pop("spark"), "spark: "),
        (lambda c: c["spark"].update(shuffle_partitions="many"), "spark.shuffle_partitions: "),
        (lambda c: c["stack"]["ports"].update(airflow=None), "stack.ports.airflow: "),
    ],
    ids=["unknown", "unknown at the top", "missing", "missing at the top", "wrong type", "null"],
)
def test_a_wrong_key_of_an_environment_is_an_error_that_names_key_and_file(
    tmp_path: Path, alter: Alter, key: str
) -> None:
    file = local_environment(tmp_path, alter)
    with pytest.raises(ConfigError) as error:
        load_environment(file)
    assert str(error.value).startswith(f"{file}: {key}")


@pytest.mark.parametrize(
    ("alter", "key"),
    [
        (lambda c: c["transform"].update(session_gap_seconds=1800), "transform.session_gap_seconds: "),
        (lambda c: c["generator"].pop("seed"), "generator.seed: "),
        (lambda c: c["source"].update(kind="kafka"), "source.kind: "),
        (lambda c: c["schedule"].update(parallel_dates=0), "schedule.parallel_dates: "),
        (lambda c: c["segmentation"].update(num_clusters="some"), "segmentation.num_clusters"),
        (lambda c: c["segmentation"]["choice"].update(candidates=[3, 1]), "segmentation.choice.candidates.1: "),
    ],
    ids=["unknown", "missing", "not a choice", "out of range", "wrong type", "out of range in a list"],
)
def test_a_wrong_key_of_the_pipeline_is_an_error_that_names_key_and_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alter: Alter, key: str
) -> None:
    file = write_altered(tmp_path, CONFIG_DIR / "pipeline.yaml", alter)
    monkeypatch.setenv("LAKEHOUSE_PIPELINE", file)
    with pytest.raises(ConfigError) as error:
        config.load("local")
    assert str(error.value).startswith(f"{file}: {key}")


def test_an_error_names_every_key_at_fault(tmp_path: Path) -> None:
    def alter(content: dict[str, Any]) -> None:
        del content["aws"]["bucket"]
        content["spark"]["cores"] = 2

    with pytest.raises(ConfigError, match=r"(?s)aws\.bucket.*spark\.cores"):
        load_environment(local_environment(tmp_path, alter))


@pytest.mark.parametrize(("text", "words"), [("a: [1", "cannot be read"), ("- a\n- b\n", "expected a mapping")])
def test_a_file_that_is_no_yaml_mapping_is_an_error_that_names_it(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words) as error:
        load_environment(str(file))
    assert str(file) in str(error.value)


def test_an_unknown_environment_names_the_choices() -> None:
    with pytest.raises(ConfigError) as error:
        config.load("staging")
    assert "'staging'" in str(error.value)
    assert str(error.value).endswith("set LAKEHOUSE_ENV to one of: aws, local")


def test_ports_fill_the_endpoints(tmp_path: Path) -> None:
    def alter(content: dict[str, Any]) -> None:
        content["stack"]["ports"] |= {"kafka": 19092, "aws": 14566}

    environment = load_environment(local_environment(tmp_path, alter))
    assert environment.kafka.bootstrap_servers == "127.0.0.1:19092"
    assert environment.aws.endpoint_url == "http://127.0.0.1:14566"


def test_an_endpoint_with_an_unknown_port_names_port_and_file(tmp_path: Path) -> None:
    file = local_environment(tmp_path, lambda c: c["aws"].update(endpoint_url="http://127.0.0.1:{ports[s3]}"))
    with pytest.raises(
        ConfigError, match=r"'http://127.0.0.1:\{ports\[s3\]\}' cannot be filled in.*KeyError\('s3'\)"
    ) as error:
        load_environment(file)
    assert str(error.value).startswith(f"{file}: ")


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:{ports.aws}", "http://127.0.0.1:{", "http://{}"])
def test_a_placeholder_that_makes_no_sense_names_file_and_value(tmp_path: Path, endpoint: str) -> None:
    file = local_environment(tmp_path, lambda c: c["aws"].update(endpoint_url=endpoint))
    with pytest.raises(ConfigError) as error:
        load_environment(file)
    assert str(error.value).startswith(f"{file}: {endpoint!r} cannot be filled in")


def test_lakehouse_env_chooses_an_environment_by_name_and_by_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert config.load().environment.name == "local"
    monkeypatch.setenv("LAKEHOUSE_ENV", "aws")
    assert config.load().environment.name == "aws"
    monkeypatch.setenv("LAKEHOUSE_ENV", local_environment(tmp_path, lambda c: c.update(name="mine")))
    assert config.load().environment.name == "mine"
    assert config.load("aws").environment.name == "aws"


def test_on_aws_the_sdk_knows_the_endpoint_and_nothing_is_our_own_service() -> None:
    environment = config.load("aws").environment
    assert environment.stack is None
    assert environment.aws.endpoint_url is None


def test_every_path_lies_in_the_bucket_of_the_environment_and_every_table_has_its_name(tmp_path: Path) -> None:
    paths = config.load(local_environment(tmp_path, lambda c: c["aws"].update(bucket="other"))).paths
    assert dataclasses.asdict(paths) == {
        "warehouse": "s3://other/warehouse",
        "truth": "s3://other/truth",
        "models": "s3://other/models",
        "athena_results": "s3://other/athena",
        "database": "clickstream",
        "tables": {
            "raw_events": "raw_events",
            "events": "events",
            "sessions": "sessions",
            "user_daily_activity": "user_daily_activity",
            "user_features": "user_features",
            "user_segments": "user_segments",
            "segment_profiles": "segment_profiles",
            "segment_transitions": "segment_transitions",
            "model_runs": "model_runs",
            "pipeline_runs": "pipeline_runs",
            "failed_runs": "failed_runs",
            "forgotten_users": "forgotten_users",
        },
    }


def test_lakehouse_paths_puts_a_lake_of_another_name_beside_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_altered(tmp_path, CONFIG_DIR / "s3_paths.yaml", lambda c: c.update(database="second"))
    monkeypatch.setenv("LAKEHOUSE_PATHS", file)
    assert config.load("local").paths.database == "second"
    write_altered(tmp_path, Path(file), lambda c: c.pop("models"))
    with pytest.raises(ConfigError) as error:
        config.load("local")
    assert str(error.value).startswith(f"{file}: models: ")


def sections(value: Any) -> list[Any]:
    """Every dataclass of the settings, the nested ones included."""
    if dataclasses.is_dataclass(value):
        return [value, *(s for field in dataclasses.fields(value) for s in sections(getattr(value, field.name)))]
    return [s for item in value for s in sections(item)] if isinstance(value, tuple) else []


def test_no_section_of_the_settings_can_be_changed() -> None:
    found = sections(config.load("local"))
    assert {"Settings", "Environment", "Ports", "Tables", "NameRule"} <= {type(section).__name__ for section in found}
    for section in found:
        name = dataclasses.fields(section)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(section, name, getattr(section, name))


def test_the_ports_of_the_local_stack_are_all_different() -> None:
    stack = config.load("local").environment.stack
    assert stack is not None
    ports = list(dataclasses.asdict(stack.ports).values())
    assert len(set(ports)) == len(ports) > 1


def test_the_segmentation_names_only_columns_of_user_features_each_once() -> None:
    segmentation = config.load("local").pipeline.segmentation
    assert len(segmentation.features) > 1
    columns = {column.name: column for column in USER_FEATURES.columns}
    assert {*segmentation.features, *segmentation.rate_features.values()} <= set(columns) - {"user_id", "snapshot_date"}
    assert len(set(segmentation.features)) == len(segmentation.features)
    # A log feature has a value for every user, and so has every count that a rate rests on.
    assert not any(
        columns[name].is_nullable for name in (*segmentation.log_features, *segmentation.rate_features.values())
    )


def test_every_naming_rule_has_a_name_and_a_story_and_conditions_on_configured_features() -> None:
    settings = config.load("local")
    features, words = set(settings.pipeline.segmentation.features), settings.segment_words
    names = [rule.name for rule in words.names]
    assert len(names) >= max(settings.pipeline.segmentation.choice.candidates)
    assert len(set(names)) == len(names)
    for rule in words.names:
        assert rule.when, rule
        assert set(rule.when) <= features, rule
        assert rule.story.endswith("."), rule
        assert rule.story.count(".") == 1, rule
    assert set(words.phrases) == features


@pytest.mark.parametrize(
    ("alter", "key"),
    [
        (lambda c: c["names"][1].pop("when"), "names.1.when: "),
        (lambda c: c["names"][0]["when"].update(revenue_sum_30d="0.5"), "names.0.when.revenue_sum_30d: "),
        (lambda c: c["overrides"].update({3: {"name": "our best"}}), "overrides.3.story: "),
        (lambda c: c["phrases"]["revenue_sum_30d"].update(format="dollars"), "phrases.revenue_sum_30d.format: "),
    ],
    ids=["missing in a list", "no bound", "half an override", "no format"],
)
def test_a_wrong_key_of_the_segments_words_is_an_error_that_names_key_and_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alter: Callable[[Any], Any], key: str
) -> None:
    content = yaml.safe_load((CONFIG_DIR / "segments.yaml").read_text(encoding="utf-8"))
    alter(content)
    file = tmp_path / "segments.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    monkeypatch.setenv("LAKEHOUSE_SEGMENTS", str(file))
    with pytest.raises(ConfigError) as error:
        config.load("local")
    assert str(error.value).startswith(f"{file}: {key}")


def test_the_event_schema_requires_the_four_fields_and_knows_the_eight_types() -> None:
    schema = json.loads(EVENT_SCHEMA_FILE.read_text(encoding="utf-8"))
    assert schema["required"] == ["event_id", "event_time", "event_type", "user_id"]
    assert schema["properties"]["event_type"]["enum"] == [
        "page_view", "search", "click", "view", "cart", "remove_from_cart", "checkout", "purchase",
    ]  # fmt: skip
    assert schema["properties"]["user_id"]["type"] == "string"
    assert all(field["description"] for field in schema["properties"].values())
