"""What the banner says of a run's counts."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pandas as pd  # type: ignore[import-untyped]

from dashboard.reconciliation import find_faults


def run(**overrides: Any) -> dict[str, Any]:
    return {
        "event_date": dt.date(2025, 4, 1), "produced": 100, "requeued": 0, "landed": 100, "quarantined": 3,
        "duplicates": 2, "clean": 95, "forced": None, "warnings": None, "gaps": None,
    } | overrides  # fmt: skip


def faults(*runs: dict[str, Any]) -> list[str]:
    return find_faults(pd.DataFrame(runs))


def test_a_run_that_adds_up_has_no_fault() -> None:
    assert faults(run(), run(event_date=dt.date(2025, 4, 2), requeued=5, landed=105, clean=100)) == []


def test_a_source_that_says_nothing_is_no_fault() -> None:
    assert faults(run(produced=None)) == []


def test_records_that_are_nowhere_are_a_fault() -> None:
    assert faults(run(clean=90)) == ["2025-04-01: 100 records landed, but clean, quarantined and duplicates are 95"]


def test_lost_records_are_a_fault() -> None:
    assert faults(run(produced=107)) == ["2025-04-01: 7 of 107 produced records did not land"]
    assert faults(run(produced=101)) == ["2025-04-01: 1 of 101 produced records did not land"]


def test_what_was_requeued_has_to_land_as_well() -> None:
    assert faults(run(requeued=4)) == ["2025-04-01: 4 of 100 produced records did not land"]


def test_a_count_that_is_missing_is_none() -> None:
    assert faults(run(requeued=None, quarantined=None, clean=98)) == []


def test_copies_of_a_repeated_publication_are_no_fault() -> None:
    assert faults(run(produced=90, duplicates=12, clean=85)) == []


def test_what_was_forced_left_out_or_warned_is_told_the_newest_first() -> None:
    second = run(event_date=dt.date(2025, 4, 2), warnings='["quarantined_share"]')
    gap = '[{"partition": 0, "from": 3, "to": 5, "reason": "deleted"}]'
    assert faults(run(forced='["2025-04-01: 7 lost"]', gaps=gap), second) == [
        "2025-04-02: warned by: quarantined_share",
        "2025-04-01: went on by force: 2025-04-01: 7 lost",
        "2025-04-01: landing left out: partition 0, from 3, to 5, reason deleted",
    ]
