"""200,000 events through the real stack: dates as one range; and backwards, at the same time, again, with late events
that land after the runs of their dates."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
import pytest
import yaml

from config.catalog import open_catalog
from config.loader import CONFIG_DIR, PROJECT_ROOT
from spark_jobs.transform_clickstream import BUILT
from tests.running_stack import RunningStack, inherited_variables

DATES = [dt.date(2025, 5, day) for day in (1, 2, 3, 4)]
EVENTS_PER_DATE = 50_000
TOPIC = "any_order"


class Lake:
    """A Glue database of its own, filled from the one topic."""

    def __init__(self, stack: RunningStack, folder: Path, name: str) -> None:
        content = yaml.safe_load((CONFIG_DIR / "s3_paths.yaml").read_text(encoding="utf-8"))
        file = folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump(content | {"database": name}), encoding="utf-8")
        self.stack, self.name, self.paths_file = stack, name, str(file)

    def run(self, job: str, *arguments: str) -> None:
        self.stack.run(*self.command(job, *arguments), timeout=900, LAKEHOUSE_PATHS=self.paths_file)

    def start(self, job: str, *arguments: str) -> subprocess.Popen[bytes]:
        environment = {**inherited_variables(), **self.stack.environment, "LAKEHOUSE_PATHS": self.paths_file}
        return subprocess.Popen(self.command(job, *arguments), env=environment, cwd=PROJECT_ROOT)

    def command(self, job: str, *arguments: str) -> list[str]:
        return [sys.executable, f"spark_jobs/{job}.py", *arguments]

    def rows(self, table: str) -> pa.Table:
        """Every row, in an order of its own."""
        found = open_catalog(self.stack.settings).load_table((self.name, table)).scan().to_arrow()
        keys = [name for name in ("event_id", "session_key", "user_id") if name in found.column_names][:1]
        dates = [name for name in found.column_names if name.endswith("_date")]
        return found.sort_by([(name, "ascending") for name in [*keys, *dates]])

    def count_landed(self, date: dt.date) -> int:
        """Rows of raw_events of one date."""
        raw = open_catalog(self.stack.settings).load_table((self.name, "raw_events"))
        return int(raw.scan(row_filter=f"event_date = '{date}'").count())

    def count_distinct_valid_records(self, last: dt.date) -> int:
        """Different event ids in raw_events up to a date; sessions of the last date go on into one that has no run."""
        raw = open_catalog(self.stack.settings).load_table((self.name, "raw_events"))
        row_filter = f"event_date <= '{last}' AND error_type IS NULL"
        rows = raw.scan(row_filter=row_filter, selected_fields=("event.event_id",)).to_arrow().flatten()
        found = int(pc.count_distinct(rows.column("event.event_id")).as_py())
        assert found > 0.99 * len(DATES) * EVENTS_PER_DATE
        return found


def publish(stack: RunningStack, date: dt.date) -> None:
    """A date's events, with late ones of the dates before it."""
    arguments = ("--date", str(date), "--events", str(EVENTS_PER_DATE), "--topic", TOPIC)
    stack.run(sys.executable, "data_generator/event_producer.py", *arguments)


@pytest.mark.skipif("ANY_ORDER_EXAMPLES" not in os.environ, reason="a quarter of an hour beside other tests: make soak")
def test_the_order_of_the_runs_changes_no_row_of_200_000_events(stack: RunningStack, tmp_path: Path) -> None:
    at_once, otherwise = Lake(stack, tmp_path, "at_once"), Lake(stack, tmp_path, "otherwise")
    for day in DATES[:2]:
        publish(stack, day)
    otherwise.run("land_raw_events", "--topic", TOPIC)
    otherwise.run("transform_clickstream", "--start-date", str(DATES[1]))
    on_time = otherwise.count_landed(DATES[1])
    for day in DATES[2:]:
        publish(stack, day)
    for lake in (at_once, otherwise):
        lake.run("land_raw_events", "--topic", TOPIC)
    assert otherwise.count_landed(DATES[1]) > on_time
    parallel = [otherwise.start("transform_clickstream", "--start-date", str(day)) for day in (DATES[3], DATES[0])]
    assert [process.wait(timeout=900) for process in parallel] == [0, 0]
    for day in (DATES[2], DATES[0]):
        otherwise.run("transform_clickstream", "--start-date", str(day))
    at_once.run("transform_clickstream", "--start-date", str(DATES[0]), "--end-date", str(DATES[-1]))

    assert at_once.rows("events").num_rows == at_once.count_distinct_valid_records(DATES[-1])
    for table in BUILT:
        assert otherwise.rows(table.name).equals(at_once.rows(table.name)), table.name
