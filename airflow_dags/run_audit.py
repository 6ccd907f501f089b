"""The checks between the tasks of the DAG: counts from Iceberg's metadata and single columns, read with PyIceberg.

Each check is independent of the job that it checks and raises `AirflowFailException`, which no retry would mend, with
the numbers that do not fit.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from airflow.sdk.exceptions import AirflowFailException
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.expressions import And, EqualTo
from pyiceberg.manifest import ManifestEntryStatus
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot, ancestors_of

import config
from config.catalog import count_partition_rows, open_catalog
from data_generator.truth import produced_by_date
from spark_jobs.lake.notes import (
    FORCED,
    JOB_STARTED_MS,
    KAFKA_END_OFFSETS,
    KAFKA_GAPS,
    KAFKA_LEFT_OUT,
    KAFKA_START_OFFSETS,
    LEFT_OUTDATED,
    REBUILT_DATES,
    RUN_DATE,
)

DAY = dt.timedelta(days=1)
EPOCH = dt.date(1970, 1, 1)
log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class DateCounts:
    """Rows of one event date. `distinct` are the valid rows of raw_events whose event has no earlier row nearby."""

    landed: int
    quarantined: int
    distinct: int
    clean: int

    @property
    def duplicates(self) -> int:
        return self.landed - self.quarantined - self.distinct


class Audit:
    """The tables of one environment."""

    def __init__(self) -> None:
        self.settings = config.load()
        self._catalog = open_catalog(self.settings)

    def table(self, name: str) -> Table:
        """The table as it is now; one that no job has touched yet is created."""
        path = self.settings.paths.database, dataclasses.asdict(self.settings.paths.tables)[name]
        try:
            return self._catalog.load_table(path)
        except NoSuchTableError:
            from spark_jobs.lake.schema import ensure_table
            from spark_jobs.lake.tables import TABLES

            ensure_table(self._catalog, path, next(table for table in TABLES if table.name == name))
            return self._catalog.load_table(path)

    def partition_rows(self, name: str) -> dict[dt.date, int]:
        """Rows of each date of a table that is partitioned by one."""
        return count_partition_rows(self.table(name))

    def rows(self, name: str, date: dt.date) -> int:
        return self.partition_rows(name).get(date, 0)

    def has_changed_since(self, name: str, first: dt.date, last: dt.date, epoch_ms: int) -> bool:
        """Whether another run has written a date of the table, from `first` to `last`, since the time given."""
        table, since = self.table(name), dt.datetime.fromtimestamp(epoch_ms / 1000, dt.UTC)
        partitions = table.inspect.partitions().to_pylist() if table.current_snapshot() else []
        changed = {next(iter(row["partition"].values())): row["last_updated_at"] for row in partitions}
        return any(first <= day <= last and at.replace(tzinfo=dt.UTC) > since for day, at in changed.items())

    def produced(self, date: dt.date) -> int | None:
        """Records that a source says it has published; None where none says anything."""
        return produced_by_date(self.settings, near=date).get(date.isoformat())

    def requeued(self, date: dt.date) -> int:
        """Rows of raw_events that publish a quarantined record again: no source says that it produced them."""
        again = f"event_date = '{date}' AND requeued_from IS NOT NULL"
        return self.table("raw_events").scan(row_filter=again).count()

    def count_date(self, date: dt.date) -> DateCounts:
        """Counts of one event date, from raw_events and events."""
        raw = self.table("raw_events")
        return DateCounts(
            landed=self.rows("raw_events", date),
            quarantined=raw.scan(row_filter=f"event_date = '{date}' AND error_type IS NOT NULL").count(),
            distinct=self._distinct_events(raw, date),
            clean=self.rows("events", date),
        )

    def _distinct_events(self, raw: Table, date: dt.date) -> int:
        """Events whose first record, of those at most `allowed_lateness_days` away, lies on `date`."""
        lateness = self.settings.pipeline.transform.allowed_lateness_days * DAY
        nearby = f"event_date >= '{date - lateness}' AND event_date <= '{date + lateness}' AND error_type IS NULL"
        fields = ("partition", "offset", "ingested_at", "event.event_id", "event_date")
        rows = raw.scan(row_filter=nearby, selected_fields=fields).to_arrow().flatten()
        in_order = rows.to_pandas().sort_values(["partition", "offset", "ingested_at"])
        first = in_order.drop_duplicates("event.event_id")
        return int((first["event_date"] == date).sum())


def check_landing(date: dt.date, *, is_forced: bool = False) -> dict[str, Any]:
    """Check that the run's landing holds every record of its offset range, and raw_events all that was produced.

    Records that a landing was allowed to leave out count for every date: nobody knows theirs. A forced run goes on
    without what was lost.
    Returns the run's offsets and gaps, the other dates that have to be rebuilt, how many records came too late, and
    what was forced. Gaps of landings by hand, which have no run, are those of the first run after them. A date is
    rebuilt when it lies in `allowed_lateness_days` before `date`, or after it and was processed before.
    """
    audit = Audit()
    raw = audit.table("raw_events")
    # Oldest first, and main's only: a landing that lost against another left its snapshot beside main.
    commits = [*ancestors_of(raw.current_snapshot(), raw.metadata)][::-1]
    runs = [snapshot for snapshot in commits if _is_of_run(snapshot, date)]
    starts: dict[str, int] = {}
    ends: dict[str, int] = {}
    topic = audit.settings.pipeline.topic.name
    for snapshot in runs:
        start, end = ((note.read(snapshot) or {})[topic] for note in (KAFKA_START_OFFSETS, KAFKA_END_OFFSETS))
        starts, ends = {**start, **starts}, {**ends, **end}
        planned, added = sum(end.values()) - sum(start.values()), _count_added(snapshot)
        if planned != added:
            raise AirflowFailException(
                f"{date}: Kafka has {planned} records from {start} to {end}, {added} were landed"
            )
    produced = audit.produced(date)
    landed = audit.rows("raw_events", date)
    lost = (produced or 0) - (landed - audit.requeued(date))
    forced = []
    if lost > 0 and lost > _records_left_out(commits, topic, date):
        loss = f"{date}: {produced} records were produced, only {landed} landed: {lost} lost"
        if not is_forced:
            raise AirflowFailException(f"{loss}; the parameter force goes on without them")
        forced = [loss]
    touched = _added_rows(raw, runs)
    earliest = date - audit.settings.pipeline.transform.allowed_lateness_days * DAY
    processed = audit.partition_rows("events")
    return {
        "start_offsets": starts,
        "end_offsets": ends,
        "gaps": [*_list_gaps(runs), *_unrecorded_gaps(audit, commits, topic)],
        "rebuild_dates": sorted(
            str(day) for day in touched if earliest <= day < date or (day > date and day in processed)
        ),
        "too_late": sum(rows for day, rows in touched.items() if day < earliest),
        "forced": forced,
    }


def _list_gaps(snapshots: Iterable[Snapshot]) -> list[dict[str, Any]]:
    """Offsets that landings leave out, in their order."""
    return [gap for snapshot in snapshots for gap in KAFKA_GAPS.read(snapshot) or ()]


def _count_added(snapshot: Snapshot) -> int:
    """The rows that a snapshot has added, as it says itself."""
    return int(snapshot.summary.additional_properties.get("added-records", 0)) if snapshot.summary else 0


def _unrecorded_gaps(audit: Audit, commits: list[Snapshot], topic: str) -> list[dict[str, Any]]:
    """Gaps of landings of the topic without a run that stand in no row of pipeline_runs."""
    by_hand = _list_gaps(
        snapshot
        for snapshot in commits
        if RUN_DATE.read(snapshot) is None and topic in (KAFKA_START_OFFSETS.read(snapshot) or ())
    )
    if not by_hand:
        return []
    rows = audit.table("pipeline_runs").scan(row_filter="gaps IS NOT NULL", selected_fields=("gaps",)).to_arrow()
    recorded = [gap for gaps in rows.column("gaps").to_pylist() for gap in json.loads(gaps)]
    return [gap for gap in by_hand if gap not in recorded]


def _records_left_out(commits: list[Snapshot], topic: str, date: dt.date) -> float:
    """Records of the topic in the gaps of all landings, also of those whose snapshots have expired, as far as they may
    be of the date; infinite where nobody knows."""
    left_out = (KAFKA_LEFT_OUT.find(reversed(commits)) or {}).get(topic)
    if left_out is None or str(date) > left_out["until"]:
        return 0
    return math.inf if left_out["records"] is None else float(left_out["records"])


def _added_rows(table: Table, snapshots: list[Snapshot]) -> dict[dt.date, int]:
    """Rows that the snapshots added, by date; reads only the manifests that they wrote."""
    added: Counter[dt.date] = Counter()
    for snapshot in snapshots:
        for manifest in snapshot.manifests(table.io):
            if manifest.added_snapshot_id == snapshot.snapshot_id:
                for entry in manifest.fetch_manifest_entry(table.io):
                    if entry.status == ManifestEntryStatus.ADDED:
                        day = EPOCH + entry.data_file.partition[0] * DAY
                        added[day] += entry.data_file.record_count
    return dict(added)


def check_transform(date: dt.date, landed: dict[str, Any]) -> dict[str, Any]:
    """Check that events has every different valid event of the dates that the run has rebuilt.

    Returns these dates, and what the run's audit found and `force` overrode.
    """
    audit = Audit()
    commits = _unrecorded_commits(audit, date)
    started = JOB_STARTED_MS.find(commits)
    rebuilt = sorted({day for commit in commits for day in REBUILT_DATES.read(commit) or ()})
    for day in sorted({date, *map(dt.date.fromisoformat, landed["rebuild_dates"]), *rebuilt}):
        counts = audit.count_date(day)
        if counts.clean != counts.distinct and not _has_landed_since(audit, day, started):
            raise AirflowFailException(
                f"{day}: {counts.clean} clean events, but raw_events has {counts.distinct}: {counts}"
            )
    return {
        "job_started_ms": started,
        "rebuilt_dates": [str(day) for day in rebuilt],
        # An attempt that repeats another names what that one was forced to as well.
        "forced": list(dict.fromkeys(fault for commit in commits[::-1] for fault in FORCED.read(commit) or ())),
    }


def _unrecorded_commits(audit: Audit, date: dt.date) -> list[Snapshot]:
    """What the run of the date has committed to events since its row of pipeline_runs was written, newest first: all
    attempts of a task, of which the last may have had nothing left to do. Of a run without any, its newest commit."""
    rows = audit.table("pipeline_runs").scan(f"event_date = '{date}'", selected_fields=("recorded_at",)).to_arrow()
    recorded = max((at.timestamp() * 1000 for at in rows.column("recorded_at").to_pylist()), default=0)
    commits = _commits_of_run(audit.table("events"), date)
    return [s for s in commits if s.timestamp_ms > recorded] or commits[:1]


def _has_landed_since(audit: Audit, date: dt.date, started_ms: int | None) -> bool:
    """Whether raw_events has changed near `date` since the transform began; the run that has landed it rebuilds it.

    False where the run left no word of when it began: then nothing excuses a difference.
    """
    lateness = audit.settings.pipeline.transform.allowed_lateness_days * DAY
    has = started_ms is not None and audit.has_changed_since("raw_events", date - lateness, date + lateness, started_ms)
    if has:
        log.info("%s: records have landed near it meanwhile; the run that landed them counts the date again", date)
    return has


def check_segments(date: dt.date) -> None:
    """Check that every user of user_features has one segment and that the profiles count them all.

    Where another run has built the features anew meanwhile, the segments are made again by whatever run comes next.
    """
    audit = Audit()
    commit = _newest_snapshot(audit.table("user_segments"), date)
    started = (JOB_STARTED_MS.read(commit) or 0) if commit else 0
    if commit and audit.has_changed_since("user_features", date, date, started):
        log.info("%s: another run has built the features anew; the next run makes segments of them", date)
        return
    users = audit.rows("user_features", date)
    on_date = f"snapshot_date = '{date}'"
    segmented = audit.table("user_segments").scan(row_filter=on_date, selected_fields=("user_id",)).to_arrow()
    different = pc.count_distinct(segmented.column("user_id")).as_py()
    profiles = audit.table("segment_profiles").scan(row_filter=on_date, selected_fields=("users",)).to_arrow()
    profiled = pc.sum(profiles.column("users")).as_py() or 0
    if not users == segmented.num_rows == different == profiled:
        raise AirflowFailException(
            f"{date}: {users} users have features, {segmented.num_rows} rows ({different} users) have segments, "
            f"{profiled} are counted in profiles"
        )


def find_waiting_models(date: dt.date) -> list[str]:
    """Ids of the models that were trained on the users of `date` and wait for a person."""
    waiting = f"decision = 'waiting' AND trained_on = '{date}'"
    rows = Audit().table("model_runs").scan(row_filter=waiting, selected_fields=("model_id",)).to_arrow()
    return sorted(rows.column("model_id").to_pylist())


def record_run(
    date: dt.date, run_id: str, landed: dict[str, Any], transformed: dict[str, Any], warnings: list[str]
) -> None:
    """Write the date's row of pipeline_runs, and bring the counts of the other rebuilt dates that have one up to date.

    What an earlier run of the date has landed, and left out, stays in its row: its snapshots expire.
    Raises AirflowFailException where the counts of a date do not add up. More landed than produced is no loss: a
    publication that was interrupted and repeated leaves copies, which are duplicates; the row shows both numbers.
    """
    audit = Audit()
    jobs = {"land": "raw_events", "transform": "user_features", "segment": "user_segments"}
    commits = {job: _newest_snapshot(audit.table(name), date) for job, name in jobs.items()}
    scored = commits["segment"]
    outdated = (LEFT_OUTDATED.read(scored) or ()) if scored else ()
    warnings = [*warnings, *(f"segments of {day} are older than its features" for day in outdated)]
    forced = [*landed["forced"], *transformed["forced"], *((FORCED.read(scored) or ()) if scored else ())]
    table = audit.table("pipeline_runs")
    audit.table("failed_runs")  # the dashboard reads it, also where no run has failed yet
    days = ", ".join(f"'{day}'" for day in sorted({str(date), *transformed["rebuilt_dates"]}))
    recorded = {known["event_date"]: known for known in table.scan(f"event_date IN ({days})").to_arrow().to_pylist()}
    before = recorded.pop(date, {})
    told = {key: json.loads(before.get(key) or "{}") for key in ("start_offsets", "end_offsets")}
    known_gaps = json.loads(before.get("gaps") or "[]")
    new_gaps = [gap for gap in landed["gaps"] if gap not in known_gaps]
    gaps = [*known_gaps, *new_gaps]
    if any(gap["reason"] == "new topic" for gap in new_gaps):
        told = {}  # offsets of another topic
    row = {
        "run_id": run_id,
        "too_late": landed["too_late"],
        "start_offsets": json.dumps(_merge(min, told.get("start_offsets", {}), landed["start_offsets"])),
        "end_offsets": json.dumps(_merge(max, told.get("end_offsets", {}), landed["end_offsets"])),
        "forced": json.dumps(forced) if forced else None,
        "warnings": json.dumps(warnings) if warnings else None,
        "gaps": json.dumps(gaps) if gaps else None,
        "remarks": before.get("remarks"),
        "job_seconds": {job: _job_seconds(commit) for job, commit in commits.items() if commit},
        "recorded_at": dt.datetime.now(dt.UTC),
        "event_date": date,
    }
    rows = [known | _counts(audit, known["event_date"]) for known in [row, *recorded.values()]]
    written = ", ".join(f"'{known['event_date']}'" for known in rows)
    table.overwrite(
        pa.Table.from_pylist(rows, schema=table.schema().as_arrow()), overwrite_filter=f"event_date IN ({written})"
    )
    for known in rows:
        does_balance = known["landed"] == known["clean"] + known["quarantined"] + known["duplicates"]
        if not does_balance and not _has_landed_since(audit, known["event_date"], transformed["job_started_ms"]):
            raise AirflowFailException(
                f"{known['event_date']}: landed {known['landed']} is not clean {known['clean']} + quarantined "
                f"{known['quarantined']} + duplicates {known['duplicates']}"
            )


def record_failure(date: dt.date, run_id: str, failed_tasks: list[str]) -> None:
    """Write the run's row of failed_runs, in the place of one that an earlier attempt of the same run has written."""
    table = Audit().table("failed_runs")
    row = {
        "run_id": run_id,
        "failed_tasks": sorted(failed_tasks),
        "failed_at": dt.datetime.now(dt.UTC),
        "event_date": date,
    }
    table.overwrite(
        pa.Table.from_pylist([row], schema=table.schema().as_arrow()),
        overwrite_filter=And(EqualTo(term="event_date", value=date.isoformat()), EqualTo(term="run_id", value=run_id)),
    )


def _merge(choose: Callable[[int, int], int], one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    """Offsets by partition: of those that both have, the chosen one."""
    return one | {name: choose(one.get(name, offset), offset) for name, offset in other.items()}


def _counts(audit: Audit, date: dt.date) -> dict[str, int | None]:
    """The counting columns of pipeline_runs."""
    counts = audit.count_date(date)
    return {
        "produced": audit.produced(date),
        "requeued": audit.requeued(date),
        "landed": counts.landed,
        "quarantined": counts.quarantined,
        "duplicates": counts.duplicates,
        "clean": counts.clean,
        "sessions": audit.rows("sessions", date),
        "users": audit.rows("user_daily_activity", date),
        "segmented_users": audit.rows("user_segments", date),
    }


def _newest_snapshot(table: Table, date: dt.date) -> Snapshot | None:
    """The newest snapshot that the run of `date` committed."""
    return next(iter(_commits_of_run(table, date)), None)


def _commits_of_run(table: Table, date: dt.date) -> list[Snapshot]:
    """Snapshots that the run of `date` committed, newest first."""
    return [snapshot for snapshot in reversed(table.snapshots()) if _is_of_run(snapshot, date)]


def _is_of_run(snapshot: Snapshot, date: dt.date) -> bool:
    return RUN_DATE.read(snapshot) == date


def _job_seconds(commit: Snapshot) -> float:
    """From the start of the job to its commit."""
    return (commit.timestamp_ms - (JOB_STARTED_MS.read(commit) or commit.timestamp_ms)) / 1000
