"""Whole dates through the transform, on a lakehouse in a folder: order, reruns and late events change no row."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from spark_jobs import transform_clickstream
from spark_jobs.lake.lakehouse import Lakehouse
from spark_jobs.lake.notes import FORCED
from spark_jobs.lake.tables import EVENTS, RAW_EVENTS, SESSIONS, USER_DAILY_ACTIVITY, USER_FEATURES
from spark_jobs.lake.views import View
from spark_jobs.transform_clickstream import main, transform
from tests.lake.conftest import MakeEvent
from tests.lake.small_frames import at, fill_raw_events, open_lake, read_everything

# -- the job itself ---------------------------------------------------------------------------------------------------

MIDNIGHT_TRIP = [
    {"user_id": "owl", "event_time": "2025-04-01T23:40:00.000Z"},
    {"user_id": "owl", "event_time": "2025-04-01T23:59:59.999Z"},
    {"user_id": "owl", "event_time": "2025-04-02T00:10:00.000Z", "event_type": "cart"},
    {"user_id": "owl", "event_time": "2025-04-02T00:20:00.000Z", "event_type": "purchase"},
    {"user_id": "owl", "event_time": "2025-04-02T09:00:00.000Z"},
    {"user_id": "lark", "event_time": "2025-04-01T05:00:00.000Z"},
    {"user_id": "lark", "event_time": "2025-04-03T05:00:00.000Z"},
]
# Active every 20 minutes from the evening of the 1st to the morning of the 3rd: one session over two midnights.
ROBOT = [
    {
        "user_id": "robot",
        "event_time": (at("2025-04-01T22:00:00") + timedelta(minutes=20 * n)).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
    }
    for n in range(90)
]


def land(lakehouse: Lakehouse, events: list[dict[str, Any]], first_offset: int = 0) -> None:
    """Append events to partition 0 of raw_events."""
    fill_raw_events(lakehouse, [(0, first_offset + n, json.dumps(event).encode()) for n, event in enumerate(events)])


APRIL = [date(2025, 4, day) for day in (1, 2, 3)]


def test_dates_in_any_order_give_the_same_tables_and_whole_sessions(tmp_path: Path, make_event: MakeEvent) -> None:
    events = [make_event(**fields) for fields in [*MIDNIGHT_TRIP, *ROBOT]]
    results: list[dict[str, list[str]]] = []
    for runs in ([[day] for day in reversed(APRIL)], [APRIL]):
        with open_lake(tmp_path / str(len(results))) as lakehouse:
            land(lakehouse, [*events, events[0]])
            for dates in runs:
                transform(lakehouse, dates, [])
            results.append(read_everything(lakehouse))
            rows = lakehouse.main.read(SESSIONS).orderBy("user_id", "session_start").collect()
            assert lakehouse.main.read(EVENTS).count() == len(events)
        found = [(r.user_id, str(r.session_date), r.events, r.purchases, r.duration_seconds) for r in rows]
        assert found == [
            ("lark", "2025-04-01", 1, 0, 0.0),
            ("lark", "2025-04-03", 1, 0, 0.0),
            ("owl", "2025-04-01", 4, 1, 2400.0),
            ("owl", "2025-04-02", 1, 0, 0.0),
            ("robot", "2025-04-01", 90, 0, 89 * 1200.0),
        ]
    backward, at_once = results
    assert backward == at_once


def test_dates_with_a_built_one_between_them_are_whole_in_one_run(tmp_path: Path, make_event: MakeEvent) -> None:
    events = [make_event(**fields) for fields in [*MIDNIGHT_TRIP, *ROBOT]]
    results: list[dict[str, list[str]]] = []
    for runs in ([APRIL], [[APRIL[1]], [APRIL[0], APRIL[2]]]):
        with open_lake(tmp_path / str(len(results))) as lakehouse:
            land(lakehouse, [*events, events[0]])
            for dates in runs:
                transform(lakehouse, dates, [])
            results.append(read_everything(lakehouse))
    at_once, around = results
    assert around == at_once


def test_a_session_ends_earlier_when_the_events_that_went_on_with_it_turn_out_to_be_copies(
    tmp_path: Path, make_event: MakeEvent
) -> None:
    """Of the robot's events of the third date lower offsets hold copies with a time on the fourth."""
    robot = [make_event(**fields) for fields in ROBOT]
    on_the_third = [event for event in robot if event["event_time"].startswith("2025-04-03")]
    copies = [event | {"event_time": event["event_time"].replace("04-03", "04-04")} for event in on_the_third]
    with open_lake(tmp_path) as lakehouse:
        land(lakehouse, robot, first_offset=100)
        transform(lakehouse, APRIL, [])
        assert [row.events for row in lakehouse.main.read(SESSIONS).collect()] == [90]
        land(lakehouse, copies)
        # By hand: nothing of the third date is left, so the date falls further than the audit allows.
        transform(lakehouse, [date(2025, 4, 4)], [], is_forced=True)
        rows = lakehouse.main.read(SESSIONS).orderBy("session_start").collect()
    found = [(str(row.session_date), row.events, str(row.session_end)) for row in rows]
    assert found == [
        ("2025-04-01", 78, "2025-04-02 23:40:00"),
        ("2025-04-04", 12, "2025-04-04 03:40:00"),
    ]


def test_a_date_without_events_within_a_stored_session_costs_no_other_session(
    tmp_path: Path, make_event: MakeEvent
) -> None:
    """Of a session over three dates the middle one has no events any more: the first one is made again as a whole."""
    robot = [make_event(**fields) for fields in ROBOT]
    lark = make_event(user_id="lark", event_time="2025-04-01T05:00:00.000Z")
    with open_lake(tmp_path) as lakehouse:
        land(lakehouse, [*robot, lark])
        transform(lakehouse, APRIL, [])
        lakehouse.replace_dates(EVENTS, lakehouse.main.read(EVENTS).limit(0), [APRIL[1]])
        transform(lakehouse, APRIL[2:], [], is_forced=True)
        rows = lakehouse.main.read_dates(SESSIONS, APRIL[0], APRIL[0]).orderBy("user_id").collect()
    assert [row.user_id for row in rows] == ["lark", "robot"]


def test_a_range_in_several_drafts_gives_the_tables_of_one(
    tmp_path: Path, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    events = [make_event(**fields) for fields in [*MIDNIGHT_TRIP, *ROBOT]]
    results: list[dict[str, list[str]]] = []
    for most_dates in (100, 1):
        folder = tmp_path / str(most_dates)
        monkeypatch.setattr(transform_clickstream, "DATES_PER_BATCH", most_dates)
        with open_lake(folder) as lakehouse:
            land(lakehouse, events)
        paths = ["--input-path", str(folder), "--output-path", str(folder)]
        assert main(["--start-date", "2025-04-01", "--end-date", "2025-04-03", *paths]) == 0
        assert capsys.readouterr().out.count("rebuilt_dates") == (1 if most_dates == 100 else 3)
        with open_lake(folder) as lakehouse:
            results.append(read_everything(lakehouse))
    assert results[0] == results[1]


def test_what_a_plan_asks_the_files_of_published_dates_needs_no_spark_job(
    tmp_path: Path, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_lake(tmp_path) as lakehouse:
        land(lakehouse, [make_event(**fields) for fields in MIDNIGHT_TRIP])
        transform(lakehouse, APRIL[:2], [])
        measured = lakehouse.main._measure_bounds(EVENTS, "session_start", APRIL[0], APRIL[2])
        monkeypatch.setattr(View, "_measure_bounds", None)
        bounds = lakehouse.main.find_bounds(EVENTS, "session_start", APRIL[0], APRIL[2])
    assert bounds == {
        APRIL[0]: (at("2025-04-01T05:00:00"), at("2025-04-01T23:40:00")),
        APRIL[1]: (at("2025-04-01T23:40:00"), at("2025-04-02T09:00:00")),
    }
    assert measured == bounds


def test_a_rerun_of_main_changes_no_row_and_leaves_other_partitions_alone(
    tmp_path: Path, make_event: MakeEvent
) -> None:
    with open_lake(tmp_path) as lakehouse:
        land(lakehouse, [make_event(**fields) for fields in MIDNIGHT_TRIP])
        transform(lakehouse, APRIL, [])
        before = read_everything(lakehouse)
    untouched = {
        path.name for path in (tmp_path / "clickstream" / "events" / "data" / "event_date=2025-04-03").iterdir()
    }
    paths = ["--input-path", str(tmp_path), "--output-path", str(tmp_path)]
    assert main(["--start-date", "2025-04-02", *paths]) == 0
    with open_lake(tmp_path) as lakehouse:
        assert read_everything(lakehouse) == before
        files = lakehouse.spark.sql(
            f"SELECT file_path FROM {lakehouse.identifier(EVENTS)}.files WHERE partition.event_date = DATE'2025-04-03'"
        ).collect()
    assert files
    assert {Path(row.file_path).name for row in files} <= untouched


def test_a_late_event_joins_two_sessions_and_reaches_later_snapshots(tmp_path: Path, make_event: MakeEvent) -> None:
    on_time = [
        make_event(user_id="u", event_time="2025-04-01T23:10:00.000Z"),
        make_event(user_id="u", event_time="2025-04-02T00:05:00.000Z"),
    ]
    late = make_event(user_id="u", event_time="2025-04-01T23:38:00.000Z")
    with open_lake(tmp_path) as lakehouse:
        land(lakehouse, on_time)
        transform(lakehouse, APRIL[:2], [])
        land(lakehouse, [late], first_offset=2)
        transform(lakehouse, APRIL[2:], APRIL[:1])
        rows = lakehouse.main.read(SESSIONS).collect()
        features = lakehouse.main.read(USER_FEATURES).orderBy("snapshot_date").collect()
    assert [(str(r.session_date), r.events, r.duration_seconds) for r in rows] == [("2025-04-01", 3, 55 * 60.0)]
    assert [(str(r.snapshot_date), r.events_sum_30d, r.sessions_sum_30d) for r in features] == [
        ("2025-04-01", 2, 1),
        ("2025-04-02", 3, 1),
        ("2025-04-03", 3, 1),
    ]


def test_a_date_reads_nothing_but_the_dates_nearby_whatever_the_history(tmp_path: Path, make_event: MakeEvent) -> None:
    history = [date(2025, 3, 1), date(2025, 3, 26), date(2025, 4, 1), date(2025, 4, 2)]
    with open_lake(tmp_path) as lakehouse:
        land(lakehouse, [make_event(event_time=f"{day}T12:00:00.000Z") for day in history])
        for day in history:
            transform(lakehouse, [day], [])
    # 2025-03-26 is seven days back: only its daily sums are part of the window of 30 days.
    unread = [("raw_events", 2), ("events", 2), ("sessions", 2), ("user_daily_activity", 1), ("user_features", 3)]
    for table, dates in unread:
        for day in history[:dates]:
            (folder,) = (tmp_path / "clickstream" / table / "data").glob(f"*={day}")
            folder.rename(tmp_path / f"{table} {day} out of reach")
    paths = ["--input-path", str(tmp_path), "--output-path", str(tmp_path)]
    assert main(["--start-date", "2025-04-02", *paths]) == 0
    with open_lake(tmp_path) as lakehouse:
        row = lakehouse.main.read_dates(USER_FEATURES, history[-1], history[-1]).collect()[0]
    assert (row.events_sum_1d, row.events_sum_7d, row.events_sum_30d) == (1, 2, 3)


def test_daily_sums_that_were_written_before_a_column_existed_are_made_again(
    tmp_path: Path, make_event: MakeEvent, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_lake(tmp_path) as lakehouse:
        land(lakehouse, [make_event(event_time=f"{day}T12:00:00.000Z") for day in APRIL[:2]])
        transform(lakehouse, APRIL[:2], [])
        before = read_everything(lakehouse)
        for column in ("tablet_events", "categories"):
            lakehouse.spark.sql(f"ALTER TABLE {lakehouse.identifier(USER_DAILY_ACTIVITY)} DROP COLUMN {column}")
    with open_lake(tmp_path) as lakehouse:
        transform(lakehouse, APRIL[1:2], [])
        assert read_everything(lakehouse) == before
    assert (
        "user_daily_activity 2025-04-01 was written without today's columns; it is made again"
        in capsys.readouterr().err
    )


def test_a_date_that_would_lose_its_events_is_not_published_unless_forced(
    tmp_path: Path, make_event: MakeEvent, capsys: pytest.CaptureFixture[str]
) -> None:
    day = date(2025, 4, 1)
    paths = ["--input-path", str(tmp_path), "--output-path", str(tmp_path)]
    with open_lake(tmp_path) as lakehouse:
        land(lakehouse, [make_event() for _ in range(30)])
        transform(lakehouse, [day], [])
        before = read_everything(lakehouse)
        kept = lakehouse.main.read(RAW_EVENTS).where("offset < 5").localCheckpoint()
        lakehouse.replace_dates(RAW_EVENTS, kept, [day])
    assert main(["--start-date", str(day), *paths]) == 1
    said = capsys.readouterr().err
    assert "events 2025-04-01: 5 rows instead of 30, a fall of 83.3%; 10.0% is allowed" in said
    assert "--force publishes it" in said
    with open_lake(tmp_path) as lakehouse:
        assert read_everything(lakehouse) == before
    assert main(["--start-date", str(day), "--force", *paths]) == 0
    with open_lake(tmp_path) as lakehouse:
        assert lakehouse.main.read(EVENTS).count() == 5
        forced = lakehouse.find_note(EVENTS, FORCED)
    assert "5 rows instead of 30" in str(forced)


def test_an_end_before_the_start_is_a_clear_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--start-date", "2025-04-02", "--end-date", "2025-04-01"])
    assert "--end-date 2025-04-01 lies before --start-date 2025-04-02" in capsys.readouterr().err
