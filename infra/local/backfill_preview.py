"""What a backfill would find and change, date by date: read from Airflow's runs, the tables and the truth."""

from __future__ import annotations

import datetime as dt
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table
from rich.console import Console
from rich.table import Table as RichTable

from config import Settings
from config.catalog import count_partition_rows, open_catalog
from data_generator.dataset_replay import replay_name
from data_generator.truth import Manifest, TruthStore, date_name
from infra.local.airflow_runs import DagRun, DateRange

COUNTED = ("raw_events", "events", "user_segments")


@dataclass(frozen=True)
class RecordedRun:
    """What pipeline_runs says about a date; `seconds` are those of its Spark jobs."""

    landed: int
    clean: int
    seconds: float
    recorded_at: dt.datetime


@dataclass(frozen=True)
class Publication:
    """What the source of a run would do, and why it would not; neither when the topic has the date already."""

    to_do: str | None = None
    refusal: str | None = None


@dataclass(frozen=True)
class DateState:
    """What stands about one date; `rows` counts the tables of `COUNTED`, `publication` is what the source would do."""

    date: dt.date
    rows: Mapping[str, int]
    recorded: RecordedRun | None
    run_state: str | None
    publication: Publication

    @property
    def last_run(self) -> str:
        if self.run_state is None and self.recorded is None:
            return "never"
        when = f"{self.recorded.recorded_at:%Y-%m-%d %H:%M}" if self.recorded else "(no record)"
        return f"{self.run_state or 'by hand'} {when}"

    @property
    def change(self) -> str:
        """What a run would put on the topic and change in the tables behind raw_events."""
        if self.publication.refusal:
            return f"fails: {self.publication.refusal}"
        waiting = self.rows["raw_events"] - self.recorded.landed if self.recorded else 0
        if self.recorded is None:
            change = "everything"
        elif waiting > 0:
            change = f"{waiting:,} records of raw_events wait"
        elif self.rows["events"] != self.recorded.clean:  # a rollback, or a user was forgotten
            change = f"events has {self.rows['events']:,} rows, the last run left {self.recorded.clean:,}"
        else:
            change = "the same rows again"
        return f"{self.publication.to_do}, {change}" if self.publication.to_do else change


def print_preview(settings: Settings, wanted: DateRange, to_run: Sequence[dt.date], runs: Sequence[DagRun]) -> None:
    """A line for each date of the range, then how long those of `to_run` would take."""
    catalog = open_catalog(settings)
    recorded = read_recorded_runs(_load(catalog, settings, "pipeline_runs"))
    estimated = estimate_seconds(to_run, recorded)
    table = RichTable("date", "raw_events", "events", "segments", "last run", "would change", "seconds")
    for state in read_states(settings, catalog, wanted, recorded, runs):
        rows = [f"{state.rows[name]:,}" for name in COUNTED]
        change = state.change if state.date in to_run else "nothing: it is done"
        seconds = f"{estimated[state.date]:.0f}" if state.date in estimated else ""
        table.add_row(str(state.date), *rows, state.last_run, change, seconds)
    console = Console(width=120)
    console.print(table)
    if to_run and not estimated:
        console.print("no run is recorded yet that would tell how long it takes; nothing was changed")
        return
    at_once = max(1, min(settings.pipeline.schedule.parallel_dates, len(to_run)))
    console.print(
        f"about {sum(estimated.values()) / at_once:,.0f} s for the Spark jobs, {at_once} at a time, by the seconds in "
        f"pipeline_runs; nothing was changed"
    )


def estimate_seconds(dates: Sequence[dt.date], recorded: Mapping[dt.date, RecordedRun]) -> dict[dt.date, float]:
    """What the Spark jobs of each date took, of a date without a run the median of the others; none without any run."""
    if not recorded:
        return {}
    typical = statistics.median(run.seconds for run in recorded.values())
    return {date: recorded[date].seconds if date in recorded else typical for date in dates}


def read_states(
    settings: Settings,
    catalog: Catalog,
    wanted: DateRange,
    recorded: Mapping[dt.date, RecordedRun],
    runs: Sequence[DagRun],
) -> list[DateState]:
    """The state of every date of the range, in order."""
    counts = {name: _count(_load(catalog, settings, name)) for name in COUNTED}
    published = read_published(settings)
    run_states = {run.date: run.state for run in runs}
    days = [wanted.first + dt.timedelta(days=n) for n in range((wanted.last - wanted.first).days + 1)]
    return [
        DateState(
            date=day,
            rows={name: by_date.get(day, 0) for name, by_date in counts.items()},
            recorded=recorded.get(day),
            run_state=run_states.get(day),
            publication=describe_publication(settings, wanted.conf, day, published),
        )
        for day in days
    ]


def describe_publication(
    settings: Settings, conf: Mapping[str, Any], date: dt.date, published: Mapping[str, Manifest]
) -> Publication:
    """What the run of a date would publish; nothing when somebody else fills the topic."""
    source = conf.get("event_source", settings.pipeline.source.kind)
    if source == "generator":
        events = conf.get("events", settings.pipeline.generator.events_per_date)
        manifest = published.get(date_name(date))
        if manifest is None:
            return Publication(to_do=f"generates {events:,} events")
        has = manifest.parameters["events"]
        return Publication(refusal=None if has == events else f"published with {has:,} events, not {events:,}")
    if source == "replay":
        file = Path(conf.get("replay_file") or str(settings.pipeline.source.replay_file))
        is_there = replay_name(file) in published or replay_name(file, date) in published
        return Publication(to_do=None if is_there else f"replays {file.name}")
    return Publication()


def read_published(settings: Settings) -> dict[str, Manifest]:
    """Every publication on the topic by its name in the truth."""
    store = TruthStore(settings, settings.pipeline.topic.name)
    manifests = {name: store.read_manifest(name) for name in store.names()}
    return {name: manifest for name, manifest in manifests.items() if manifest}


def read_recorded_runs(table: Table | None) -> dict[dt.date, RecordedRun]:
    """pipeline_runs by date."""
    columns = ("event_date", "landed", "clean", "job_seconds", "recorded_at")
    rows = table.scan(selected_fields=columns).to_arrow().to_pylist() if table else []
    return {
        row["event_date"]: RecordedRun(
            landed=row["landed"],
            clean=row["clean"],
            seconds=sum(dict(row["job_seconds"]).values()),
            recorded_at=row["recorded_at"],
        )
        for row in rows
    }


def _count(table: Table | None) -> dict[dt.date, int]:
    return count_partition_rows(table) if table else {}


def _load(catalog: Catalog, settings: Settings, name: str) -> Table | None:
    """A table by its key in s3_paths.yaml; None before the first run has made it."""
    try:
        return catalog.load_table((settings.paths.database, getattr(settings.paths.tables, name)))
    except NoSuchTableError:
        return None
