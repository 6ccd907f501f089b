"""What stands in the lake after a run: counts of each date, and its segments, read from the tables themselves."""

from __future__ import annotations

import datetime as dt

from rich.console import Console
from rich.table import Table as RichTable

from config import Settings
from config.catalog import open_catalog

COUNTS = ("produced", "landed", "quarantined", "duplicates", "clean", "sessions", "users")


def read_rows(
    settings: Settings, table: str, date_column: str, first: dt.date, last: dt.date
) -> list[dict[str, object]]:
    """The rows of a table from one date to another, ordered by date."""
    name = getattr(settings.paths.tables, table)
    rows = open_catalog(settings).load_table((settings.paths.database, name))
    found = rows.scan(row_filter=f"{date_column} >= '{first}' AND {date_column} <= '{last}'").to_arrow().to_pylist()
    return sorted(found, key=lambda row: row[date_column])


def print_report(settings: Settings, first: dt.date, last: dt.date) -> None:
    """The counts by date, then the segments by date."""
    console = Console(width=110)
    counts = RichTable("date", *COUNTS, title="events")
    for row in read_rows(settings, "pipeline_runs", "event_date", first, last):
        counts.add_row(str(row["event_date"]), *["" if row[name] is None else f"{row[name]:,}" for name in COUNTS])
    console.print(counts)
    segments = RichTable("date", "segment", "name", "users", "share", title="segments")
    profiles = read_rows(settings, "segment_profiles", "snapshot_date", first, last)
    for row in sorted(profiles, key=lambda row: (str(row["snapshot_date"]), row["segment_id"])):
        segments.add_row(
            str(row["snapshot_date"]),
            str(row["segment_id"]),
            str(row["segment_name"]),
            f"{row['users']:,}",
            f"{row['users_share']:.1%}",
        )
    console.print(segments)
