"""Numbers as people read them, with their units."""

from __future__ import annotations

import datetime as dt
import math
import re

import pandas as pd  # type: ignore[import-untyped]

MISSING = "-"
BYTES_UNITS = ("B", "kB", "MB", "GB", "TB")
# What a column is called in a table on a page, with its unit.
LABELS = {
    "event_date": "date",
    "error_type": "reason",
    "too_late": "too late",
    "event_time": "time (UTC)",
    "session_start": "start (UTC)",
    "session_end": "end (UTC)",
    "price": "price ({currency})",
    "revenue": "revenue ({currency})",
    "revenue_sum_30d": "revenue in 30 days ({currency})",
    "revenue_before": "revenue in the 30 days before ({currency})",
    "purchases_sum_30d": "purchases in 30 days",
    "sessions_sum_30d": "sessions in 30 days",
    "days_since_last_event": "days since last event",
    "days_since_last_event_before": "days since last event, before",
    "distance_to_centroid": "distance to the centroid (standard deviations)",
    "previous_segment_id": "segment before",
    "segment_since": "since",
    "segment_name": "segment",
    "now_in": "segment now",
    "device_type": "device",
}


def label(rows: pd.DataFrame, currency: str = "") -> pd.DataFrame:
    """The rows under the names that people read; other columns keep theirs."""
    return rows.rename(columns={name: text.format(currency=currency) for name, text in LABELS.items()})


def as_markdown(text: str) -> str:
    """Somebody's words, in which Markdown, LaTeX and Streamlit's colours mean nothing."""
    return re.sub(r"([\\`*_\[\]$:~<>&#|])", r"\\\1", text)


def count(value: float | None) -> str:
    """1234567 -> 1,234,567."""
    return MISSING if value is None or pd.isna(value) else f"{value:,.0f}"


def counted(number: int, noun: str) -> str:
    """1, row -> 1 row; 1234, row -> 1,234 rows."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def percent(share: float | None) -> str:
    """0.1234 -> 12.3 %."""
    return MISSING if share is None or pd.isna(share) else f"{100 * share:.1f} %"


def money(value: float | None) -> str:
    """1234.5 -> 1,234.50; from ten thousand on without the cents, from a million on in millions.

    The currency stands in the label.
    """
    if value is None or pd.isna(value):
        return MISSING
    if abs(value) >= 1_000_000:
        return f"{value / 1_000_000:,.2f} M"
    return f"{value:,.2f}" if abs(value) < 10_000 else f"{value:,.0f}"


def size(bytes_: float) -> str:
    """1500000 -> 1.5 MB, by powers of 1000 as Athena bills."""
    power = min(int(math.log(bytes_, 1000)), len(BYTES_UNITS) - 1) if bytes_ >= 1 else 0
    return f"{bytes_ / 1000**power:.{1 if power else 0}f} {BYTES_UNITS[power]}"


def seconds(milliseconds: float) -> str:
    """1234 -> 1.23 s."""
    return f"{milliseconds / 1000:.2f} s"


def age(date: dt.date, now: dt.datetime) -> str:
    """How long ago a UTC date ended: 5 hours, 3 days."""
    ended = dt.datetime.combine(date + dt.timedelta(days=1), dt.time(), tzinfo=dt.UTC)
    hours = (now - ended) / dt.timedelta(hours=1)
    if hours < 0:
        return "not over yet"
    number, unit = (hours, "hour") if hours < 48 else (hours / 24, "day")
    return f"{counted(int(number), unit)} old"


def change(now: float | None, before: float | None) -> str | None:
    """110, 100 -> +10.0 %; None where there is nothing to compare with."""
    if now is None or not before or pd.isna(now) or pd.isna(before):
        return None
    return f"{_rounded(100 * (now / before - 1)):+.1f} %"


def points(now: float | None, before: float | None) -> str | None:
    """0.12, 0.10 -> +2.0 pp, percentage points; None where there is nothing to compare with."""
    if now is None or before is None or pd.isna(now) or pd.isna(before):
        return None
    return f"{_rounded(100 * (now - before)):+.1f} pp"


def _rounded(value: float) -> float:
    """What has not changed is no -0.0."""
    return round(value, 1) or 0.0
