"""Forgetting a user of a folder lake: beside the others nothing changes, and no file holds the id."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest

from spark_jobs import transform_clickstream
from spark_jobs.errors import ConcurrentCommitError
from spark_jobs.forget_user import ForgetError, empty_raw_events, find_dates, main, purge_files, record_tombstone
from spark_jobs.forgotten_users import Tombstones, empty_records, read_tombstones
from spark_jobs.lake.draft import Draft
from spark_jobs.lake.lakehouse import Lakehouse
from spark_jobs.lake.notes import KAFKA_END_OFFSETS
from spark_jobs.lake.tables import (
    EVENTS,
    FORGOTTEN_USERS,
    PIPELINE_RUNS,
    RAW_EVENTS,
    SEGMENT_PROFILES,
    SEGMENT_TRANSITIONS,
    USER_SEGMENTS,
)
from spark_jobs.land_raw_events import classify_records
from spark_jobs.transform_clickstream import find_differences, transform
from spark_jobs.user_segmentation_ml import segment_dates
from tests.lake.conftest import RECORD_DDL, MakeEvent
from tests.lake.small_frames import open_lake, read_everything
from tests.lake.three_groups import configure

APRIL = [date(2025, 4, day) for day in (1, 2)]
USER = "0000700123"
OTHERS = [f"other-{n}" for n in range(6)]


def holding(folder: Path, text: str) -> list[Path]:
    """The Parquet files below `folder` in which `text` stands, decoded."""
    found = []
    for file in sorted(folder.rglob("*.parquet")):
        table = pq.read_table(file, partitioning=None)
        if any(stands_in(value, text) for row in table.to_pylist() for value in row.values()):
            found.append(file)
    return found


def stands_in(value: Any, text: str) -> bool:
    if isinstance(value, bytes):
        return text.encode() in value
    if isinstance(value, dict | list | tuple):
        return any(stands_in(part, text) for part in (value.values() if isinstance(value, dict) else value))
    return isinstance(value, str) and text in value


def produce(make_event: MakeEvent) -> list[tuple[str, dict[str, Any]]]:
    """Key and payload of everybody's records: visits of both days, a trip over midnight, bad records."""
    records = []
    for number, user in enumerate([USER, *OTHERS]):
        for day in APRIL:
            for n in range(number + 2):
                time = datetime(day.year, day.month, day.day, 8 + number, tzinfo=UTC) + timedelta(minutes=n)
                kind = ("view", "cart", "purchase")[n % 3]
                records.append((user, make_event(user_id=user, event_type=kind, event_time=f"{time:%FT%T}.000Z")))
        midnight = ("2025-04-01T23:50:00.000Z", "2025-04-02T00:10:00.000Z")
        records += [(user, make_event(user_id=user, event_time=time)) for time in midnight]
    records += [(USER, make_event(user_id=USER, event_type="jump", event_time="2025-04-02T09:00:00.000Z"))]
    return [*records, ("k", make_event(user_id=USER, event_id="none", event_time="2025-04-02T09:00:00.000Z"))]


def land(lakehouse: Lakehouse, records: list[tuple[str, dict[str, Any]]], first_offset: int) -> None:
    """As landing does, of records that come from no Kafka."""
    seen_at = datetime(2025, 4, 4, tzinfo=UTC)
    rows = [
        ("clickstream", 0, first_offset + n, seen_at, key.encode(), json.dumps(event).encode(), None)
        for n, (key, event) in enumerate(records)
    ]
    base = lakehouse.ensure_snapshot(RAW_EVENTS)
    classified = classify_records(lakehouse.spark.createDataFrame(rows, RECORD_DDL))
    landed = classified.transform(empty_records, read_tombstones(lakehouse)).selectExpr("*", "now() AS ingested_at")
    ends = KAFKA_END_OFFSETS.write({"clickstream": {"0": first_offset + len(rows)}})
    lakehouse.append_if_unchanged(RAW_EVENTS, landed, base, ends)


def build(folder: Path, records: list[tuple[str, dict[str, Any]]]) -> dict[str, list[str]]:
    with open_lake(folder) as lakehouse:
        land(lakehouse, records, 0)
        transform(lakehouse, APRIL, [])
        return read_everything(lakehouse)


def check_segments(lakehouse: Lakehouse) -> None:
    """Profiles and transitions count the rows of user_segments."""
    by_date: dict[date, dict[str, int]] = {day: {} for day in APRIL}
    for row in lakehouse.main.read(USER_SEGMENTS).collect():
        by_date[row.snapshot_date][row.user_id] = row.segment_id
    assert all(set(segments) == set(OTHERS) for segments in by_date.values())
    sizes = {(r.snapshot_date, r.segment_id): r.users for r in lakehouse.main.read(SEGMENT_PROFILES).collect()}
    assert sizes == Counter((day, segment) for day, segments in by_date.items() for segment in segments.values())
    moves = {
        (r.snapshot_date, r.from_segment_id, r.to_segment_id): r.users
        for r in lakehouse.main.read(SEGMENT_TRANSITIONS).collect()
    }
    before: dict[str, int] = {}
    expected: Counter[tuple[date, int | None, int | None]] = Counter()
    for day, segments in by_date.items():
        expected.update((day, before.get(user), segments.get(user)) for user in OTHERS)
        before = segments
    assert moves == expected


def test_a_forgotten_user_leaves_no_file_behind_and_no_rerun_brings_them_back(
    tmp_path: Path, make_event: MakeEvent, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, records = tmp_path / "lake", produce(make_event)
    without = build(tmp_path / "without", [(key, event) for key, event in records if event["user_id"] != USER])
    build(folder, records)
    with open_lake(folder) as lakehouse:
        configure(lakehouse, num_clusters=2, min_sessions=0)
        assert len(list(segment_dates(lakehouse, APRIL))) == len(APRIL)
        runs = [
            {"event_date": day, "landed": 0, "quarantined": 0, "duplicates": 0, "clean": 0, "run_id": "r"}
            for day in APRIL
        ]
        named = [tuple(run.get(name) for name in PIPELINE_RUNS.column_names) for run in runs]
        lakehouse.replace_dates(PIPELINE_RUNS, lakehouse.spark.createDataFrame(named, PIPELINE_RUNS.ddl), APRIL)
        landed = Counter(row.event_date for row in lakehouse.main.read(RAW_EVENTS).collect())
        # A run that was killed after its second step, and a job that was killed while it wrote.
        user = record_tombstone(lakehouse, USER)
        empty_raw_events(lakehouse, user, sorted(find_dates(lakehouse, RAW_EVENTS, user)))
    left = holding(folder, USER)
    assert left
    shutil.copy(next(file for file in left if "/events/" in str(file)), folder / "clickstream/events/data/torn.parquet")

    assert main(["--user", USER, "--output-path", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "user_segments" in printed
    assert "topic in Kafka" in printed
    assert USER not in printed
    assert holding(folder, USER) == []
    assert holding(folder, OTHERS[0])
    with open_lake(folder) as lakehouse:
        assert read_everything(lakehouse) == without
        check_segments(lakehouse)
        raw = lakehouse.main.read(RAW_EVENTS).collect()
        assert Counter(row.event_date for row in raw) == landed
        assert Counter(row.error_type for row in raw) == {None: len(raw) - 8, "forgotten_user": 8}
        assert sorted(row.offset for row in raw) == list(range(len(records)))
        assert lakehouse.find_note(RAW_EVENTS, KAFKA_END_OFFSETS) == {"clickstream": {"0": len(records)}}
        recounted = {row.event_date: row for row in lakehouse.main.read(PIPELINE_RUNS).collect()}
        assert [recounted[day].quarantined for day in APRIL] == [3, 5]
        for day, run in recounted.items():
            assert run.landed == landed[day] == run.clean + run.quarantined + run.duplicates
            assert run.users == run.segmented_users == len(OTHERS)
            assert len(run.remarks) == 1
        # The source sends everything again, and the whole range is built again.
        land(lakehouse, records, len(records))
        transform(lakehouse, APRIL, [])
        configure(lakehouse, num_clusters=2, min_sessions=0)
        assert len(list(segment_dates(lakehouse, APRIL))) == len(APRIL)
        assert read_everything(lakehouse) == without
        check_segments(lakehouse)
        assert lakehouse.main.read(FORGOTTEN_USERS).count() == 1
    assert holding(folder, USER) == []


def test_who_has_read_the_user_before_does_not_publish_them_after(
    tmp_path: Path, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_lake(tmp_path) as lakehouse:
        land(lakehouse, produce(make_event), 0)
        base, landing = lakehouse.ensure_snapshot(RAW_EVENTS), lakehouse.main.read(RAW_EVENTS).limit(1)
        refused: list[Draft] = []

        def forget_meanwhile(draft: Draft, tombstones: Tombstones) -> list[str]:
            user = record_tombstone(lakehouse, USER)
            if not refused:
                with pytest.raises(ForgetError, match=r"draft_.* of events still holds .*run the same command again"):
                    purge_files(lakehouse, EVENTS, user)
            refused.append(draft)
            return find_differences(draft, tombstones)

        monkeypatch.setattr(transform_clickstream, "find_differences", forget_meanwhile)
        transform(lakehouse, APRIL[:1], [])
        assert len(refused) == 2
        user = record_tombstone(lakehouse, USER)
        assert find_dates(lakehouse, EVENTS, user) == {}
        assert find_dates(lakehouse, RAW_EVENTS, user) == dict(zip(APRIL, (3, 5), strict=True))
        empty_raw_events(lakehouse, user, APRIL)
        with pytest.raises(ConcurrentCommitError, match="raw_events has changed since"):
            lakehouse.append_if_unchanged(RAW_EVENTS, landing, base, {})
        assert find_dates(lakehouse, RAW_EVENTS, user) == {}
