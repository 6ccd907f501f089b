"""Rows of `sessions_by_day` after the filters: sums by date, segment or device, and the funnel."""

from __future__ import annotations

import pandas as pd  # type: ignore[import-untyped]

from dashboard.filters import Filters
from dashboard.questions import DAY, DateRange

SUMS = (
    "sessions", "users", "events", "revenue", "viewed", "carted", "checked_out", "purchased", "with_cart", "abandoned",
)  # fmt: skip
STEPS = {"viewed": "view", "carted": "cart", "checked_out": "checkout", "purchased": "purchase"}


def select_sessions(rows: pd.DataFrame, filters: Filters) -> pd.DataFrame:
    """The rows of the chosen segments and of one device, or those that count every device."""
    found = rows[rows["device_type"].isna() if filters.device is None else rows["device_type"] == filters.device]
    return found[found["segment_id"].isin(filters.segments)] if filters.segments else found


def add_up(rows: pd.DataFrame, by: str) -> pd.DataFrame:
    """The sums of selected rows by a column, and `conversion` and `abandonment`, shares of the sessions.

    A user of two dates counts twice, one of two segments cannot be: every date has one segment for a user.
    """
    found = rows.groupby(by, dropna=False, as_index=False)[list(SUMS)].sum()
    found["conversion"] = found["purchased"] / found["sessions"]
    found["abandonment"] = found["abandoned"] / found["with_cart"].where(found["with_cart"] > 0)
    return found


def fill_dates(days: pd.DataFrame, every: pd.Index, dates: DateRange) -> pd.DataFrame:
    """Rows of `add_up` by session_date for each of the dates; `every` are those that have any session.

    A date whose sessions do not pass the filters counts zero; one without sessions is a gap.
    """
    wanted = pd.Index([dates.first + n * DAY for n in range((dates.last - dates.first).days + 1)], name="session_date")
    filled = days.set_index("session_date").reindex(wanted)
    nothing = filled.index.isin(every) & filled["sessions"].isna().to_numpy()
    filled.loc[nothing, list(SUMS)] = 0
    return filled.reset_index()


def count_steps(rows: pd.DataFrame) -> pd.DataFrame:
    """The funnel of selected rows: a row per step with its sessions, shares of all and of the step before (0..1)."""
    reached = [int(rows[column].sum()) for column in STEPS]
    steps = pd.DataFrame({"step": list(STEPS.values()), "sessions": reached})
    steps["share_of_views"] = steps["sessions"] / reached[0] if reached[0] else float("nan")
    before = steps["sessions"].shift(1)
    steps["share_of_step_before"] = steps["sessions"] / before.where(before > 0)
    steps["lost"] = (before - steps["sessions"]).astype("Int64")
    return steps
