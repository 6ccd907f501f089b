"""Numbers as people read them."""

from __future__ import annotations

import datetime as dt

import pandas as pd  # type: ignore[import-untyped]
import pytest

from dashboard import wording

DAY = dt.date(2025, 4, 30)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (wording.count(1234567), "1,234,567"),
        (wording.count(None), "-"),
        (wording.count(float("nan")), "-"),
        (wording.count(pd.NA), "-"),
        (wording.percent(0.1234), "12.3 %"),
        (wording.percent(0), "0.0 %"),
        (wording.money(1234.5), "1,234.50"),
        (wording.money(10_000), "10,000"),
        (wording.money(999_999), "999,999"),
        (wording.money(-1_003_400), "-1.00 M"),
        (wording.money(-0.5), "-0.50"),
        (wording.size(0), "0 B"),
        (wording.size(999), "999 B"),
        (wording.size(1000), "1.0 kB"),
        (wording.size(1_500_000), "1.5 MB"),
        (wording.size(2.5e16), "25000.0 TB"),
        (wording.seconds(1234), "1.23 s"),
        (wording.change(110, 100), "+10.0 %"),
        (wording.change(100, 100.01), "+0.0 %"),
        (wording.change(1, 0), None),
        (wording.change(1, None), None),
        (wording.change(float("nan"), 1), None),
        (wording.points(0.12, 0.10), "+2.0 pp"),
        (wording.points(0.1, 0.2), "-10.0 pp"),
        (wording.points(0.1, None), None),
    ],
)
def test_a_number_is_said_with_its_unit(said: str | None, expected: str | None) -> None:
    assert said == expected


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2025-04-30T12:00+00:00", "not over yet"),
        ("2025-05-01T00:59+00:00", "0 hours old"),
        ("2025-05-01T01:00+00:00", "1 hour old"),
        ("2025-05-02T23:00+00:00", "47 hours old"),
        ("2025-05-03T00:00+00:00", "2 days old"),
    ],
)
def test_a_date_is_as_old_as_its_end(now: str, expected: str) -> None:
    assert wording.age(DAY, dt.datetime.fromisoformat(now)) == expected


def test_a_column_says_its_unit_and_an_unknown_one_keeps_its_name() -> None:
    rows = pd.DataFrame({"revenue_sum_30d": [1.5], "event_time": [DAY], "brand": ["a"]})
    labelled = wording.label(rows, "USD")
    assert list(labelled) == ["revenue in 30 days (USD)", "time (UTC)", "brand"]
    assert labelled.iloc[0].tolist() == [1.5, DAY, "a"]


def test_somebodys_words_are_no_markdown() -> None:
    assert wording.as_markdown("over $100; [x] *all* :red") == r"over \$100; \[x\] \*all\* \:red"
