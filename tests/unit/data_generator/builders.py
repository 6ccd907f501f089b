"""Small batches and REES46 rows, valid unless a test says otherwise."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from typing import Any

from data_generator.date_batch import BatchParameters, DateBatch, generate_date_batch

TUESDAY = date(2025, 4, 1)
SESSION_GAP_MS = 30 * 60_000


def make_parameters(**overrides: Any) -> BatchParameters:
    """5,000 events of 1,000 users, none of them late, repeated or broken."""
    defaults: dict[str, Any] = {
        "date": TUESDAY,
        "seed": 7,
        "events": 5000,
        "users": 1000,
        "late_rate": 0.0,
        "duplicate_rate": 0.0,
        "malformed_rate": 0.0,
    }
    return BatchParameters(**{**defaults, **overrides})


@cache
def make_batch(**overrides: Any) -> DateBatch:
    """The batch of `make_parameters`; equal calls share it."""
    return generate_date_batch(make_parameters(**overrides))


@dataclass(frozen=True)
class Record:
    """One Kafka record."""

    key: bytes | None
    value: bytes
    timestamp_ms: int

    @property
    def event(self) -> dict[str, Any]:
        """The decoded payload."""
        decoded: dict[str, Any] = json.loads(self.value)
        return decoded


def records_of(batch: DateBatch, chunk_records: int = 1500) -> list[Record]:
    """All records of a batch, in the order of publication."""
    return [
        Record(*parts)
        for records in batch.records(chunk_records)
        for parts in zip(records.keys, records.values, records.timestamps_ms, strict=True)
    ]


def events_of(batch: DateBatch) -> list[dict[str, Any]]:
    """The decoded payloads of a batch without malformed records."""
    return [record.event for record in records_of(batch)]


def sessions_of(events: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Events by session id, in the order given."""
    sessions: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        sessions[event["session_id"]].append(event)
    return dict(sessions)


def time_ms(event: dict[str, Any]) -> int:
    """Milliseconds since 1970 of a payload's event_time."""
    return round(datetime.fromisoformat(event["event_time"]).timestamp() * 1000)


def date_of_ms(milliseconds: int) -> date:
    """UTC date of a Kafka timestamp."""
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC).date()


def make_row(**overrides: str) -> str:
    """One row of a REES46 file, without its line end."""
    columns = {
        "event_time": "2019-10-01 00:00:00 UTC",
        "event_type": "view",
        "product_id": "44600062",
        "category_id": "2103807459595387724",
        "category_code": "electronics.smartphone",
        "brand": "samsung",
        "price": "35.79",
        "user_id": "541312140",
        "user_session": "72d76fde-8bb3-4e00-8c23-a032dfed738c",
    }
    return ",".join({**columns, **overrides}.values())


HEADER = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session"
