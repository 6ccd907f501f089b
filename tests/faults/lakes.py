"""Two lakes on one stack: the ordinary one, which the tests disturb, and one that nobody disturbs.

Both get the same dates. A date goes through four stages: in the disturbed lake each is a process, as by hand, in the
undisturbed one a call in the tests' own warm Spark. `Turn` is one stage of one date, which the undisturbed lake has
behind it when a test gets hold of it.
"""

from __future__ import annotations

import datetime as dt
import io
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from pyiceberg.catalog import Catalog
from pyiceberg.table.snapshots import ancestors_of

import config
from config import Settings
from config.catalog import open_catalog
from config.loader import CONFIG_DIR
from spark_jobs import land_raw_events, transform_clickstream, user_segmentation_ml
from spark_jobs.lake.notes import JOB_STARTED_MS, RUN_DATE
from spark_jobs.lake.tables import TABLES
from tests.altered_settings import work_little, write_altered
from tests.faults.aws_proxy import AwsProxy
from tests.row_text import to_text
from tests.running_stack import Ended, Running, RunningStack

EVENTS = 2_000
FIRST_DATE = dt.date(2025, 4, 1)
DAY = dt.timedelta(days=1)
PRODUCER, LANDING, TRANSFORM, SEGMENTATION = STAGES = ("producer", "landing", "transform", "segmentation")
PUBLISHED_BY = {
    PRODUCER: (),
    LANDING: ("raw_events",),
    TRANSFORM: ("user_features", "user_daily_activity", "sessions", "events"),
    SEGMENTATION: ("segment_transitions", "segment_profiles", "user_segments"),
}
COMPARED = [table.name for table in TABLES if table.name not in ("pipeline_runs", "failed_runs")]
# What a record is, without where it lies: a producer that was killed publishes again what it had published.
# The option that says the date, and what a process of the stage calls.
JOBS: dict[str, tuple[str, Callable[[list[str]], int]]] = {
    LANDING: ("--run-date", land_raw_events.main),
    TRANSFORM: ("--start-date", transform_clickstream.main),
    SEGMENTATION: ("--start-date", user_segmentation_ml.main),
}
RECORD_COLUMNS = ("key", "payload", "timestamp", "error_type", "error_detail", "event", "event_date")
SLOWEST_STAGE_SECONDS = 900


class Lake:
    """One lake; `variables` make a command, or the loader, see it."""

    def __init__(self, stack: RunningStack, variables: dict[str, str], logs: Path) -> None:
        self._stack = stack
        self._logs = logs
        self.variables = variables
        self.settings = load_settings(variables)

    def start(self, stage: str, date: dt.date, **variables: str) -> Running:
        """The stage's ordinary command; `variables` go before those of the lake."""
        return Running(self._stack, self._logs, self._command(stage, date), **self.variables, **variables)

    def run(self, stage: str, date: dt.date) -> Ended:
        """The stage to its end, which must be a good one."""
        ended = self.start(stage, date).end(timeout=SLOWEST_STAGE_SECONDS)
        assert ended.code == 0, f"{stage} of {date} ended with {ended.code}\n{ended.out}\n{ended.err[-6000:]}"
        return ended

    def _command(self, stage: str, date: dt.date) -> tuple[str, ...]:
        day = str(date)
        submit = ("spark-submit", "--master", self.settings.environment.spark.master)
        commands = {
            PRODUCER: ("python", "data_generator/event_producer.py", "--date", day, "--events", str(EVENTS)),
            LANDING: (*submit, "spark_jobs/land_raw_events.py", "--run-date", day),
            TRANSFORM: (*submit, "spark_jobs/transform_clickstream.py", "--start-date", day),
            SEGMENTATION: (*submit, "spark_jobs/user_segmentation_ml.py", "--start-date", day),
        }
        return commands[stage]

    def contents(self) -> dict[str, list[str]]:
        """Every row of every table as text, sorted, without what names its place; as an outside reader sees it."""
        return {name: sorted(set(rows) if name == "raw_events" else rows) for name, rows in self._texts().items()}

    def _texts(self) -> dict[str, list[str]]:
        texts = {}
        for name in COMPARED:
            rows = self.rows(name, RECORD_COLUMNS if name == "raw_events" else ("*",))
            texts[name] = [to_text(row, without={"artifact"}) for row in rows]
        return texts

    def rows(self, table: str, columns: tuple[str, ...] = ("*",)) -> list[dict[str, Any]]:
        """Rows of main; none where the table does not exist yet."""
        name = (self.settings.paths.database, asdict(self.settings.paths.tables)[table])
        catalog = self._catalog()
        if not catalog.table_exists(name):
            return []
        found: list[dict[str, Any]] = catalog.load_table(name).scan(selected_fields=columns).to_arrow().to_pylist()
        return found

    def published_by(self, date: dt.date) -> dict[str, int | None]:
        """Which run of `date`, by the time at which it started, was the last to publish each table; None before one."""
        catalog, database = self._catalog(), self.settings.paths.database
        started: dict[str, int | None] = {}
        for key, name in asdict(self.settings.paths.tables).items():
            if catalog.table_exists((database, name)):
                table = catalog.load_table((database, name))
                commits = ancestors_of(table.current_snapshot(), table.metadata)
                started[key] = JOB_STARTED_MS.find(commit for commit in commits if RUN_DATE.read(commit) == date)
        return started

    def _catalog(self) -> Catalog:
        return open_catalog(self._stack.settings)

    def topic_ends(self) -> dict[int, int]:
        """Offset after the last record of each partition of the topic."""
        name = self.settings.pipeline.topic.name
        consumer = Consumer(
            {"bootstrap.servers": self.settings.environment.kafka.bootstrap_servers, "group.id": "faults"}
        )
        try:
            topics = consumer.list_topics(timeout=30).topics
            partitions = topics[name].partitions if name in topics else {}
            return {p: consumer.get_watermark_offsets(TopicPartition(name, p), timeout=30)[1] for p in partitions}
        finally:
            consumer.close()


class UndisturbedLake(Lake):
    """A lake whose Spark jobs run in this process, in the active session."""

    def run(self, stage: str, date: dt.date) -> Ended:
        """The stage to its end, which must be a good one."""
        if stage not in JOBS:
            return super().run(stage, date)
        option, main = JOBS[stage]
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name, value in self.variables.items():
                patch.setenv(name, value)
            code = main([option, str(date)])
        ended = Ended(out.getvalue(), err.getvalue(), code)
        assert ended.code == 0, f"{stage} of {date} ended with {ended.code}\n{ended.out}\n{ended.err[-6000:]}"
        return ended


def load_settings(variables: Mapping[str, str]) -> Settings:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        return config.load()


def undisturbed_variables(folder: Path) -> dict[str, str]:
    """Another database, another prefix for everything, another topic."""

    def move(paths: dict[str, Any]) -> None:
        for prefix in ("warehouse", "truth", "models", "athena_results"):
            paths[prefix] = paths[prefix].replace("{bucket}", "{bucket}/undisturbed")
        paths["database"] = "undisturbed"

    def rename_and_work_little(pipeline: dict[str, Any]) -> None:
        work_little(pipeline)
        pipeline["topic"]["name"] = "undisturbed"

    return {
        "LAKEHOUSE_PATHS": write_altered(folder, CONFIG_DIR / "s3_paths.yaml", move),
        "LAKEHOUSE_PIPELINE": write_altered(folder, CONFIG_DIR / "pipeline.yaml", rename_and_work_little),
    }


@dataclass
class Report:
    """A line of the summary: what was done and when, how that ended, what the rerun found and how long it took."""

    seed: int
    fault: str = ""
    moment: str = ""
    ended: str = ""
    found: str = ""
    rerun_seconds: float = 0.0


@dataclass
class Turn:
    """One stage of one date, done in the undisturbed lake and not yet in the other.

    `seconds` and `commits` are what it took there: its wall time, and its commits to the catalog.
    """

    lakes: Lakes
    stage: str
    date: dt.date
    seconds: float
    commits: int
    before: dict[str, int | None]

    def start(self, **variables: str) -> Running:
        """The stage in the disturbed lake, through the proxy."""
        self.lakes.proxy.start_count()
        return self.lakes.disturbed.start(self.stage, self.date, **variables)

    def kill_at_commit(self, number: int, *, is_done: bool) -> Ended:
        """Kill the stage when it waits for the answer to its commit of this number, which has taken place or never
        does."""
        running = self.start()

        def kill() -> None:
            running.send(signal.SIGKILL)
            if not is_done:
                raise ConnectionAbortedError("the commit does not reach the catalog")

        self.lakes.proxy.at_commit(number, kill, is_done=is_done)
        return running.end(timeout=SLOWEST_STAGE_SECONDS)

    def published(self) -> list[str]:
        """The tables of the stage that it has published since the turn began."""
        now = self.lakes.disturbed.published_by(self.date)
        return [name for name in PUBLISHED_BY[self.stage] if now.get(name) != self.before.get(name)]

    def rerun_and_compare(self) -> float:
        """The ordinary command once more, which must make the lakes equal; returns its seconds."""
        self.lakes.proxy.start_count()
        started = time.monotonic()
        self.lakes.disturbed.run(self.stage, self.date)
        seconds = time.monotonic() - started
        self.lakes.compare()
        if self.stage != PRODUCER:
            self.lakes.reconcile(has_events=self.stage != LANDING)
        return seconds


@dataclass
class Lakes:
    """Both lakes, and how far they are: `date` and `stage` (a number) are the next to come."""

    stack: RunningStack
    proxy: AwsProxy
    undisturbed: Lake
    disturbed: Lake
    seed: int
    date: dt.date = FIRST_DATE
    stage: int = 0

    def next_turn(self, stage: str) -> Turn:
        """The next turn of `stage`; the stages before it go undisturbed through both lakes."""
        while STAGES[self.stage] != stage:
            self._take_turn().rerun_and_compare()
        return self._take_turn()

    def finish_date(self) -> None:
        """Up to the end of the date that has begun, undisturbed."""
        while self.stage:
            self._take_turn().rerun_and_compare()

    def next_date(self) -> tuple[dt.date, dict[str, float]]:
        """A whole date, done in the undisturbed lake: the date, and the seconds of each stage."""
        self.finish_date()
        turns = [self._take_turn() for _ in STAGES]
        return turns[0].date, {turn.stage: turn.seconds for turn in turns}

    def _take_turn(self) -> Turn:
        stage, date = STAGES[self.stage], self.date
        before = self.disturbed.published_by(date)
        self.proxy.start_count()
        started = time.monotonic()
        self.undisturbed.run(stage, date)
        seconds = time.monotonic() - started
        self.stage = (self.stage + 1) % len(STAGES)
        self.date += DAY * (self.stage == 0)
        return Turn(self, stage, date, seconds, self.proxy.commits, before)

    def compare(self) -> None:
        """Every table of one lake holds the rows of the other's."""
        wanted, found = self.undisturbed.contents(), self.disturbed.contents()
        for table, rows in wanted.items():
            missing, strange = set(rows) - set(found[table]), set(found[table]) - set(rows)
            assert found[table] == rows, (
                f"{table}: {len(found[table])} rows instead of {len(rows)}; missing {len(missing)}, "
                f"for example {sorted(missing)[:2]}; not expected {len(strange)}, for example {sorted(strange)[:2]}"
            )

    def reconcile(self, *, has_events: bool) -> None:
        """Each record of the topic is one row of raw_events; each of those is clean, quarantined or a duplicate."""
        raw = self.disturbed.rows("raw_events", ("partition", "offset", "error_type", "event", "event_date"))
        offsets = sorted((row["partition"], row["offset"]) for row in raw)
        ends = sorted(self.disturbed.topic_ends().items())
        assert offsets == [(partition, offset) for partition, end in ends for offset in range(end)]
        if not has_events:
            return
        ids: dict[dt.date, list[str]] = defaultdict(list)
        for row in raw:
            if row["error_type"] is None:
                ids[row["event_date"]].append(row["event"]["event_id"])
        events: dict[dt.date, int] = defaultdict(int)
        for row in self.disturbed.rows("events", ("event_id", "event_date")):
            events[row["event_date"]] += 1
        for date in events:
            landed = [row for row in raw if row["event_date"] == date]
            quarantined = sum(row["error_type"] is not None for row in landed)
            duplicates = len(ids[date]) - len(set(ids[date]))
            assert len(landed) == events[date] + quarantined + duplicates, (date, events[date], quarantined, duplicates)
