"""The checks between the tasks on real Iceberg tables: PyIceberg writes them, its catalog lies in a folder."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pytest
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.table import Table

import config
from tests.unit.airflow_dags import import_with_home

APRIL = [dt.date(2025, 4, day) for day in range(1, 31)]
DAY = dt.date(2025, 4, 10)

DATE = [("event_date", pa.date32())]
SNAPSHOT = [("snapshot_date", pa.date32())]
# The columns that the audit reads or writes, as spark_jobs/lake/tables.py names them.
COLUMNS: dict[str, list[tuple[str, pa.DataType]]] = {
    "raw_events": [
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("ingested_at", pa.timestamp("us", tz="UTC")),
        ("error_type", pa.string()),
        ("requeued_from", pa.string()),
        ("event", pa.struct([("event_id", pa.string())])),
        *DATE,
    ],
    "events": [("event_id", pa.string()), *DATE],
    "sessions": [("session_key", pa.string()), ("session_date", pa.date32())],
    "user_daily_activity": [("user_id", pa.string()), *DATE],
    "user_features": [("user_id", pa.string()), *SNAPSHOT],
    "user_segments": [("user_id", pa.string()), ("segment_id", pa.int32()), *SNAPSHOT],
    "segment_profiles": [("segment_id", pa.int32()), ("users", pa.int64()), *SNAPSHOT],
    "model_runs": [("model_id", pa.string()), ("decision", pa.string()), ("trained_on", pa.date32())],
    "pipeline_runs": [
        ("run_id", pa.string()),
        *[(name, pa.int64()) for name in ("produced", "requeued", "landed", "quarantined", "duplicates", "clean")],
        *[(name, pa.int64()) for name in ("sessions", "users", "segmented_users", "too_late")],
        ("start_offsets", pa.string()),
        ("end_offsets", pa.string()),
        ("forced", pa.string()),
        ("warnings", pa.string()),
        ("gaps", pa.string()),
        ("remarks", pa.list_(pa.string())),
        ("job_seconds", pa.map_(pa.string(), pa.float64())),
        ("recorded_at", pa.timestamp("us", tz="UTC")),
        *DATE,
    ],
    "failed_runs": [
        ("run_id", pa.string()),
        ("failed_tasks", pa.list_(pa.string())),
        ("failed_at", pa.timestamp("us", tz="UTC")),
        *DATE,
    ],
}


def started_seconds_ago(seconds: int) -> str:
    """When a job began that commits now, in epoch milliseconds."""
    return str(int((time.time() - seconds) * 1000))


@dataclass
class Lake:
    """The tables, and what the source says that it produced."""

    catalog: Catalog
    produced: dict[str, int] = field(default_factory=dict)

    def table(self, name: str) -> Table:
        return self.catalog.load_table(("clickstream", name))

    def append(self, name: str, rows: list[dict[str, Any]], **summary: str) -> None:
        table = self.table(name)
        properties = {key.replace("_", "-"): value for key, value in summary.items()}
        table.append(pa.Table.from_pylist(rows, pa.schema(COLUMNS[name])), snapshot_properties=properties)

    def land(
        self,
        run: dt.date | None,
        start: int,
        end: int,
        rows: list[dict[str, Any]],
        gaps: tuple[dict[str, Any], ...] = (),
        left_out: int | None = 0,
        until: dt.date = DAY,
    ) -> None:
        """A landing's commit that says it took the offsets from `start` to `end` of partition 0; by hand without `run`.

        `left_out` are the records in the gaps of all landings so far, the last of them on `until`.
        """
        now = dt.datetime.now(dt.UTC)
        self.append(
            "raw_events",
            [{"partition": 0, "offset": start + n, "ingested_at": now} | row for n, row in enumerate(rows)],
            run_date=json.dumps(str(run) if run else None),
            kafka_start_offsets=json.dumps({"clickstream": {"0": start}}),
            kafka_end_offsets=json.dumps({"clickstream": {"0": end}}),
            job_started_ms=started_seconds_ago(90),
            kafka_gaps=json.dumps(gaps),
            kafka_left_out=json.dumps({"clickstream": {"records": left_out, "until": str(until)}}),
        )


@pytest.fixture(scope="module")
def run_audit(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return import_with_home("airflow_dags.run_audit", tmp_path_factory.mktemp("airflow"))


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_audit: ModuleType) -> Lake:
    catalog = load_catalog("t", type="sql", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=tmp_path.as_uri())
    catalog.create_namespace("clickstream")
    for name, columns in COLUMNS.items():
        table = catalog.create_table(("clickstream", name), schema=pa.schema(columns))
        with table.update_spec() as spec:
            spec.add_identity(columns[-1][0])
    made = Lake(catalog)
    monkeypatch.delenv("LAKEHOUSE_ENV", raising=False)
    monkeypatch.delenv("LAKEHOUSE_PIPELINE", raising=False)
    monkeypatch.setattr(run_audit, "open_catalog", lambda _: made.catalog)
    monkeypatch.setattr(run_audit, "produced_by_date", lambda *_, **__: made.produced)
    return made


@pytest.fixture(scope="module")
def failure(run_audit: ModuleType) -> type[Exception]:
    """What ends a task without a retry."""
    found: type[Exception] = run_audit.AirflowFailException
    return found


def valid(day: dt.date, *event_ids: str) -> list[dict[str, Any]]:
    """Rows of raw_events that passed landing's checks."""
    return [{"error_type": None, "event": {"event_id": name}, "event_date": day} for name in event_ids]


def quarantined(day: dt.date, count: int) -> list[dict[str, Any]]:
    return [{"error_type": "not_json", "event": None, "event_date": day}] * count


def clean(day: dt.date, *event_ids: str) -> list[dict[str, Any]]:
    """Rows of events."""
    return [{"event_id": name, "event_date": day} for name in event_ids]


def test_duplicates_are_the_valid_rows_beyond_the_different_ids(run_audit: ModuleType) -> None:
    assert run_audit.DateCounts(landed=100, quarantined=7, distinct=90, clean=0).duplicates == 3


def test_a_failed_run_has_one_row_however_often_it_is_tried_again(lake: Lake, run_audit: ModuleType) -> None:
    run_audit.record_failure(DAY, "another", ["check_landing"])
    run_audit.record_failure(DAY, "o'hara", ["check_landing"])
    run_audit.record_failure(DAY, "o'hara", ["transform_clickstream", "check_columns.warn_events"])
    rows = lake.table("failed_runs").scan().to_arrow().to_pylist()
    assert {(row["run_id"], *row["failed_tasks"]) for row in rows} == {
        ("another", "check_landing"),
        ("o'hara", "check_columns.warn_events", "transform_clickstream"),
    }
    assert {row["event_date"] for row in rows} == {DAY}


def test_a_date_is_counted_apart_from_its_neighbours(lake: Lake, run_audit: ModuleType) -> None:
    lake.land(DAY, 0, 8, [*valid(DAY, "a", "b", "b", "c"), *quarantined(DAY, 2), *valid(APRIL[10], "d", "d")])
    lake.append("events", [*clean(DAY, "a", "b", "c"), *clean(APRIL[10], "d")])
    counts = run_audit.Audit().count_date(DAY)
    assert counts == run_audit.DateCounts(landed=6, quarantined=2, distinct=3, clean=3)
    assert counts.duplicates == 1


def test_a_date_without_a_valid_record_counts_its_quarantined_ones(lake: Lake, run_audit: ModuleType) -> None:
    lake.land(DAY, 0, 2, quarantined(DAY, 2))
    assert run_audit.Audit().count_date(DAY) == run_audit.DateCounts(landed=2, quarantined=2, distinct=0, clean=0)


def test_landing_rebuilds_allowed_late_dates_and_processed_later_ones_and_counts_the_rest(
    lake: Lake, run_audit: ModuleType
) -> None:
    assert config.load("local").pipeline.transform.allowed_lateness_days == 3
    lake.append("events", [*clean(APRIL[10], "x"), *clean(APRIL[5], "y")])
    days = [APRIL[number - 1] for number in (5, 6, 6, 7, 9, 10, 11, 12)]
    lake.land(DAY, 40, 48, [row for number, day in enumerate(days) for row in valid(day, str(number))])
    lake.land(APRIL[13], 48, 49, valid(APRIL[7], "of another run"))
    assert run_audit.check_landing(DAY) == {
        "start_offsets": {"0": 40},
        "end_offsets": {"0": 48},
        "gaps": [],
        "rebuild_dates": ["2025-04-07", "2025-04-09", "2025-04-11"],
        "too_late": 3,
        "forced": [],
    }


def test_landing_in_several_commits_reports_one_range(lake: Lake, run_audit: ModuleType) -> None:
    lake.land(DAY, 0, 1, valid(DAY, "a"))
    lake.land(DAY, 1, 3, valid(DAY, "b", "c"))
    found = run_audit.check_landing(DAY)
    assert (found["start_offsets"], found["end_offsets"]) == ({"0": 0}, {"0": 3})


@pytest.mark.usefixtures("lake")
def test_a_date_without_landing_has_nothing_to_rebuild(run_audit: ModuleType) -> None:
    assert run_audit.check_landing(DAY) == {
        "start_offsets": {}, "end_offsets": {}, "gaps": [], "rebuild_dates": [], "too_late": 0, "forced": [],
    }  # fmt: skip


def test_fewer_rows_than_kafka_offsets_fail_with_both_numbers(
    lake: Lake, run_audit: ModuleType, failure: type[Exception]
) -> None:
    lake.land(DAY, 0, 5, valid(DAY, "a", "b", "c"))
    with pytest.raises(failure, match=r"2025-04-10: Kafka has 5 records .* 3 were landed"):
        run_audit.check_landing(DAY)


def test_fewer_rows_than_were_produced_fail_with_the_number_lost(
    lake: Lake, run_audit: ModuleType, failure: type[Exception]
) -> None:
    lake.land(DAY, 0, 3, valid(DAY, "a", "b", "c"))
    lake.produced = {"2025-04-10": 3}
    run_audit.check_landing(DAY)
    lake.produced = {"2025-04-10": 5}
    loss = "2025-04-10: 5 records were produced, only 3 landed: 2 lost"
    with pytest.raises(failure, match=f"{loss}; the parameter force goes on without them"):
        run_audit.check_landing(DAY)
    assert run_audit.check_landing(DAY, is_forced=True)["forced"] == [loss]


def test_what_a_landing_was_allowed_to_leave_out_is_no_loss_but_is_told(
    lake: Lake, run_audit: ModuleType, failure: type[Exception]
) -> None:
    gap = {"partition": 0, "from": 1, "to": 3, "reason": "deleted"}
    lake.land(DAY, 0, 1, valid(DAY, "a"))
    lake.land(APRIL[10], 3, 5, valid(DAY, "b", "c"), (gap,), left_out=2)
    lake.produced = {"2025-04-10": 5}
    assert run_audit.check_landing(DAY)["gaps"] == []
    assert run_audit.check_landing(APRIL[10])["gaps"] == [gap]
    lake.produced = {"2025-04-10": 6}
    with pytest.raises(failure, match="3 lost"):
        run_audit.check_landing(DAY)
    unknown = {"partition": 0, "from": 5, "to": None, "reason": "new topic"}
    lake.land(DAY, 0, 1, valid(DAY, "d"), (unknown,), left_out=None)
    lake.produced = {"2025-04-10": 1000}
    assert run_audit.check_landing(DAY)["gaps"] == [unknown]


def test_a_gap_whose_landing_has_expired_is_no_loss(
    lake: Lake, run_audit: ModuleType, failure: type[Exception]
) -> None:
    lake.land(DAY, 2, 3, valid(DAY, "a"), ({"partition": 0, "from": 0, "to": 2, "reason": "deleted"},), left_out=2)
    lake.land(None, 3, 3, [], left_out=2)
    raw = lake.table("raw_events")
    raw.maintenance.expire_snapshots().by_id(raw.snapshots()[0].snapshot_id).commit()
    lake.produced = {"2025-04-10": 3}
    assert run_audit.check_landing(DAY)["gaps"] == []
    lake.produced = {"2025-04-11": 1}
    with pytest.raises(failure, match="1 lost"):  # a later date has lost nothing in it
        run_audit.check_landing(APRIL[10])
    lake.produced = {"2025-04-10": 4}
    with pytest.raises(failure, match="3 lost"):
        run_audit.check_landing(DAY)


def test_a_gap_that_was_landed_by_hand_is_that_of_the_first_run_after_it(lake: Lake, run_audit: ModuleType) -> None:
    gap = {"partition": 0, "from": 0, "to": 2, "reason": "deleted"}
    lake.land(None, 2, 3, valid(DAY, "a"), (gap,), left_out=2)
    lake.land(DAY, 3, 4, valid(DAY, "b"), left_out=2)
    assert run_audit.check_landing(DAY)["gaps"] == [gap]
    run = {"event_date": DAY, "gaps": json.dumps([gap]), "recorded_at": dt.datetime.now(dt.UTC)}
    lake.append("pipeline_runs", [run])
    assert run_audit.check_landing(APRIL[10])["gaps"] == []


def test_a_landing_that_lost_against_another_counts_nowhere(lake: Lake, run_audit: ModuleType) -> None:
    lake.land(DAY, 0, 1, valid(DAY, "a"))
    raw = lake.table("raw_events")
    base = raw.current_snapshot()
    assert base is not None
    lake.land(DAY, 1, 99, valid(DAY, "loser")[:1])
    raw.refresh()
    raw.manage_snapshots().rollback_to_snapshot(base.snapshot_id).commit()
    lake.land(DAY, 1, 2, valid(DAY, "winner"))
    assert run_audit.check_landing(DAY)["end_offsets"] == {"0": 2}


def test_requeued_records_are_counted_apart_from_those_that_the_source_produced(
    lake: Lake, run_audit: ModuleType, failure: type[Exception]
) -> None:
    again = [row | {"requeued_from": "clickstream/0/1"} for row in valid(DAY, "b")]
    lake.land(DAY, 0, 3, [*valid(DAY, "a"), *quarantined(DAY, 1), *again])
    assert run_audit.Audit().requeued(DAY) == 1
    lake.produced = {"2025-04-10": 2}
    run_audit.check_landing(DAY)
    lake.produced = {"2025-04-10": 3}
    with pytest.raises(failure, match="1 lost"):
        run_audit.check_landing(DAY)


def test_events_that_lack_one_fail_for_the_date_and_for_every_rebuilt_date(
    lake: Lake, run_audit: ModuleType, failure: type[Exception]
) -> None:
    late = APRIL[7]
    lake.land(DAY, 0, 5, [*valid(DAY, "a", "b", "b"), *valid(late, "c", "d")])
    lake.append("events", [*clean(DAY, "a", "b"), *clean(late, "c")])
    assert run_audit.check_transform(DAY, {"rebuild_dates": []})["rebuilt_dates"] == []
    with pytest.raises(failure, match=r"^2025-04-08: 1 clean events, but raw_events has 2"):
        run_audit.check_transform(DAY, {"rebuild_dates": ["2025-04-08"]})
    with pytest.raises(failure, match=r"^2025-04-08"):
        run_audit.check_transform(late, {"rebuild_dates": []})


def test_what_the_run_rebuilt_is_checked_and_reported(
    lake: Lake, run_audit: ModuleType, failure: type[Exception]
) -> None:
    neighbour = APRIL[8]
    lake.land(DAY, 0, 2, [*valid(DAY, "a"), *valid(neighbour, "b")])
    started = started_seconds_ago(0)
    done = {"run_date": json.dumps(str(DAY)), "forced": '["a fall"]'}
    done["job_started_ms"] = started
    rebuilt = json.dumps([str(neighbour), str(DAY)])
    lake.append("events", clean(DAY, "a"), rebuilt_dates=rebuilt, **done)
    with pytest.raises(failure, match=r"^2025-04-09: 0 clean events, but raw_events has 1"):
        run_audit.check_transform(DAY, {"rebuild_dates": []})
    lake.append("events", clean(neighbour, "b"))
    assert run_audit.check_transform(DAY, {"rebuild_dates": []}) == {
        "job_started_ms": int(started),
        "rebuilt_dates": ["2025-04-09", "2025-04-10"],
        "forced": ["a fall"],
    }


def test_what_all_attempts_since_the_last_record_have_rebuilt_and_forced_is_reported(
    lake: Lake, run_audit: ModuleType
) -> None:
    lake.land(DAY, 0, 1, valid(DAY, "a"))
    lake.append("events", clean(DAY, "a"))

    def commit(date: dt.date, fault: str) -> None:
        done = {"run_date": json.dumps(str(DAY)), "rebuilt_dates": json.dumps([str(date)])}
        lake.append("events", [], forced=json.dumps([fault]), job_started_ms=started_seconds_ago(0), **done)

    commit(APRIL[6], "of a run before")
    time.sleep(0.01)
    lake.append("pipeline_runs", [{"event_date": DAY, "recorded_at": dt.datetime.now(dt.UTC)}])
    found = run_audit.check_transform(DAY, {"rebuild_dates": []})
    assert (found["rebuilt_dates"], found["forced"]) == (["2025-04-07"], ["of a run before"])
    time.sleep(0.01)
    commit(APRIL[8], "of the first attempt")
    commit(DAY, "of the second")
    commit(DAY, "of the second")
    found = run_audit.check_transform(DAY, {"rebuild_dates": []})
    assert found["rebuilt_dates"] == ["2025-04-09", "2025-04-10"]
    assert found["forced"] == ["of the first attempt", "of the second"]


def test_records_that_land_while_a_date_is_transformed_are_left_to_the_run_that_landed_them(
    lake: Lake, run_audit: ModuleType, failure: type[Exception]
) -> None:
    lake.land(DAY, 0, 1, valid(DAY, "a"))
    done = {"run_date": json.dumps(str(DAY)), "rebuilt_dates": json.dumps([str(DAY)])}
    lake.append("events", clean(DAY, "a"), job_started_ms=started_seconds_ago(0), **done)
    time.sleep(0.01)
    lake.land(APRIL[10], 1, 2, valid(DAY, "late"))
    transformed = run_audit.check_transform(DAY, {"rebuild_dates": []})
    landed = {"start_offsets": {}, "end_offsets": {}, "gaps": [], "too_late": 0, "forced": []}
    run_audit.record_run(DAY, "run", landed, transformed, [])
    # What has landed before the job began is its own affair.
    lake.append("events", [], job_started_ms=started_seconds_ago(0), **done)
    with pytest.raises(failure, match=r"^2025-04-10: 1 clean events, but raw_events has 2"):
        run_audit.check_transform(DAY, {"rebuild_dates": []})


def test_a_copy_on_a_date_nearby_is_a_duplicate_where_its_offset_is_the_higher_one(
    lake: Lake, run_audit: ModuleType
) -> None:
    lake.land(DAY, 0, 4, [*valid(DAY, "a"), *valid(APRIL[12], "a", "b"), *valid(APRIL[13], "a")])
    distinct = {day: run_audit.Audit().count_date(day).distinct for day in (DAY, APRIL[12], APRIL[13])}
    # Four days lie between the tenth and the fourteenth, one between the thirteenth and it.
    assert distinct == {DAY: 1, APRIL[12]: 1, APRIL[13]: 0}


def test_events_that_hold_a_duplicate_fail(lake: Lake, run_audit: ModuleType, failure: type[Exception]) -> None:
    lake.land(DAY, 0, 2, valid(DAY, "a", "a"))
    lake.append("events", clean(DAY, "a", "a"))
    with pytest.raises(failure, match=r"2025-04-10: 2 clean events, but raw_events has 1"):
        run_audit.check_transform(DAY, {"rebuild_dates": []})


def fill_segments(lake: Lake, users: list[str], segmented: list[str], profiled: int) -> None:
    """Features, segments and one profile on the tenth; other dates hold what must not count."""
    for day, names in ((DAY, users), (APRIL[0], ["x"])):
        lake.append("user_features", [{"user_id": name, "snapshot_date": day} for name in names])
    rows = [{"user_id": name, "segment_id": 1, "snapshot_date": DAY} for name in segmented]
    lake.append("user_segments", [*rows, {"user_id": "x", "segment_id": 1, "snapshot_date": APRIL[0]}])
    lake.append("segment_profiles", [{"segment_id": 1, "users": profiled, "snapshot_date": DAY}])


def test_one_segment_for_each_user_passes(lake: Lake, run_audit: ModuleType) -> None:
    fill_segments(lake, ["a", "b"], ["a", "b"], profiled=2)
    run_audit.check_segments(DAY)


def test_segments_of_features_that_another_run_has_changed_are_left_to_that_run(
    lake: Lake, run_audit: ModuleType, failure: type[Exception]
) -> None:
    fill_segments(lake, ["a"], ["a"], profiled=1)
    run = {"run_date": json.dumps(str(DAY))}
    lake.append("user_segments", [], job_started_ms=started_seconds_ago(0), **run)
    time.sleep(0.01)
    lake.append("user_features", [{"user_id": "new", "snapshot_date": DAY}])
    run_audit.check_segments(DAY)
    lake.append("user_segments", [], job_started_ms=started_seconds_ago(0), **run)
    with pytest.raises(failure, match="2 users have features, 1 rows"):
        run_audit.check_segments(DAY)


@pytest.mark.parametrize(
    ("users", "segmented", "profiled", "numbers"),
    [
        (["a", "b"], ["a", "b", "b"], 2, "2 users have features, 3 rows (2 users) have segments, 2 are counted"),
        (["a", "b"], ["a", "a"], 2, "2 users have features, 2 rows (1 users) have segments, 2 are counted"),
        (["a", "b"], ["a"], 1, "2 users have features, 1 rows (1 users) have segments, 1 are counted"),
        (["a", "b"], ["a", "b"], 1, "2 users have features, 2 rows (2 users) have segments, 1 are counted"),
    ],
    ids=["two rows of a user", "two rows of a user hide a missing one", "a user without segment", "profiles"],
)
def test_segments_that_do_not_fit_the_users_fail_with_the_numbers(
    lake: Lake,
    run_audit: ModuleType,
    failure: type[Exception],
    users: list[str],
    segmented: list[str],
    profiled: int,
    numbers: str,
) -> None:
    fill_segments(lake, users, segmented, profiled)
    with pytest.raises(failure) as error:
        run_audit.check_segments(DAY)
    assert str(error.value).startswith(f"2025-04-10: {numbers}")


def test_models_wait_that_were_trained_on_the_date_and_nobody_has_decided_on(lake: Lake, run_audit: ModuleType) -> None:
    assert run_audit.find_waiting_models(DAY) == []
    models = [("b", "waiting", DAY), ("a", "waiting", DAY), ("kept", "kept", DAY), ("champion", "champion", DAY),
              ("rejected", "rejected", DAY), ("yesterday", "waiting", APRIL[8])]  # fmt: skip
    names = [name for name, _ in COLUMNS["model_runs"]]
    lake.append("model_runs", [dict(zip(names, model, strict=True)) for model in models])
    assert run_audit.find_waiting_models(DAY) == ["a", "b"]
    assert run_audit.find_waiting_models(APRIL[0]) == []


Recorded = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def recorded(lake: Lake, run_audit: ModuleType) -> Recorded:
    """Records a run of the tenth under the name given; returns all rows of pipeline_runs but their clock."""

    def record(run_id: str, forced: list[str] | None = None, warned: list[str] | None = None) -> list[dict[str, Any]]:
        rebuilt = [str(APRIL[0]), "2025-03-31"]
        gaps = [{"partition": 0, "from": 2, "to": 4, "reason": "deleted"}] if "gap" in run_id else []
        landed: dict[str, Any] = {"start_offsets": {"0": 0}, "end_offsets": {"0": 6}, "gaps": gaps}
        landed |= {"too_late": 4, "rebuild_dates": [], "forced": ["a loss"] if "loss" in run_id else []}
        run_audit.record_run(
            DAY,
            run_id,
            landed,
            {"rebuilt_dates": rebuilt, "forced": forced or [], "job_started_ms": int(time.time() * 1000)},
            warned or [],
        )
        rows: list[dict[str, Any]] = lake.table("pipeline_runs").scan().to_arrow().to_pylist()
        assert all(row.pop("recorded_at") for row in rows)
        return sorted(rows, key=lambda row: str(row["event_date"]))

    return record


def test_a_run_is_one_row_of_counts_and_a_rerun_replaces_it(lake: Lake, recorded: Recorded) -> None:
    rolled_back = {"remarks": ["events were rolled back"]}
    before = [{"run_id": "other", "event_date": APRIL[0]}, {"run_id": "zeroth", "event_date": DAY} | rolled_back]
    lake.append("pipeline_runs", [row | {"recorded_at": dt.datetime.now(dt.UTC)} for row in before])
    lake.land(DAY, 0, 6, [*valid(DAY, "a", "b", "b", "c"), *quarantined(DAY, 2)])
    lake.land(DAY, 6, 7, valid(APRIL[0], "late"))
    lake.append("events", clean(DAY, "a", "b", "c"))
    lake.append("events", clean(APRIL[0], "late"))
    lake.append("sessions", [{"session_key": "a-1", "session_date": DAY}])
    lake.append("user_daily_activity", [{"user_id": name, "event_date": DAY} for name in "ab"])
    lake.append(
        "user_features",
        [],
        run_date=json.dumps(str(DAY)),
        job_started_ms=started_seconds_ago(30),
    )
    rows = [{"user_id": name, "segment_id": 1, "snapshot_date": DAY} for name in "abcde"]
    lake.append("user_segments", rows, run_date=json.dumps(str(APRIL[0])), job_started_ms=started_seconds_ago(10))
    lake.produced = {"2025-04-10": 6, "2025-04-11": 50}
    other, row = recorded("first")
    assert (other["run_id"], other["event_date"]) == ("other", APRIL[0])
    assert [other[name] for name in ("landed", "clean", "duplicates", "too_late")] == [1, 1, 0, None]
    seconds = dict(row["job_seconds"])
    assert seconds == {"land": pytest.approx(90, abs=20), "transform": pytest.approx(30, abs=20)}
    assert row == {
        "job_seconds": row["job_seconds"],
        "run_id": "first",
        "produced": 6,
        "requeued": 0,
        "landed": 6,
        "quarantined": 2,
        "duplicates": 1,
        "clean": 3,
        "sessions": 1,
        "users": 2,
        "segmented_users": 5,
        "too_late": 4,
        "start_offsets": '{"0": 0}',
        "end_offsets": '{"0": 6}',
        "forced": None,
        "warnings": None,
        "gaps": None,
        "remarks": ["events were rolled back"],
        "event_date": DAY,
    }
    noted = {"run_id": "second", "forced": '["a fall"]', "warnings": '["date_is_fresh"]'}
    assert recorded("second", ["a fall"], ["date_is_fresh"]) == [other, row | noted]
    gaps = '[{"partition": 0, "from": 2, "to": 4, "reason": "deleted"}]'
    assert recorded("with a gap") == [other, row | {"run_id": "with a gap", "gaps": gaps}]
    assert recorded("whose landing has expired")[1]["gaps"] == gaps
    scored = {"run_date": json.dumps(str(DAY)), "job_started_ms": started_seconds_ago(5)}
    lake.append("user_segments", [], left_outdated='["2025-04-05"]', forced='["fewer users"]', **scored)
    after = recorded("with a loss and a date left", ["a fall"], ["date_is_fresh"])[1]
    assert json.loads(after["warnings"]) == ["date_is_fresh", "segments of 2025-04-05 are older than its features"]
    assert json.loads(after["forced"]) == ["a loss", "a fall", "fewer users"]


def test_a_run_that_does_not_balance_is_recorded_and_fails(
    lake: Lake, recorded: Recorded, failure: type[Exception]
) -> None:
    lake.land(DAY, 0, 2, valid(DAY, "a", "b"))
    lake.append("events", clean(DAY, "a"))
    with pytest.raises(failure, match=r"2025-04-10: landed 2 is not clean 1 \+ quarantined 0 \+ duplicates 0"):
        recorded("unbalanced")
    assert [row["clean"] for row in lake.table("pipeline_runs").scan().to_arrow().to_pylist()] == [1]


def test_a_run_that_left_no_word_of_its_transform_has_no_excuse_for_a_difference(
    lake: Lake, run_audit: ModuleType, failure: type[Exception]
) -> None:
    lake.land(DAY, 0, 1, valid(DAY, "a"))
    lake.append("events", clean(DAY, "a"))
    transformed = run_audit.check_transform(DAY, {"rebuild_dates": []})
    lake.land(DAY, 1, 2, valid(DAY, "b"))
    landed = {"start_offsets": {}, "end_offsets": {}, "gaps": [], "too_late": 0, "forced": []}
    with pytest.raises(failure, match="landed 2 is not clean 1"):
        run_audit.record_run(DAY, "run", landed, transformed, [])


def test_a_source_that_says_nothing_is_recorded_as_null_not_as_zero(lake: Lake, recorded: Recorded) -> None:
    lake.land(DAY, 0, 1, valid(DAY, "a"))
    lake.append("events", clean(DAY, "a"))
    assert [row["produced"] for row in recorded("external")] == [None]
