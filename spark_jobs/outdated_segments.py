"""Which dates have segments that do not fit their features, or the date before, any more; read from the tables.

Each publication of `user_features` names its dates in its snapshot, each scoring of a date the snapshot of
`user_features` that it read, a digest of its segments, and the digest of those of the date before. So a run that died
before it could tell anybody leaves nothing undone. Maintenance repeats the digests of snapshots that expire.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection

from spark_jobs.lake.lakehouse import Lakehouse
from spark_jobs.lake.notes import DIGESTS, FEATURES_SNAPSHOT, REBUILT_SNAPSHOTS, RUN_DATE, Digests
from spark_jobs.lake.tables import USER_FEATURES, USER_SEGMENTS
from spark_jobs.lake.views import View

NEVER_SCORED = "none"
DAY = dt.timedelta(days=1)


def find_outdated_segments(lakehouse: Lakehouse) -> set[dt.date]:
    """The dates whose features were published again since they were scored. A date that was never scored is its own
    run's."""
    waiting = _scored_dates(lakehouse)
    scored_from: dict[dt.date, int] = {}
    for snapshot in lakehouse.list_history(USER_SEGMENTS):
        features_snapshot, date = FEATURES_SNAPSHOT.read(snapshot), RUN_DATE.read(snapshot)
        if features_snapshot and date:
            scored_from.setdefault(date, features_snapshot)
    outdated = set[dt.date]()
    for snapshot in lakehouse.list_history(USER_FEATURES):
        waiting -= {date for date in waiting if scored_from.get(date) == snapshot.snapshot_id}
        outdated |= waiting & set(REBUILT_SNAPSHOTS.read(snapshot) or ())
    return outdated


def find_outdated_histories(lakehouse: Lakehouse) -> set[dt.date]:
    """The scored dates whose previous segments are not those that the date before has by now."""
    noted = _read_digests(lakehouse)
    outdated = {day for day, (_, history) in noted.items() if noted.get(day - DAY, (history, ""))[0] != history}
    return outdated and outdated.intersection(_scored_dates(lakehouse))


def read_noted_digest(lakehouse: Lakehouse, date: dt.date) -> str:
    """The digest that the newest scoring of a date has noted."""
    return _read_digests(lakehouse).get(date, (NEVER_SCORED, ""))[0]


def digest_segments(view: View, date: dt.date) -> str:
    """What the next date takes over from a date's segments, as the view has them."""
    return view.digest_date(USER_SEGMENTS, date, ("user_id", "segment_id", "segment_since"))


def _scored_dates(lakehouse: Lakehouse) -> set[dt.date]:
    return set(lakehouse.main.list_dates(USER_SEGMENTS)) & set(lakehouse.main.list_dates(USER_FEATURES))


def find_digests(lakehouse: Lakehouse) -> dict[str, str]:
    """What the next segmentation reads in the summaries of user_segments, for the summary of one snapshot."""
    noted, scored = _read_digests(lakehouse), lakehouse.main.list_dates(USER_SEGMENTS)
    kept = {day: noted[day] for day in scored if day in noted}
    return DIGESTS.write(kept) if kept else {}


def describe_rollback(
    lakehouse: Lakehouse, dates: Collection[dt.date], target: int, *, is_whole_table: bool
) -> dict[str, str]:
    """For the summary of a rollback of user_segments: the digests of `dates`, which go back to snapshot `target`.

    A date that goes back by itself fits the date before, whatever that has; the date after it follows. So does the one
    after a date whose digest at `target` nobody has noted, or that had no rows.
    """
    then, now = _read_digests(lakehouse, target), _read_digests(lakehouse)
    back = {day: then.get(day, (f"as of {target}", NEVER_SCORED)) for day in sorted(dates)}
    if not is_whole_table:
        back = {day: (digest, now.get(day - DAY, (history, ""))[0]) for day, (digest, history) in back.items()}
    return DIGESTS.write(back)


def _read_digests(lakehouse: Lakehouse, newest: int | None = None) -> Digests:
    """Date -> digest of its segments, and of those of the date before, as noted last, or by snapshot `newest`."""
    noted: Digests = {}
    for digests in lakehouse.find_notes(USER_SEGMENTS, DIGESTS, newest):
        noted = digests | noted
    return noted


def keep_outdated_segments(lakehouse: Lakehouse) -> None:
    """An empty commit on user_features that names the outdated dates again: they outlive the snapshots before it."""
    if outdated := find_outdated_segments(lakehouse):
        lakehouse.note_on(USER_FEATURES, REBUILT_SNAPSHOTS.write(sorted(outdated)))
