"""Requeueing: which rows are open, and what a correction makes of them. Publishing needs Kafka: tests/integration."""

from __future__ import annotations

import json

import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from spark_jobs import requeue_quarantined
from spark_jobs.land_raw_events import REQUEUED_FROM, classify_records
from spark_jobs.requeue_quarantined import correct_payloads, read_quarantine
from tests.unit.spark_jobs.conftest import MakeEvent, MakeRecords


def landed(records: DataFrame, at: str) -> DataFrame:
    """As rows of a table: cached, so that filters end here."""
    return classify_records(records).withColumn("ingested_at", F.lit(at).cast("timestamp")).cache()


def successor_of(records: DataFrame, place: str) -> DataFrame:
    header = F.struct(F.lit(REQUEUED_FROM).alias("key"), F.lit(place).cast("binary").alias("value"))
    return records.withColumn("headers", F.array(header))


def test_a_row_is_open_until_its_successor_has_landed_after_it(
    make_records: MakeRecords, make_event: MakeEvent
) -> None:
    bad = landed(make_records([b"one", b"two", b"three"]), "2025-04-01 10:00:00")
    earlier = landed(successor_of(make_records([make_event()]), "clickstream/0/0"), "2025-04-01 09:00:00")
    later = landed(successor_of(make_records([make_event()]), "clickstream/0/1"), "2025-04-01 11:00:00")
    rows = read_quarantine(bad.unionByName(earlier).unionByName(later)).orderBy("offset").collect()
    assert [(row.payload_text, str(row.requeued_at)) for row in rows] == [
        ("one", "None"), ("two", "2025-04-01 11:00:00"), ("three", "None"),
    ]  # fmt: skip


def test_a_correction_is_judged_by_the_checks_and_keeps_key_time_and_origin(
    make_records: MakeRecords, make_event: MakeEvent
) -> None:
    mended, hopeless = make_event(price=-5), make_event(price=-5, event_type="hover")
    quarantined = read_quarantine(landed(make_records([mended, hopeless]), "2025-04-01 10:00:00"))
    payload = "replace(payload_text, '\"price\": -', '\"price\": ')"
    good, bad = correct_payloads(quarantined, payload).orderBy("offset").collect()
    assert json.loads(bytes(good.payload)) == mended | {"price": 5}
    assert (good.error_type, good.key, good.requeued_from) == (None, "007", "clickstream/0/0")
    assert str(good.timestamp) == "2025-04-01 09:00:00"
    assert (bad.error_type, bad.requeued_from) == ("unknown_event_type", "clickstream/0/1")
    unchanged = correct_payloads(quarantined, None).orderBy("offset").collect()
    assert [row.error_type for row in unchanged] == ["bad_price", "unknown_event_type"]


def test_a_condition_is_required() -> None:
    with pytest.raises(SystemExit):
        requeue_quarantined.parse_arguments([])
