"""Landing: which records are valid, why others are not, and which offsets a run takes."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from config.loader import EVENT_SCHEMA_FILE
from spark_jobs.errors import ConcurrentCommitError
from spark_jobs.lake.lakehouse import Lakehouse
from spark_jobs.lake.notes import KAFKA_END_OFFSETS, KAFKA_TOPIC_IDS, LeftOut, Note
from spark_jobs.lake.tables import RAW_EVENTS
from spark_jobs.land_raw_events import (
    Accepted,
    Gap,
    History,
    LandingError,
    LandingPlan,
    Position,
    TopicState,
    classify_records,
    plan_landing,
    read_history,
    today,
)
from spark_jobs.maintain_tables import call, timestamp
from tests.lake.conftest import VALID_EVENT, MakeEvent, MakeRecords

VALID = json.dumps(VALID_EVENT)


def altered(old: str, new: str) -> bytes:
    assert old in VALID
    return VALID.replace(old, new, 1).encode()


BAD_RECORDS: list[tuple[bytes | None, str, str]] = [
    (None, "empty_value", "the record has no value"),
    (b"", "empty_value", "the record has no value"),
    (b"\xff\xfe{}", "not_utf8", "the value is not UTF-8"),
    (b"\x00", "nul_byte", "a NUL byte at character 1"),
    (altered("ios", "i\x00s"), "nul_byte", f"a NUL byte at character {VALID.index('ios') + 2}"),
    (b'{"x": ' + b"[" * 32 + b"]" * 32 + b"}", "nested_too_deep", "more than 32 levels of objects and arrays"),
    (b'{"x": ' + b"[" * 5000 + b"]" * 5000 + b"}", "nested_too_deep", "more than 32 levels of objects and arrays"),
    (b'{"x": ' + b"[" * 33, "not_json", 'not one JSON object: {"x": ' + "[" * 33),
    (altered("ios", "i" * 300_000), "too_large", f"{len(VALID) + 299_997} bytes; at most 262144 are taken"),
    (VALID.encode() * 2, "not_json", "not one JSON object: " + VALID[:200]),
    (VALID.encode() + b"}", "not_json", "not one JSON object: " + VALID[:200]),
    (VALID.encode() + b"," + VALID.encode(), "not_json", "not one JSON object: " + VALID[:200]),
    (VALID.encode() + b',"x":{}', "not_json", "not one JSON object: " + VALID[:200]),
    (b"null", "not_json", "not one JSON object: null"),
    (b"  ", "not_json", "not one JSON object:   "),
    (b'{"event_id":', "not_json", 'not one JSON object: {"event_id":'),
    (b"[1]", "not_json", "not one JSON object: [1]"),
    (b'"text"', "not_json", 'not one JSON object: "text"'),
    (b"{'event_id': 'x'}", "not_json", "not one JSON object: {'event_id': 'x'}"),
    (b"{}", "missing_field", "event_id"),
    (altered('"user_id": "007", ', ""), "missing_field", "user_id"),
    (altered('"user_id": "007"', '"user_id": null'), "missing_field", "user_id"),
    (altered('"user_id": "007"', '"user_id": 7'), "wrong_type", "user_id: 7 is no string"),
    (altered('"user_id": "007"', '"user_id": "007", "user_id": 7'), "wrong_type", "user_id: 7 is no string"),
    (altered('"user_id": "007"', '"user\\u005fid": 7'), "wrong_type", "user_id: 7 is no string"),
    (altered('"user_id": "007"', '"x": {"user_id": "007"}, "user_id": 7'), "wrong_type", "user_id: 7 is no string"),
    (altered('"device": {', '"device": 5, "x": {'), "wrong_type", "device: 5 is no object"),
    (altered('"os": "ios"', '"os": ["ios"]'), "wrong_type", 'device.os: ["ios"] is no string'),
    (altered('"user_id": "007"', '"user_id": "0\\u00007"'), "nul_character", "user_id"),
    (altered('"os": "ios"', '"os": "\\u0000"'), "nul_character", "device.os"),
    (altered('"price": 12.5', '"price": "12.5"'), "wrong_type", "price: 12.5 is no number"),
    (altered('"price": 12.5', '"price" :  "12.5"'), "wrong_type", "price: 12.5 is no number"),
    (altered('"price": 12.5', '"price":\n"12.5"'), "wrong_type", "price: 12.5 is no number"),
    (altered('"product_id": "0042"', '"product_id": ["0042"]'), "wrong_type", 'product_id: ["0042"] is no string'),
    (altered('"quantity": 1', '"quantity": true'), "wrong_type", "quantity: true is no integer"),
    (altered("3f2504e0-", "3f2504e0"), "bad_event_id", "event_id: 3f2504e04f89-41d3-9a0c-0305e82c3301"),
    (altered('"007"', '""'), "empty_user_id", "user_id is empty"),
    (altered('"view"', '"viewed"'), "unknown_event_type", "event_type: viewed"),
    (altered("2025-04-01T", "2025-02-30T"), "bad_event_time", "event_time: 2025-02-30T08:15:30.125Z"),
    (altered(".125Z", ".125"), "bad_event_time", "event_time: 2025-04-01T08:15:30.125"),
    (altered(".125Z", ".125+02:00"), "bad_event_time", "event_time: 2025-04-01T08:15:30.125+02:00"),
    (altered("2025-04-01T", "9999-04-01T"), "impossible_event_time", "event_time: 9999-04-01T08:15:30.125Z"),
    (altered("2025-04-01T", "1970-01-01T"), "impossible_event_time", "event_time: 1970-01-01T08:15:30.125Z"),
    (altered('"price": 12.5', '"price": -0.01'), "bad_price", "price: -0.01"),
    (altered('"price": 12.5', '"price": -1e-30'), "bad_price", "price: -1.0E-30"),
    (altered('"price": 12.5', '"price": 100000000000000'), "bad_price", "price: 100000000000000"),
    (altered('"price": 12.5', '"price": 1e999999999'), "bad_price", "price: Infinity"),
    (altered('"schema_version": 1', '"schema_version": -1'), "bad_schema_version", "schema_version: -1"),
    (altered('"quantity": 1', '"quantity": 1.5'), "bad_quantity", "quantity: 1.5"),
    (altered('"quantity": 1', '"quantity": 99999999999999999999'), "bad_quantity", "quantity: 99999999999999999999"),
]


def test_every_kind_of_bad_record_is_kept_with_its_rule_and_field(make_records: MakeRecords) -> None:
    rows = classify_records(make_records([value for value, _, _ in BAD_RECORDS])).orderBy("offset").collect()
    assert [(r.payload, r.error_type, r.error_detail) for r in rows] == [
        (value if value is None else bytearray(value), kind, detail) for value, kind, detail in BAD_RECORDS
    ]
    assert [r.event for r in rows] == [None] * len(BAD_RECORDS)


def damaged(seed: int) -> bytes:
    """The valid event with one to three tokens of its JSON exchanged, deleted or repeated."""
    draw = random.Random(seed)
    tokens = re.findall(r'"[^"]*"|[\w.]+|[^\w"]', VALID)
    spare = [*tokens, "null", "true", "-1", "1e3", "0.5", '"7"', "[]", "{}", '"', "\\", "\u00e9", "  "]
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(tokens))
        tokens[at : at + 1] = draw.choice([[draw.choice(spare)], [], [tokens[at], tokens[at]]])
    return "".join(tokens).encode()


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    """The event schema with formats; `jsonschema` brings no checker of date-time, Python's own parser is one."""
    formats = FormatChecker()
    formats.checks("date-time", raises=ValueError)(lambda text: bool(datetime.fromisoformat(str(text))))
    return Draft202012Validator(json.loads(EVENT_SCHEMA_FILE.read_text(encoding="utf-8")), format_checker=formats)


def is_valid(validator: Draft202012Validator, payload: bytes | None) -> bool:
    """What the JSON Schema says of a payload, with Python's JSON parser."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        return bool(validator.is_valid(json.loads((payload or b"").decode("utf-8"), parse_constant=refuse)))
    except (ValueError, RecursionError):
        return False


# Rules that a JSON Schema cannot state: of sizes, of two fields of the record, of characters in every string.
BEYOND_JSON_SCHEMA = {"too_large", "nested_too_deep", "impossible_event_time", "nul_character"}


def test_the_checks_and_the_json_schema_call_the_same_payloads_bad(
    make_records: MakeRecords, validator: Draft202012Validator
) -> None:
    payloads = [*(value for value, _, _ in BAD_RECORDS), *(damaged(seed) for seed in range(800))]
    rows = classify_records(make_records(payloads)).orderBy("offset").collect()
    errors = [row.error_type for row in rows]
    by_schema = [is_valid(validator, payload) for payload in payloads]
    differ = [
        (payload, error)
        for payload, error, valid in zip(payloads, errors, by_schema, strict=True)
        if error not in BEYOND_JSON_SCHEMA and (error is None) != valid
    ]
    assert differ == []
    assert {None, "not_json", "missing_field", "wrong_type"} <= set(errors[len(BAD_RECORDS) :])


def test_the_quick_checks_miss_no_record_that_the_exact_ones_find(
    make_records: MakeRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    payloads = [*(value for value, _, _ in BAD_RECORDS), *(damaged(seed) for seed in range(600))]
    quick = classify_records(make_records(payloads)).orderBy("offset").collect()
    monkeypatch.setattr("spark_jobs.land_raw_events.may_be_bad", lambda: F.lit(True))
    exact = classify_records(make_records(payloads)).orderBy("offset").collect()
    assert quick == exact
    assert [row.payload for row in exact if (row.event is None) != (row.error_type is not None)] == []


def test_32_levels_are_none_too_many(make_records: MakeRecords) -> None:
    payload = altered('"user_id": "007"', '"user_id": "007", "x": ' + "[" * 31 + "]" * 31)
    assert classify_records(make_records([payload])).collect()[0].error_type is None


@pytest.mark.parametrize(("old", "kind"), [('c3301"', "bad_event_id"), ('125Z"', "bad_event_time")])
def test_a_line_break_at_the_end_is_part_of_no_pattern(make_records: MakeRecords, old: str, kind: str) -> None:
    """Python's `$`, and so its JSON Schema, lets one follow; the standard's does not."""
    payload = altered(old, old.replace('"', '\\n"'))
    assert classify_records(make_records([payload])).collect()[0].error_type == kind


def test_a_valid_record_becomes_typed_columns_and_keeps_its_bytes(make_records: MakeRecords) -> None:
    payload = VALID.replace('"3f25', '"3F25').encode()
    row = classify_records(make_records([payload])).collect()[0]
    assert (row.topic, row.partition, row.offset, row.key) == ("clickstream", 0, 0, "007")
    assert (row.error_type, row.error_detail, row.payload) == (None, None, bytearray(payload))
    assert row.event.asDict(recursive=True) == {
        **dict.fromkeys(["session_id", "page_url", "page_section", "referrer", "search_query"]),
        **dict.fromkeys(["category_id", "category_code", "brand", "geo"]),
        "event_id": "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
        "event_time": datetime(2025, 4, 1, 8, 15, 30, 125000),  # noqa: DTZ001 (Spark hands out naive UTC)
        "event_type": "view",
        "user_id": "007",
        "product_id": "0042",
        "price": Decimal("12.5000"),
        "quantity": 1,
        "device": {"type": "mobile", "os": "ios", "browser": "safari"},
        "schema_version": 1,
    }
    assert row.event_date == date(2025, 4, 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("user_id", "000123456789012345678901234567890"),
        ("user_id", '🛒 "user_id": 5'),
        ("search_query", 'x", "user_id": 7, "y": "'),
        ("quantity", 10**16),
        ("price", 0),
        ("brand", ""),
        ("unknown_field", {"user_id_2": [1, 2]}),
        ("unknown_field", {"user_id": 7, "price": "12", "type": 1}),
        ("unknown_field", [[{"x": "} ] {"}]] * 20),
        ("unknown_field", "\0"),
        ("quantity", 2.0),
        ("quantity", 2**63 - 1),
        ("price", 99999999999999.99),
        ("price", 0.1 + 0.2),
        ("device", None),
        ("event_time", "2024-02-29T23:59:59.999Z"),
        ("event_time", "2025-04-01T08:15:30Z"),
    ],
)
def test_strange_but_valid_values_are_accepted(
    make_event: MakeEvent, make_records: MakeRecords, field: str, value: Any
) -> None:
    row = classify_records(make_records([make_event(**{field: value})])).collect()[0]
    assert (row.error_type, row.error_detail) == (None, None)
    if field in ("user_id", "search_query", "quantity", "brand"):
        assert row.event[field] == value


def test_prices_are_rounded_to_four_decimals_and_exact_up_to_fourteen_digits_before_them(
    make_records: MakeRecords,
) -> None:
    prices = {"0.30000000000000004": "0.3000", "12.34565": "12.3457", "99999999999999.9999": "99999999999999.9999"}
    rows = classify_records(make_records([altered("12.5", price) for price in prices])).orderBy("offset").collect()
    assert [row.event.price for row in rows] == [Decimal(price) for price in prices.values()]


def test_of_a_key_that_stands_twice_the_last_value_counts(make_records: MakeRecords) -> None:
    row = classify_records(make_records([altered('"user_id"', '"user_id": 7, "user_id"')])).collect()[0]
    assert (row.error_type, row.event.user_id) == (None, "007")


def test_a_record_is_filed_under_its_own_date_and_without_one_under_kafkas(
    make_event: MakeEvent, make_records: MakeRecords
) -> None:
    late = make_event(event_time="2025-03-31T23:59:59.999Z")
    late_and_bad = late | {"event_type": "unknown"}
    future = make_event(event_time="2031-01-01T00:00:00.000Z")
    rows = classify_records(make_records([late, late_and_bad, future, b"no json"])).orderBy("offset").collect()
    assert [str(row.event_date) for row in rows] == ["2025-03-31", "2025-03-31", "2025-04-01", "2025-04-01"]


def topic(earliest: dict[int, int], latest: dict[int, int], identity: str = "A") -> TopicState:
    return TopicState(identity, earliest, latest)


def test_landing_goes_on_where_the_last_commit_ended() -> None:
    kafka = topic(earliest={0: 0, 1: 0, 2: 0}, latest={0: 12, 1: 5, 2: 9})
    planned = plan_landing("t", Position("A", {0: 10, 1: 5}), kafka, Accepted())
    assert planned == LandingPlan({0: 10, 1: 5, 2: 0}, {0: 12, 1: 5, 2: 9})
    assert planned.records == 11


def test_a_position_without_a_topic_id_is_judged_by_its_offsets() -> None:
    kafka = topic(earliest={0: 0}, latest={0: 12})
    assert plan_landing("t", Position(None, {0: 10}), kafka, Accepted()).start == {0: 10}
    with pytest.raises(LandingError, match="ends at offset 13 in partition 0, which now ends at 12"):
        plan_landing("t", Position(None, {0: 13}), kafka, Accepted())


@pytest.mark.parametrize(
    ("landed", "kafka", "message"),
    [
        (Position("A", {0: 10}), topic({0: 0}, {0: 4}), r"ends at offset 10 in partition 0.* 4\. .*--accept-new-topic"),
        (Position("A", {0: 10}), topic({0: 0}, {0: 99}, "B"), r"recreated \(its id was A and is B\).*accept_new_topic"),
        (Position("A", {0: 1, 1: 3}), topic({0: 0}, {0: 20}), r"has lost the partitions \[1\].*--accept-new-topic"),
        (Position("A", {0: 10}), topic({0: 12}, {0: 20}), r"deleted .*partition 0: 10 to 12.*--accept-gap"),
        (Position("A", {0: 9}), topic({0: 9, 1: 2}, {0: 9, 1: 5}), r"deleted .*\(partition 1: 0 to 2,"),
        (Position(None, {}), topic({0: 3}, {0: 9}), r"deleted .*partition 0: 0 to 3"),
    ],
    ids=["ends earlier", "grown again", "fewer partitions", "retention", "a new partition", "never landed"],
)
def test_a_topic_that_does_not_continue_raw_events_is_an_error_with_its_remedy(
    landed: Position, kafka: TopicState, message: str
) -> None:
    with pytest.raises(LandingError, match=message):
        plan_landing("t", landed, kafka, Accepted())


def test_an_accepted_gap_is_skipped_and_recorded() -> None:
    kafka = topic(earliest={0: 12, 1: 0, 2: 4}, latest={0: 20, 1: 8, 2: 4})
    planned = plan_landing("t", Position("A", {0: 10, 1: 5}), kafka, Accepted(gap=True))
    gaps = (Gap(0, 10, 12, "deleted"), Gap(2, 0, 4, "deleted"))
    assert planned == LandingPlan({0: 12, 1: 5, 2: 4}, {0: 20, 1: 8, 2: 4}, gaps)
    assert gaps[0].describe() == {"partition": 0, "from": 10, "to": 12, "reason": "deleted"}


def test_an_accepted_new_topic_is_landed_from_its_start_and_what_it_may_lack_is_recorded() -> None:
    kafka = topic(earliest={0: 0, 1: 2}, latest={0: 20, 1: 8}, identity="B")
    landed = Position("A", {0: 10, 2: 5})
    gaps = (Gap(0, 10, None, "new topic"), Gap(2, 5, None, "new topic"))
    with pytest.raises(LandingError, match="--accept-gap"):
        plan_landing("t", landed, kafka, Accepted(new_topic=True))
    both = plan_landing("t", landed, kafka, Accepted(gap=True, new_topic=True))
    assert both == LandingPlan({0: 0, 1: 2}, {0: 20, 1: 8}, (*gaps, Gap(1, 0, 2, "deleted")))


def test_a_backlog_is_split_into_commits_that_join_and_carry_its_gaps_once() -> None:
    gap = Gap(1, 0, 3, "deleted")
    commits = list(LandingPlan({0: 10, 1: 3}, {0: 20, 1: 4}, (gap,)).split(4))
    assert commits == [
        LandingPlan({0: 10, 1: 3}, {0: 13, 1: 3}, (gap,)),
        LandingPlan({0: 13, 1: 3}, {0: 16, 1: 3}),
        LandingPlan({0: 16, 1: 3}, {0: 20, 1: 4}),
    ]
    assert list(LandingPlan({0: 10}, {0: 10}).split(4)) == []
    assert list(LandingPlan({0: 10}, {0: 10}, (gap,)).split(4)) == [LandingPlan({0: 10}, {0: 10}, (gap,))]
    assert [plan.records for plan in LandingPlan({0: 0}, {0: 8}).split(4)] == [4, 4]


def append_overtaken(
    lakehouse: Lakehouse, records: DataFrame, nth_commit: int, overtake: Callable[[], object], *, is_done: bool = False
) -> None:
    """One landing whose n-th change of branches the catalog refuses, because `overtake` has committed before it.

    The changes are: make a branch, move main. `is_done`: it has taken place nevertheless, and only its answer says no.
    """
    base = lakehouse.ensure_snapshot(RAW_EVENTS)
    rows = classify_records(records).withColumn("ingested_at", F.current_timestamp())
    commit_table, commits = SqlCatalog.commit_table, itertools.count(1)

    def refuse_once(catalog: SqlCatalog, *arguments: Any) -> Any:
        if next(commits) != nth_commit:
            return commit_table(catalog, *arguments)
        overtake()
        if is_done:
            commit_table(catalog, *arguments)
        raise CommitFailedException("somebody else was faster")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqlCatalog, "commit_table", refuse_once)
        lakehouse.append_if_unchanged(RAW_EVENTS, rows, base, {})


def test_a_landing_loses_where_main_moves_at_its_very_commit(lakehouse: Lakehouse, make_records: MakeRecords) -> None:
    with pytest.raises(ConcurrentCommitError):
        append_overtaken(lakehouse, make_records([VALID.encode()]), 2, lambda: lakehouse.note_on(RAW_EVENTS, {}))
    assert lakehouse.main.read(RAW_EVENTS).count() == 0
    assert list(lakehouse.load(RAW_EVENTS).refs()) == ["main"]


@pytest.mark.parametrize("nth_commit", [1, 2], ids=["makes its branch", "moves main"])
def test_a_landing_is_not_stopped_by_a_commit_that_leaves_main_where_it_is(
    lakehouse: Lakehouse, make_records: MakeRecords, nth_commit: int
) -> None:
    def change_a_property() -> None:
        with lakehouse.load(RAW_EVENTS).transaction() as transaction:
            transaction.set_properties(note="another commit")

    append_overtaken(lakehouse, make_records([VALID.encode()]), nth_commit, change_a_property)
    assert lakehouse.main.read(RAW_EVENTS).count() == 1
    assert list(lakehouse.load(RAW_EVENTS).refs()) == ["main"]


@pytest.mark.parametrize("nth_commit", [1, 2], ids=["makes its branch", "moves main"])
def test_a_landing_whose_commit_is_done_though_it_is_told_otherwise_lands_once(
    lakehouse: Lakehouse, make_records: MakeRecords, nth_commit: int
) -> None:
    append_overtaken(lakehouse, make_records([VALID.encode()]), nth_commit, lambda: None, is_done=True)
    assert lakehouse.main.read(RAW_EVENTS).count() == 1
    assert list(lakehouse.load(RAW_EVENTS).refs()) == ["main"]


def test_of_two_landings_from_one_position_only_one_commits(lakehouse: Lakehouse, make_records: MakeRecords) -> None:
    base, position = lakehouse.ensure_snapshot(RAW_EVENTS), Note[int]("position")
    rows = classify_records(make_records([VALID.encode(), b"bad"])).withColumn("ingested_at", F.current_timestamp())
    first, added = lakehouse.append_if_unchanged(RAW_EVENTS, rows, base, position.write(2))
    assert (first, added) == (lakehouse.ensure_snapshot(RAW_EVENTS), 2)
    with pytest.raises(ConcurrentCommitError):
        lakehouse.append_if_unchanged(RAW_EVENTS, rows, base, position.write(2))
    assert lakehouse.main.read(RAW_EVENTS).count() == 2
    assert lakehouse.find_note(RAW_EVENTS, position) == 2
    assert list(lakehouse.load(RAW_EVENTS).refs()) == ["main"]


def test_the_position_is_read_from_the_rows_where_its_snapshots_were_expired(
    lakehouse: Lakehouse, make_records: MakeRecords
) -> None:
    assert read_history(lakehouse) == History({}, {}, {})
    landed = classify_records(make_records([VALID.encode(), b"bad", None])).withColumn("ingested_at", F.now())
    summary = KAFKA_END_OFFSETS.write({"clickstream": {"0": 3}}) | KAFKA_TOPIC_IDS.write({"clickstream": "the id"})
    lakehouse.append_if_unchanged(RAW_EVENTS, landed, lakehouse.ensure_snapshot(RAW_EVENTS), summary)
    assert read_history(lakehouse) == History({"clickstream": {"0": 3}}, {"clickstream": "the id"}, {})

    def forget_landings() -> None:
        lakehouse.note_on(RAW_EVENTS, {})
        call(lakehouse, "expire_snapshots", RAW_EVENTS, older_than=timestamp(datetime.now(UTC)), retain_last="1")
        assert lakehouse.find_note(RAW_EVENTS, KAFKA_END_OFFSETS) is None

    forget_landings()
    unknown = {"clickstream": LeftOut(records=None, until=today())}
    assert read_history(lakehouse) == History({"clickstream": {"0": 3}}, {}, unknown)
    # The topic was recreated: its first record stands beside that of the old one, and was landed later.
    again = classify_records(make_records([VALID.encode()])).withColumn("ingested_at", F.now())
    lakehouse.append_if_unchanged(RAW_EVENTS, again, lakehouse.ensure_snapshot(RAW_EVENTS), summary)
    forget_landings()
    assert read_history(lakehouse) == History({"clickstream": {"0": 1}}, {}, unknown)
