"""Which dates a transform builds together."""

from __future__ import annotations

from datetime import date

from spark_jobs.transform_clickstream import batch_by_rows, take_consecutive_dates

DAYS = [date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1), date(2024, 3, 3)]


def test_dates_without_a_gap_are_built_together_over_the_end_of_a_leap_february() -> None:
    assert take_consecutive_dates({*DAYS}) == DAYS[:3]
    assert take_consecutive_dates([DAYS[3], DAYS[1]]) == [DAYS[1]]


def test_a_range_is_cut_by_rows_and_never_within_a_date() -> None:
    rows = dict(zip(DAYS, (3, 2, 9, 1), strict=True))
    assert batch_by_rows(DAYS, rows, 5) == [DAYS[:2], [DAYS[2]], [DAYS[3]]]
    assert batch_by_rows(DAYS, rows, 15) == [DAYS]
    assert batch_by_rows(DAYS, {}, 1) == [DAYS]
    assert batch_by_rows([], rows, 5) == []
