"""The one loader: YAML files in this folder -> frozen `Settings`.

`LAKEHOUSE_ENV` chooses the environment: a name (`local`, `aws`: a file in `environments/`) or a path to a YAML file.
`LAKEHOUSE_PIPELINE`, `LAKEHOUSE_PATHS` and `LAKEHOUSE_SEGMENTS` are paths to files instead of `pipeline.yaml`,
`s3_paths.yaml` and `segments.yaml`.
An unknown key, a missing key or a value of the wrong type is a `ConfigError` that names the key and the file.
"""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

PROJECT_ROOT = Path(__file__).resolve().parent.parent
CONFIG_DIR = PROJECT_ROOT / "config"
EVENT_SCHEMA_FILE = CONFIG_DIR / "event.schema.json"

_STRICT = ConfigDict(extra="forbid")
Rate = float


class ConfigError(Exception):
    """A configuration file is wrong; the message names the file and every key at fault."""


@dataclass(frozen=True, config=_STRICT)
class Kafka:
    bootstrap_servers: str
    security_protocol: str


@dataclass(frozen=True, config=_STRICT)
class Aws:
    """`endpoint_url` is null on AWS itself, where the SDK knows the endpoints."""

    region: str
    endpoint_url: str | None
    bucket: str


@dataclass(frozen=True, config=_STRICT)
class Spark:
    """`remote` is a Spark Connect server (`sc://host:port`) for the jobs of this environment; null: a JVM for each."""

    remote: str | None
    master: str
    driver_memory: str
    java_options: str
    shuffle_partitions: int


@dataclass(frozen=True, config=_STRICT)
class Ports:
    """TCP ports on `bind_host`, all different."""

    kafka: int
    kafka_controller: int
    aws: int
    postgres: int
    airflow: int
    trino: int
    athena: int
    dashboard: int
    supervisor: int


@dataclass(frozen=True, config=_STRICT)
class Stack:
    """The services that we run ourselves on one machine; null where somebody else runs them."""

    bind_host: str
    state_dir: str
    ports: Ports

    @property
    def state_path(self) -> Path:
        return (PROJECT_ROOT / self.state_dir).resolve()


@dataclass(frozen=True, config=_STRICT)
class Environment:
    """`mlflow_tracking_uri` is a server's, or a folder, a relative one below the project; null: nothing is tracked.

    `airflow_url` is where a person sees the runs; null: the dashboard has no links to them.
    """

    name: str
    kafka: Kafka
    aws: Aws
    spark: Spark
    mlflow_tracking_uri: str | None
    airflow_url: str | None
    stack: Stack | None

    @property
    def any_credentials(self) -> str | None:
        """AWS key and secret where none are set: the stack on one machine takes any. None: the SDK chooses."""
        is_set = bool({"AWS_ACCESS_KEY_ID", "AWS_PROFILE"} & os.environ.keys())
        return None if self.stack is None or is_set else "test"


@dataclass(frozen=True, config=_STRICT)
class Tables:
    """Table names inside the Glue database."""

    raw_events: str
    events: str
    sessions: str
    user_daily_activity: str
    user_features: str
    user_segments: str
    segment_profiles: str
    segment_transitions: str
    model_runs: str
    pipeline_runs: str
    failed_runs: str
    forgotten_users: str


@dataclass(frozen=True, config=_STRICT)
class Paths:
    """S3 URIs (`s3://bucket/prefix`, no trailing slash) and table names."""

    warehouse: str
    truth: str
    models: str
    athena_results: str
    database: str
    tables: Tables


@dataclass(frozen=True, config=_STRICT)
class Topic:
    """`options` are Kafka's own, for a topic that does not exist yet."""

    name: str
    partitions: int
    options: dict[str, str]


@dataclass(frozen=True, config=_STRICT)
class Schedule:
    """When the DAG runs. Backfills are possible from `start_date` to `end_date` (null: to yesterday).

    `parallel_dates` is how many dates a backfill processes at the same time.
    """

    cron: str
    start_date: dt.date
    end_date: dt.date | None
    parallel_dates: Annotated[int, Field(ge=1)]


@dataclass(frozen=True, config=_STRICT)
class Source:
    """Where the events of a DAG run come from."""

    kind: Literal["generator", "replay", "external"]
    replay_file: str | None


@dataclass(frozen=True, config=_STRICT)
class Generator:
    """Rates are shares (0..1) of the events of a date."""

    seed: int
    events_per_date: int
    users: int
    late_rate: Rate
    duplicate_rate: Rate
    malformed_rate: Rate


@dataclass(frozen=True, config=_STRICT)
class Landing:
    """`pool` is Airflow's, with one slot: two landings at once would do their work twice."""

    records_per_commit: Annotated[int, Field(gt=0)]
    pool: str


@dataclass(frozen=True, config=_STRICT)
class Transform:
    session_gap_minutes: int
    allowed_lateness_days: int
    rows_per_draft: Annotated[int, Field(gt=0)]


@dataclass(frozen=True, config=_STRICT)
class Audit:
    """By how much a rebuilt date may fall below what it replaces, before it is published."""

    max_fall_share: Rate
    ignored_fall_rows: int


@dataclass(frozen=True, config=_STRICT)
class Checks:
    """From when on a date looks so implausible that its run warns."""

    max_quarantined_share: Rate
    max_silent_hours: int


@dataclass(frozen=True, config=_STRICT)
class Maintenance:
    """Weekly care of the tables. Iceberg deletes no orphan that is younger than a day: a run may be writing it."""

    cron: str
    retention_days: Annotated[int, Field(ge=1)]
    target_file_size_mb: Annotated[int, Field(ge=1)]
    min_input_files: Annotated[int, Field(ge=2)]
    orphan_age_days: Annotated[int, Field(ge=2)]


@dataclass(frozen=True, config=_STRICT)
class ClusterChoice:
    """How `num_clusters: auto` decides; `spark_jobs/cluster_choice.py` says what each is measured by."""

    candidates: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(min_length=1)]
    min_smallest_share: Rate
    min_stability: float
    min_inertia_gain: Rate
    silhouette_tolerance: float
    sample_users: Annotated[int, Field(gt=0)]


@dataclass(frozen=True, config=_STRICT)
class Training:
    """When a model is trained besides the scored one, and when it takes over.

    Weeks are `every_days` long; drift is judged by `Drift`. A challenger takes over when its silhouette is better by
    `min_silhouette_gain` on the same users, or when a person has changed the settings.
    """

    every_days: Annotated[int, Field(ge=1)]
    min_silhouette_gain: float
    needs_approval: bool


@dataclass(frozen=True, config=_STRICT)
class Drift:
    """From when on the users of a date are other users than those that the champion was trained on."""

    max_feature_index: float
    max_segment_share_change: Rate
    max_distance_ratio: float


@dataclass(frozen=True, config=_STRICT)
class Identity:
    """When a cluster is the segment that it was matched with: `spark_jobs/segment_identity.py`."""

    max_distance_share: float
    min_overlap: Rate


@dataclass(frozen=True, config=_STRICT)
class Segmentation:
    """`rate_features` maps a rate to the count of user_features that it is a rate of: the more, the surer it is.

    A user changes segment from one date to the next when another centroid is nearer than that of the user's segment by
    `min_distance_gain`, a share of the distance to the latter; 0: whenever it is nearer.
    """

    num_clusters: Annotated[int, Field(ge=2)] | Literal["auto"]
    choice: ClusterChoice
    seed: int
    num_seeds: Annotated[int, Field(ge=1)]
    max_iterations: int
    min_sessions: Annotated[int, Field(ge=0)]
    winsorised_share: Annotated[float, Field(ge=0, lt=0.5)]
    model_policy: Literal["as_of", "champion"]
    min_distance_gain: Annotated[float, Field(ge=0, lt=1)]
    training: Training
    drift: Drift
    identity: Identity
    log_features: tuple[str, ...]
    rate_features: dict[str, str]

    @property
    def features(self) -> tuple[str, ...]:
        """The columns of user_features that a model is trained on."""
        return (*self.log_features, *self.rate_features)


@dataclass(frozen=True, config=_STRICT)
class NameRule:
    """`when` maps a feature to `>z` or `<z`, z in standard deviations from the mean of all users.

    `story` is one sentence: what such users do.
    """

    name: str
    story: str
    when: dict[str, Annotated[str, Field(pattern=r"^[<>]-?\d+(\.\d+)?$")]]


def _check_format(text: str) -> str:
    format(0.5, text)
    return text


@dataclass(frozen=True, config=_STRICT)
class SegmentOverride:
    """A person's words for one segment; null leaves those of the rules."""

    name: str | None
    story: str | None


@dataclass(frozen=True, config=_STRICT)
class Phrase:
    """A feature in words; `format` is Python's, of its mean."""

    words: str
    format: Annotated[str, AfterValidator(_check_format)]


@dataclass(frozen=True, config=_STRICT)
class SegmentWords:
    """Names and stories of segments. `phrases` maps a feature to its words; without them it stands as it is called."""

    names: tuple[NameRule, ...]
    unnamed_story: str
    overrides: dict[int, SegmentOverride]
    new_users: SegmentOverride
    phrases: dict[str, Phrase]


@dataclass(frozen=True, config=_STRICT)
class Dashboard:
    """`work_group` is Athena's: it stops a query that reads more than `scan_limit_mb`.

    Every `warm_up_seconds` the server looks whether the lake has changed and come to rest; it then asks for what the
    pages show first. 0: it never does, and who opens a page waits for Athena.
    """

    work_group: str
    scan_limit_mb: Annotated[int, Field(ge=10)]
    usd_per_terabyte: Annotated[float, Field(ge=0)]
    currency: str
    days: Annotated[int, Field(ge=1)]
    warm_up_seconds: Annotated[float, Field(ge=0)]


@dataclass(frozen=True, config=_STRICT)
class Pipeline:
    topic: Topic
    schedule: Schedule
    source: Source
    generator: Generator
    landing: Landing
    transform: Transform
    audit: Audit
    checks: Checks
    maintenance: Maintenance
    segmentation: Segmentation
    dashboard: Dashboard


@dataclass(frozen=True, config=_STRICT)
class Settings:
    environment: Environment
    paths: Paths
    pipeline: Pipeline
    segment_words: SegmentWords


T = TypeVar("T")


def load(environment: str | None = None) -> Settings:
    """Read the settings of `environment` (default: `LAKEHOUSE_ENV`, else `local`)."""
    env = load_environment(environment)
    paths_file = Path(os.environ.get("LAKEHOUSE_PATHS", CONFIG_DIR / "s3_paths.yaml"))
    paths = _parse(Paths, _fill(_read(paths_file), paths_file, bucket=env.aws.bucket), paths_file)
    pipeline_file = Path(os.environ.get("LAKEHOUSE_PIPELINE", CONFIG_DIR / "pipeline.yaml"))
    words_file = Path(os.environ.get("LAKEHOUSE_SEGMENTS", CONFIG_DIR / "segments.yaml"))
    return Settings(
        environment=env,
        paths=paths,
        pipeline=_parse(Pipeline, _read(pipeline_file), pipeline_file),
        segment_words=_parse(SegmentWords, _read(words_file), words_file),
    )


def load_environment(environment: str | None = None) -> Environment:
    """Read one environment file; ports fill the `{ports[...]}` of the local endpoints."""
    file = environment_file(environment)
    content = _read(file)
    ports = (content.get("stack") or {}).get("ports") or {}
    filled = _fill(content, file, ports=ports)
    return _parse(Environment, filled, file)


def environment_file(environment: str | None = None) -> Path:
    """The YAML file of an environment given by name or by path."""
    chosen = environment or os.environ.get("LAKEHOUSE_ENV") or "local"
    file = Path(chosen) if chosen.endswith((".yaml", ".yml")) else CONFIG_DIR / "environments" / f"{chosen}.yaml"
    if not file.exists():
        known = ", ".join(sorted(f.stem for f in (CONFIG_DIR / "environments").glob("*.yaml")))
        raise ConfigError(f"environment {chosen!r}: {file} does not exist; set LAKEHOUSE_ENV to one of: {known}")
    return file


def _read(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: expected a mapping at the top")
    return content


def _fill(value: Any, file: Path, **names: Any) -> Any:
    """Replace `{name}` in every string of a parsed YAML tree."""
    if isinstance(value, dict):
        return {key: _fill(item, file, **names) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, file, **names) for item in value]
    if not isinstance(value, str):
        return value
    try:
        return value.format(**names)
    except (KeyError, AttributeError, ValueError, IndexError) as error:
        raise ConfigError(f"{file}: {value!r} cannot be filled in from {names}: {error!r}") from error


def _parse(kind: type[T], content: dict[str, Any], file: Path) -> T:
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"{file}: {faults}") from error
