"""Prints how many events, sessions and users the lake holds for a date, as JSON.

A process of its own: a child begins with its parent's peak memory, so the benchmark itself must not load PyIceberg.
"""

from __future__ import annotations

import json
import sys

import config
from config.catalog import open_catalog


def count_date(date: str) -> dict[str, int]:
    """Rows of one date in the tables that the reference has as well."""
    settings = config.load()
    tables, catalog = settings.paths.tables, open_catalog(settings)
    partitions = {
        "events": (tables.events, "event_date"),
        "sessions": (tables.sessions, "session_date"),
        "users": (tables.user_segments, "snapshot_date"),
    }
    return {
        name: catalog.load_table((settings.paths.database, table)).scan(row_filter=f"{column} == '{date}'").count()
        for name, (table, column) in partitions.items()
    }


if __name__ == "__main__":
    print(json.dumps(count_date(sys.argv[1])))
