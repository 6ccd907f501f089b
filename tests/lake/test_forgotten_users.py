"""Which records name a forgotten user, and what is left of them."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from spark_jobs.forgotten_users import Tombstones, drop_forgotten, empty_records
from spark_jobs.land_raw_events import classify_records
from tests.lake.conftest import RECORD_DDL, MakeEvent

SALT = "7d444840-9dc0-11d1-b245-5ffdce74fad2"


def tombstones(*users: str) -> Tombstones:
    return Tombstones(SALT, tuple(sorted(hashlib.sha256((SALT + user).encode()).hexdigest() for user in users)))


@pytest.fixture
def emptied(spark: SparkSession) -> Any:
    """Numbers of those of the given (key, payload) whose record is emptied for the given users."""

    def find(records: list[tuple[bytes, Any]], *users: str) -> set[int]:
        seen_at = datetime(2025, 4, 1, 9, tzinfo=UTC)
        rows = [
            ("t", 0, n, seen_at, key, value if isinstance(value, bytes) else json.dumps(value).encode(), None)
            for n, (key, value) in enumerate(records)
        ]
        classified = classify_records(spark.createDataFrame(rows, RECORD_DDL))
        found = empty_records(classified, tombstones(*users)).collect()
        gone = {row.offset for row in found if row.error_type == "forgotten_user"}
        for row, before in zip(found, classified.collect(), strict=True):
            if row.offset in gone:
                assert (row.key, row.payload, row.event) == (None, None, None)
                assert row.error_detail == "the record of a user who was forgotten"
                assert (row.timestamp, row.event_date) == (before.timestamp, before.event_date)
            else:
                assert row == before
        return gone

    return find


def test_records_of_the_user_are_emptied_however_the_id_stands_in_them(emptied: Any, make_event: MakeEvent) -> None:
    user, bad_time = "7001", {"event_time": "yesterday"}
    records = [
        (b"k", make_event(user_id=user)),
        (user.encode(), make_event(user_id="8")),
        (b"k", make_event(user_id=user, **bad_time)),
        (b"k", make_event(user_id=7001, **bad_time)),
        (b"k", b'{"user_id": "\\u0037001", '),
        (b"k", b'["7001"] \xff'),
        (b"k", b'{"user_id":"7001'),
        (b"k", make_event(user_id="17001")),
        (b"k", make_event(user_id="8", session_id=user)),
        (b"k", make_event(user_id="70010", **bad_time)),
        (b"k", b"not json"),
    ]
    assert emptied(records, user) == {0, 1, 2, 3, 4, 5, 6}
    assert emptied(records) == set()


def test_ids_of_any_script_and_with_quotes_are_found(emptied: Any, make_event: MakeEvent) -> None:
    users = ['he said "no"', "köln 😀", "back\\slash"]
    records = [(b"k", make_event(user_id=user, event_time=time)) for user in users for time in (None, "never")]
    records.append((b"k", make_event(user_id="no", event_time="never")))
    assert emptied(records, *users) == {0, 1, 2, 3, 4, 5}


def test_rows_of_forgotten_users_are_dropped_and_no_others(spark: SparkSession) -> None:
    rows = spark.createDataFrame([("a",), ("b",), ("B",), (None,)], "user_id STRING")
    kept = drop_forgotten(rows, tombstones("b")).orderBy(F.col("user_id").asc_nulls_last())
    assert [row.user_id for row in kept.collect()] == ["B", "a", None]
    assert drop_forgotten(rows, tombstones()).count() == 4
