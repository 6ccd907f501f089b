"""What is checked in a draft before readers see it: its rows beside those that it replaces, nulls, ranges.

Counts come from Iceberg's metadata, nulls and ranges from the statistics that Parquet's writer kept: no data is read.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict

from config.loader import Audit
from spark_jobs.lake.draft import Draft
from spark_jobs.lake.files import partition_date, read_bound
from spark_jobs.lake.tables import EVENTS, SESSIONS, USER_DAILY_ACTIVITY, USER_FEATURES, USER_SEGMENTS, Column, Table

# Their rows are events, sessions and users, of which a rebuilt date has about as many as before.
_STEADY_TABLES = (EVENTS, SESSIONS, USER_DAILY_ACTIVITY, USER_FEATURES, USER_SEGMENTS)


def find_faults(draft: Draft, limits: Audit) -> list[str]:
    """A sentence for each fault of the draft, none for a good one."""
    faults: list[str] = []
    for table in draft.tables:
        if table in _STEADY_TABLES:
            faults += find_falls(draft, table, limits)
        faults += find_bad_values(draft, table)
    return faults


def find_falls(draft: Draft, table: Table, limits: Audit) -> list[str]:
    """The dates that lose a larger share of their rows than `limits` allows."""
    drafted = draft.count_rows(table)
    faults = []
    for day, before in draft.count_published_rows(table).items():
        after = drafted.get(day, 0)
        if before - after > max(limits.max_fall_share * before, limits.ignored_fall_rows):
            faults.append(
                f"{table.name} {day}: {after:,} rows instead of {before:,}, a fall of {1 - after / before:.1%}; "
                f"{limits.max_fall_share:.1%} is allowed (audit.max_fall_share)"
            )
    return faults


def find_bad_values(draft: Draft, table: Table) -> list[str]:
    """Columns with nulls, NaN, or values out of their bounds, as far as the definition of `table` forbids them."""
    schema = draft.lakehouse.load(table).schema()
    fields = {column: schema.find_field(column.name) for column in table.columns}
    counts: dict[tuple[dt.date, Column, str], int] = defaultdict(int)
    faults = []
    for file in draft.list_drafted_files(table):
        day = partition_date(file)
        nulls, not_numbers = file.null_value_counts or {}, file.nan_value_counts or {}
        for column, field in fields.items():
            if not column.is_nullable:
                counts[day, column, "null"] += nulls.get(field.field_id) or 0
            counts[day, column, "NaN"] += not_numbers.get(field.field_id) or 0
            if column.bounds:
                least, greatest = column.bounds
                low, high = read_bound(field, file.lower_bounds), read_bound(field, file.upper_bounds)
                if low is not None and low < least:
                    faults.append(f"{table.name} {day}: {column.name} falls to {low}, below {least}")
                if high is not None and high > greatest:
                    faults.append(f"{table.name} {day}: {column.name} rises to {high}, above {greatest}")
    faults += [
        f"{table.name} {day}: {column.name} is {what} in {rows:,} rows"
        for (day, column, what), rows in counts.items()
        if rows
    ]
    return faults
