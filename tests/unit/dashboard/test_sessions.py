"""The filters' arithmetic over rows of `sessions_by_day`; every expected number is added up by hand."""

from __future__ import annotations

import datetime as dt

import pandas as pd  # type: ignore[import-untyped]
import pytest

from dashboard.filters import Filters
from dashboard.questions import DateRange
from dashboard.sessions import SUMS, add_up, count_steps, fill_dates, select_sessions

DAY = dt.date(2025, 4, 1)
DATES = DateRange(DAY, DAY)
# Date, segment, device, then SUMS: sessions, users, events, revenue, the steps of the funnel, with a cart, abandoned.
ROWS = [
    (DAY, 1, None, 10, 6, 100, 50.0, 9, 5, 3, 2, 5, 3),
    (DAY, 1, "mobile", 7, 5, 70, 20.0, 6, 3, 1, 1, 3, 2),
    (DAY, 1, "desktop", 3, 2, 30, 30.0, 3, 2, 2, 1, 2, 1),
    (DAY, 2, None, 4, 4, 8, 0.0, 1, 0, 0, 0, 0, 0),
    (DAY, 2, "mobile", 4, 4, 8, 0.0, 1, 0, 0, 0, 0, 0),
]


@pytest.fixture
def rows() -> pd.DataFrame:
    return pd.DataFrame(ROWS, columns=["session_date", "segment_id", "device_type", *SUMS])


def test_without_filters_each_session_and_user_counts_once(rows: pd.DataFrame) -> None:
    (day,) = add_up(select_sessions(rows, Filters(DATES, (), None, {}, DATES)), "session_date").to_dict("records")
    assert (day["sessions"], day["users"], day["events"], day["revenue"]) == (14, 10, 108, 50.0)
    assert day["conversion"] == pytest.approx(2 / 14)
    assert day["abandonment"] == pytest.approx(3 / 5)


def test_a_device_and_a_segment_leave_their_sessions(rows: pd.DataFrame) -> None:
    mobile = select_sessions(rows, Filters(DATES, (), "mobile", {}, DATES))
    assert add_up(mobile, "session_date")["users"].tolist() == [9]
    second = select_sessions(rows, Filters(DATES, (2,), None, {}, DATES))
    assert add_up(second, "session_date")["sessions"].tolist() == [4]
    assert select_sessions(rows, Filters(DATES, (2,), "desktop", {}, DATES)).empty


def test_without_a_cart_there_is_no_abandonment(rows: pd.DataFrame) -> None:
    (second,) = add_up(select_sessions(rows, Filters(DATES, (2,), None, {}, DATES)), "segment_id").to_dict("records")
    assert pd.isna(second["abandonment"])
    assert second["conversion"] == 0


def test_a_step_tells_who_went_on_and_who_was_lost(rows: pd.DataFrame) -> None:
    steps = count_steps(select_sessions(rows, Filters(DATES, (), None, {}, DATES))).set_index("step")
    assert steps["sessions"].to_dict() == {"view": 10, "cart": 5, "checkout": 3, "purchase": 2}
    assert steps["lost"].tolist()[1:] == [5, 2, 1]
    assert steps["share_of_views"].tolist() == [1.0, 0.5, 0.3, 0.2]
    assert steps["share_of_step_before"].tolist()[1:] == pytest.approx([0.5, 0.6, 2 / 3])


def test_one_session_is_enough_for_a_share(rows: pd.DataFrame) -> None:
    one = rows.head(1).assign(sessions=1, viewed=1, carted=1, checked_out=0, purchased=0, with_cart=1, abandoned=1)
    assert add_up(one, "session_date")["abandonment"].tolist() == [1.0]
    assert count_steps(one)["share_of_step_before"].tolist()[1:3] == [1.0, 0.0]
    only_views = count_steps(one.assign(carted=0))
    assert only_views["share_of_views"].tolist() == [1.0, 0.0, 0.0, 0.0]
    assert only_views["lost"].tolist()[1:] == [1, 0, 0]


def test_a_funnel_without_a_view_has_no_shares(rows: pd.DataFrame) -> None:
    steps = count_steps(rows.head(0))
    assert steps["sessions"].tolist() == [0, 0, 0, 0]
    assert steps["share_of_views"].isna().all()
    assert steps["share_of_step_before"].isna().all()


def test_a_date_whose_sessions_do_not_pass_counts_zero_and_one_without_sessions_is_a_gap(rows: pd.DataFrame) -> None:
    second = DAY + dt.timedelta(days=1)
    days = add_up(select_sessions(rows, Filters(DATES, (), None, {}, DATES)), "session_date")
    filled = fill_dates(days, pd.Index([DAY, second]), DateRange(DAY, DAY + dt.timedelta(days=2)))
    assert filled["session_date"].tolist() == [DAY, second, DAY + dt.timedelta(days=2)]
    assert filled["sessions"].tolist()[:2] == [14, 0]
    assert filled["users"].isna().tolist() == [False, False, True]
    assert filled["conversion"].isna().tolist() == [False, True, True]
