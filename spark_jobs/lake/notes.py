"""What our jobs note in the summary of a snapshot, each note with its key and its type. No other file knows a key.

Data and note are one commit: where landing stands, what a date was built from, which segments rest on what. A note is
JSON in a string. Readers of an older lake find the same keys.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypedDict, TypeVar

from pyiceberg.table.snapshots import Snapshot

T = TypeVar("T")


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Note(Generic[T]):
    """One kind of note. `decode` makes a value of the parsed JSON, `encode` what is written as JSON."""

    key: str
    decode: Callable[[Any], T] = _same
    encode: Callable[[T], Any] = _same

    def write(self, value: T) -> dict[str, str]:
        """For the summary of a snapshot."""
        return {self.key: json.dumps(self.encode(value), default=str)}

    def read(self, snapshot: Snapshot) -> T | None:
        """None where the snapshot has no such note."""
        text = self.read_text(snapshot)
        return None if text is None else self.decode(json.loads(text))

    def read_text(self, snapshot: Snapshot) -> str | None:
        """As it stands in the summary: to repeat it in another snapshot."""
        return snapshot.summary.additional_properties.get(self.key) if snapshot.summary else None

    def find(self, snapshots: Iterable[Snapshot]) -> T | None:
        """The first note of its kind in the order of `snapshots`."""
        return next((value for value in map(self.read, snapshots) if value is not None), None)


class LeftOut(TypedDict):
    """Records of a topic in all gaps, None where nobody knows; events of dates after `until` are in none of them."""

    records: int | None
    until: str


Dates = list[dt.date]
TopicOffsets = dict[str, dict[str, int]]  # topic -> partition -> offset
Digests = dict[dt.date, tuple[str, str]]  # of a date's segments, and of those of the date before


def _to_date(value: str | None) -> dt.date | None:
    return None if value is None else dt.date.fromisoformat(value)


def _to_dates(values: Iterable[str]) -> Dates:
    return [dt.date.fromisoformat(value) for value in values]


def _from_dates(dates: Iterable[dt.date]) -> list[str]:
    return [str(date) for date in dates]


def _to_counts(values: Mapping[str, int]) -> dict[dt.date, int]:
    return {dt.date.fromisoformat(date): rows for date, rows in values.items()}


def _from_counts(counts: Mapping[dt.date, int]) -> dict[str, int]:
    return {str(date): rows for date, rows in sorted(counts.items())}


def _to_digests(values: Mapping[str, list[str]]) -> Digests:
    return {dt.date.fromisoformat(date): (digest, history) for date, (digest, history) in values.items()}


def _from_digests(digests: Digests) -> dict[str, tuple[str, str]]:
    return {str(date): both for date, both in digests.items()}


# Every job: when it started (epoch milliseconds), the date of its run (null: by hand), what --force has published.
JOB_STARTED_MS = Note[int]("job-started-ms")
RUN_DATE = Note[dt.date | None]("run-date", _to_date)
FORCED = Note[list[str]]("forced")

# Landing, in raw_events: from and to which offsets, of which topic (Kafka's id), and what was left out.
KAFKA_START_OFFSETS = Note[TopicOffsets]("kafka-start-offsets")
KAFKA_END_OFFSETS = Note[TopicOffsets]("kafka-end-offsets")
KAFKA_TOPIC_IDS = Note[dict[str, str]]("kafka-topic-ids")
KAFKA_GAPS = Note[list[dict[str, Any]]]("kafka-gaps")
KAFKA_LEFT_OUT = Note[dict[str, LeftOut]]("kafka-left-out")
# What the next landing, and the check of it, reads.
POSITION: tuple[Note[Any], ...] = (KAFKA_END_OFFSETS, KAFKA_TOPIC_IDS, KAFKA_LEFT_OUT)

# The transform: what it has rebuilt, and of how many rows of raw_events each date of events was built.
REBUILT_DATES = Note[Dates]("rebuilt-dates", _to_dates, _from_dates)
REBUILT_SNAPSHOTS = Note[Dates]("rebuilt-snapshots", _to_dates, _from_dates)
RAW_ROWS = Note[dict[dt.date, int]]("raw-rows", _to_counts, _from_counts)

# Segmentation: the snapshot of user_features that it read, dates that it could not do, what each date rests on.
FEATURES_SNAPSHOT = Note[int]("features-snapshot")
LEFT_OUTDATED = Note[Dates]("left-outdated", _to_dates, _from_dates)
DIGESTS = Note[Digests]("digests", _to_digests, _from_digests)

# Rollback: the snapshot whose files the table has again.
ROLLED_BACK_TO = Note[int]("rolled-back-to")
