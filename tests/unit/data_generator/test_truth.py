"""Manifests and truth tables, on an S3 in memory."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import date
from typing import Any

import boto3
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest

from config import Settings
from data_generator import event_producer
from data_generator.kafka_sink import Delivery, ListSink
from data_generator.truth import (
    Manifest,
    TruthError,
    TruthStore,
    date_name,
    produced_by_date,
    read_manifest,
)
from tests.unit.data_generator.builders import TUESDAY

COMMAND = ["--date", "2025-04-01", "--events", "400", "--users", "100", "--seed", "7"]


def make_manifest(**overrides: Any) -> Manifest:
    defaults: dict[str, Any] = {
        "parameters": {"seed": 7, "events": 10},
        "produced": 12,
        "by_event_date": {"2025-03-31": 2, "2025-04-01": 10},
        "by_kind": {"clean": 8, "late": 2, "duplicate": 1, "malformed": 1},
    }
    return Manifest(**{**defaults, **overrides})


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> ListSink:
    """Stands where the Kafka topic is; every run of the command opens it anew."""
    kept = ListSink()
    monkeypatch.setattr(event_producer, "open_sink", lambda *_: ListSink(kept.records))
    return kept


@pytest.mark.usefixtures("bucket")
def test_a_date_without_a_manifest_has_none(settings: Settings) -> None:
    assert read_manifest(settings, TUESDAY) is None
    assert produced_by_date(settings) == {}


@pytest.mark.usefixtures("bucket")
def test_a_manifest_comes_back_as_it_was_written(settings: Settings) -> None:
    TruthStore(settings, settings.pipeline.topic.name).write(date_name(TUESDAY), make_manifest())
    assert read_manifest(settings, TUESDAY) == make_manifest()


@pytest.mark.usefixtures("bucket")
def test_produced_by_date_sums_generated_live_and_replayed(settings: Settings) -> None:
    store = TruthStore(settings, settings.pipeline.topic.name)
    store.write("date=2025-04-01", make_manifest())
    store.write("date=2025-04-02", make_manifest(by_event_date={"2025-04-01": 3, "2025-04-02": 7}))
    store.write("live=2025-04-02T08-00-00.000000Z", make_manifest(by_event_date={"2025-04-02": 100}))
    store.write("replay=oct/date=2019-10-01", make_manifest(by_event_date={"2019-10-01": 5}))
    TruthStore(settings, "another-topic").write("date=2025-04-01", make_manifest())
    assert produced_by_date(settings) == {"2019-10-01": 5, "2025-03-31": 2, "2025-04-01": 13, "2025-04-02": 107}
    days = [date(2019, 10, 1), date(2025, 3, 31), date(2025, 4, 1), date(2025, 4, 2), date(2025, 4, 3)]
    assert [produced_by_date(settings, near=day).get(str(day)) for day in days] == [5, 2, 13, 107, None]


@pytest.mark.usefixtures("bucket")
def test_what_a_date_produced_is_told_by_its_neighbours_whatever_the_history(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, read = TruthStore(settings, settings.pipeline.topic.name), list[str]()
    for day in range(1, 31):
        store.write(f"date=2025-04-{day:02}", make_manifest())
    read_one = TruthStore.read_manifest

    def read_and_remember(self: TruthStore, name: str) -> Manifest | None:
        read.append(name)
        return read_one(self, name)

    monkeypatch.setattr(TruthStore, "read_manifest", read_and_remember)
    produced_by_date(settings, near=date(2025, 4, 10))
    assert read == ["date=2025-04-09", "date=2025-04-10", "date=2025-04-11"]


@pytest.mark.usefixtures("bucket")
def test_a_missing_bucket_is_an_error_that_names_the_place(settings: Settings) -> None:
    elsewhere = replace(settings, paths=replace(settings.paths, truth="s3://nowhere/truth"))
    with pytest.raises(TruthError, match=r"s3://nowhere/truth.*--no-truth"):
        read_manifest(elsewhere, TUESDAY)


def test_a_second_publication_with_the_same_parameters_counts_as_duplicates() -> None:
    both = make_manifest().plus(make_manifest())
    assert both.produced == 24
    assert both.by_event_date == {"2025-03-31": 4, "2025-04-01": 20}
    assert both.by_kind == {"clean": 8, "late": 2, "duplicate": 12, "malformed": 2}
    assert both.publications == 2


def test_a_second_publication_with_other_parameters_adds_its_kinds() -> None:
    both = make_manifest().plus(make_manifest(parameters={"seed": 8, "events": 10}))
    assert both.by_kind == {"clean": 16, "late": 4, "duplicate": 2, "malformed": 2}


def test_published_date_leaves_its_truth(bucket: str, settings: Settings, sink: ListSink) -> None:
    assert event_producer.main(COMMAND) == 0
    manifest = read_manifest(settings, TUESDAY)
    assert manifest is not None
    assert manifest.produced == len(sink.records) == sum(manifest.by_event_date.values())
    assert manifest.parameters["seed"] == 7
    assert manifest.by_kind == {"clean": 398, "late": 2, "duplicate": 2, "malformed": 1}

    def read(name: str) -> Any:
        body = boto3.client("s3", region_name="us-east-1").get_object(
            Bucket=bucket, Key=f"truth/date=2025-04-01/{name}.parquet"
        )["Body"]
        return pq.read_table(io.BytesIO(body.read()))

    assert read("users").column_names == ["user_id", "persona"]
    assert read("users").num_rows == 100
    assert sum(read("sessions")["event_count"].to_pylist()) == 400
    assert sorted(read("injected")["kind"].to_pylist()) == ["duplicate", "duplicate", "late", "late", "malformed"]


@pytest.mark.usefixtures("bucket")
def test_a_date_is_not_published_twice(sink: ListSink, capsys: pytest.CaptureFixture[str]) -> None:
    assert event_producer.main(COMMAND) == 0
    published = len(sink.records)
    assert event_producer.main(COMMAND) == 0
    assert len(sink.records) == published
    assert "already published; --force publishes again" in capsys.readouterr().out


@pytest.mark.usefixtures("bucket")
def test_other_parameters_for_a_published_date_are_refused_by_name(
    sink: ListSink, capsys: pytest.CaptureFixture[str]
) -> None:
    assert event_producer.main(COMMAND) == 0
    published = len(sink.records)
    assert event_producer.main([*COMMAND, "--seed", "8"]) == 1
    assert len(sink.records) == published
    assert "seed: 7, now 8" in (message := capsys.readouterr().err)
    assert "--force" in message


@pytest.mark.usefixtures("bucket")
def test_force_publishes_again_and_the_manifest_counts_both(settings: Settings, sink: ListSink) -> None:
    assert event_producer.main(COMMAND) == 0
    assert event_producer.main([*COMMAND, "--force"]) == 0
    manifest = read_manifest(settings, TUESDAY)
    assert manifest is not None
    assert manifest.produced == len(sink.records)
    assert manifest.by_kind["clean"] == 398


@pytest.mark.usefixtures("bucket")
def test_no_truth_writes_nothing(settings: Settings, sink: ListSink) -> None:
    assert event_producer.main([*COMMAND, "--no-truth"]) == 0
    assert sink.records
    assert read_manifest(settings, TUESDAY) is None


@pytest.mark.usefixtures("bucket")
def test_undelivered_records_fail_the_command_and_leave_no_manifest(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class LosingSink(ListSink):
        def close(self) -> Delivery:
            return Delivery(delivered=398, undelivered=5, reason="timed out")

    monkeypatch.setattr(event_producer, "open_sink", lambda *_: LosingSink())
    assert event_producer.main(COMMAND) == 1
    assert "5 records were not delivered" in (message := capsys.readouterr().err)
    assert "timed out" in message
    assert read_manifest(settings, TUESDAY) is None


@pytest.mark.usefixtures("bucket")
def test_each_date_has_its_own_manifest(settings: Settings, sink: ListSink) -> None:
    assert event_producer.main(COMMAND) == 0
    assert event_producer.main(["--date", "2025-04-02", *COMMAND[2:]]) == 0
    assert read_manifest(settings, date(2025, 4, 2)) is not None
    assert sum(produced_by_date(settings).values()) == len(sink.records)
    whole = produced_by_date(settings)
    assert {day: produced_by_date(settings, near=date.fromisoformat(day))[day] for day in whole} == whole


@pytest.mark.usefixtures("bucket")
def test_a_forgotten_user_leaves_the_tables_of_every_topic_and_no_count(settings: Settings) -> None:
    users = pa.table({"user_id": ["007", "008", "007"], "persona": ["a", "b", "c"]})
    stores = [TruthStore(settings, topic) for topic in (settings.pipeline.topic.name, "another-topic")]
    for store in stores:
        store.write(date_name(TUESDAY), make_manifest(), {"users": users, "sessions": users.select(["user_id"])})
    assert [stores[0].forget_user("007") for _ in range(2)] == [8, 0]
    s3 = boto3.client("s3", region_name="us-east-1")
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket="lake")["Contents"] if item["Key"].endswith(".parquet")]
    assert len(keys) == 4
    for key in keys:
        left = pq.read_table(io.BytesIO(s3.get_object(Bucket="lake", Key=key)["Body"].read()))
        assert left.column("user_id").to_pylist() == ["008"]
    assert all(store.read_manifest(date_name(TUESDAY)) == make_manifest() for store in stores)
