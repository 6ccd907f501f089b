"""Which dates have segments that do not fit their features any more, read from the tables.

Each publication of `user_features` names its dates in its snapshot, each scoring of a date the snapshot of
`user_features` that it read. So a run that died before it could tell anybody leaves nothing undone.
"""

from __future__ import annotations

import datetime as dt
import json

from spark_jobs.lakehouse import Lakehouse
from spark_jobs.tables import USER_FEATURES, USER_SEGMENTS

REBUILT_KEY = "rebuilt-snapshots"
READ_KEY = "features-snapshot"


def find_outdated_segments(lakehouse: Lakehouse) -> set[dt.date]:
    """The dates whose features were published again since they were scored. A date that was never scored is its own
    run's."""
    waiting = set(lakehouse.partition_dates(USER_SEGMENTS)) & set(lakehouse.partition_dates(USER_FEATURES))
    scored_from: dict[dt.date, int] = {}
    for snapshot in lakehouse.history(USER_SEGMENTS):
        summary = snapshot.summary()
        if read := summary.get(READ_KEY):
            scored_from.setdefault(dt.date.fromisoformat(json.loads(summary.get("run-date"))), int(read))
    outdated = set[dt.date]()
    for snapshot in lakehouse.history(USER_FEATURES):
        waiting -= {date for date in waiting if scored_from.get(date) == snapshot.snapshotId()}
        rebuilt = json.loads(snapshot.summary().get(REBUILT_KEY) or "[]")
        outdated |= waiting & set(map(dt.date.fromisoformat, rebuilt))
    return outdated


def keep_outdated_segments(lakehouse: Lakehouse) -> None:
    """An empty commit on user_features that names the outdated dates again: they outlive the snapshots before it."""
    if outdated := find_outdated_segments(lakehouse):
        named = json.dumps(sorted(map(str, outdated)))
        lakehouse.load(USER_FEATURES).newAppend().set(REBUILT_KEY, named).commit()
