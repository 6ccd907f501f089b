"""A whole date: determinism, exact counts, the schema, and what arrives when."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from config.loader import EVENT_SCHEMA_FILE
from data_generator.date_batch import BatchError, generate_date_batch, users_for
from data_generator.event_producer import main
from data_generator.malformed_events import MALFORMED_KINDS
from data_generator.population import PersonaMove
from tests.unit.data_generator.builders import (
    TUESDAY,
    Record,
    date_of_ms,
    events_of,
    make_batch,
    make_parameters,
    records_of,
    sessions_of,
    time_ms,
)

FAULTY = {"late_rate": 0.02, "duplicate_rate": 0.03, "malformed_rate": 0.01}


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    return Draft202012Validator(
        json.loads(EVENT_SCHEMA_FILE.read_text(encoding="utf-8")), format_checker=FormatChecker()
    )


def is_valid(validator: Draft202012Validator, value: bytes) -> bool:
    """Strict: `jsonschema` checks date-time only where an optional package is installed, so this parses it too."""
    try:
        event = json.loads(value)
        time_ms(event)
    except (ValueError, KeyError, TypeError):
        return False
    return validator.is_valid(event)


def digest(records: list[Record]) -> str:
    return hashlib.sha256(repr(records).encode()).hexdigest()


def test_same_seed_and_date_give_the_same_bytes_in_every_process(tmp_path: Any) -> None:
    contents = []
    for hash_seed in ("1", "2"):
        file = tmp_path / hash_seed
        command = [sys.executable, "-m", "data_generator.event_producer", "--date", "2025-04-01", "--events", "2000"]
        subprocess.run(
            [*command, "--seed", "7", "--output", str(file)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
        )
        contents.append(file.read_bytes())
    assert contents[0].count(b"\n") >= 2000
    assert contents[0] == contents[1]


def test_records_do_not_depend_on_the_chunk_size() -> None:
    batch = make_batch(**FAULTY)
    assert digest(records_of(batch, 77)) == digest(records_of(batch, 100_000))


@pytest.mark.parametrize("other", [{"seed": 8}, {"date": date(2025, 4, 2)}, {"events": 5001}])
def test_another_seed_date_or_number_shares_no_event_id(other: dict[str, Any]) -> None:
    ours = {event["event_id"] for event in events_of(make_batch())}
    theirs = {event["event_id"] for event in events_of(make_batch(**other))}
    assert not ours & theirs


def test_users_keep_their_persona_over_dates_and_when_the_shop_grows() -> None:
    personas = make_batch().population.persona_names()
    assert make_batch(date=date(2025, 7, 9)).population.persona_names() == personas
    assert make_batch(users=2000).population.persona_names()[: len(personas)] == personas
    assert make_batch(users=2000).population.user_ids()[: len(personas)] == make_batch().population.user_ids()


def test_every_clean_payload_satisfies_the_event_schema(validator: Draft202012Validator) -> None:
    for record in records_of(make_batch()):
        errors = [error.message for error in validator.iter_errors(record.event)]
        assert not errors, record.value
        time_ms(record.event)


def test_payload_is_compact_json_without_empty_fields_and_without_the_truth() -> None:
    seen: Counter[str] = Counter()
    for record in records_of(make_batch()):
        event = record.event
        assert json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode() == record.value
        assert None not in event.values()
        assert "persona" not in record.value.decode()
        seen.update(event.keys())
    schema = json.loads(EVENT_SCHEMA_FILE.read_text(encoding="utf-8"))
    assert set(seen) == set(schema["properties"])


def test_fields_appear_only_where_they_apply() -> None:
    for event in events_of(make_batch()):
        is_product_event = event["event_type"] in {"click", "view", "cart", "remove_from_cart", "purchase"}
        assert ("product_id" in event) == ("price" in event) == ("brand" in event) == is_product_event
        assert ("search_query" in event) == (event["event_type"] == "search")
        assert ("quantity" in event) == (event["event_type"] in {"cart", "remove_from_cart", "purchase"})


def test_event_ids_are_unique() -> None:
    ids = [event["event_id"] for event in events_of(make_batch())]
    assert len(set(ids)) == len(ids) == 5000


def test_key_is_the_user_id() -> None:
    for record in records_of(make_batch()):
        assert record.key == record.event["user_id"].encode()


def test_some_user_ids_begin_with_zero() -> None:
    user_ids = make_batch().population.user_ids()
    assert any(user_id.startswith("0") for user_id in user_ids)
    assert len(set(user_ids)) == len(user_ids)


def test_counts_and_rates_are_exact() -> None:
    batch = make_batch(**FAULTY)
    records = records_of(batch)
    assert batch.count_by_kind() == {"clean": 4900, "late": 100, "duplicate": 150, "malformed": 50}
    assert len(records) == 5000 + 150 + 50
    injected = batch.injected_table().to_pylist()
    assert Counter(row["kind"] for row in injected) == {"late": 100, "duplicate": 150, "malformed": 50}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    events=st.integers(2, 400),
    late=st.floats(0, 0.7),
    duplicate=st.floats(0, 1),
    malformed=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
def test_any_rates_give_exactly_as_many_records(
    events: int, late: float, duplicate: float, malformed: float, seed: int
) -> None:
    parameters = make_parameters(
        events=events, seed=seed, late_rate=late, duplicate_rate=duplicate, malformed_rate=malformed
    )
    batch = generate_date_batch(parameters)
    records = records_of(batch)
    kinds = batch.count_by_kind()
    assert kinds["clean"] + kinds["late"] == events
    assert kinds["late"] == round(events * late)
    assert kinds["duplicate"] == round(events * duplicate)
    assert kinds["malformed"] == round(events * malformed)
    assert sum(kinds.values()) == len(records) == sum(batch.count_by_event_date().values())
    assert {date_of_ms(record.timestamp_ms) for record in records} == {TUESDAY}


def test_kafka_timestamps_lie_on_the_date_and_never_go_back() -> None:
    timestamps = [record.timestamp_ms for record in records_of(make_batch(**FAULTY))]
    assert {date_of_ms(timestamp) for timestamp in timestamps} == {TUESDAY}
    assert timestamps == sorted(timestamps)


def test_an_on_time_event_has_its_own_time_as_kafka_timestamp() -> None:
    for record in records_of(make_batch()):
        if date_of_ms(time_ms(record.event)) == TUESDAY:
            assert record.timestamp_ms == time_ms(record.event)


def test_a_users_events_are_published_in_time_order() -> None:
    latest: dict[str, int] = {}
    for event in events_of(make_batch()):
        assert time_ms(event) > latest.get(event["user_id"], 0)
        latest[event["user_id"]] = time_ms(event)


def test_late_events_are_whole_sessions_of_the_day_before() -> None:
    batch = make_batch(late_rate=0.05)
    late_ids = {row["event_id"] for row in batch.injected_table().to_pylist()}
    assert len(late_ids) == 250
    for session in sessions_of(events_of(batch)).values():
        late = {event["event_id"] in late_ids for event in session}
        assert len(late) == 1, "a session is late as a whole"
        if late == {True}:
            assert {date_of_ms(time_ms(event)) for event in session} == {TUESDAY - timedelta(days=1)}
            assert [time_ms(event) for event in session] == sorted(time_ms(event) for event in session)


def test_duplicates_are_the_same_bytes_later() -> None:
    batch = make_batch(duplicate_rate=0.04)
    first_seen: dict[bytes, int] = {}
    repeated = []
    for record in records_of(batch):
        if record.value in first_seen:
            assert record.timestamp_ms >= first_seen[record.value]
            repeated.append(record.event["event_id"])
        first_seen.setdefault(record.value, record.timestamp_ms)
    assert len(first_seen) == 5000
    assert sorted(repeated) == sorted(row["event_id"] for row in batch.injected_table().to_pylist())


def test_malformed_records_are_malformed_and_nothing_else_is(validator: Draft202012Validator) -> None:
    batch = make_batch(malformed_rate=0.02)
    broken = [record for record in records_of(batch) if not is_valid(validator, record.value)]
    truth = batch.injected_table().to_pylist()
    assert len(broken) == len(truth) == 100
    assert {row["malformed_kind"] for row in truth} == set(MALFORMED_KINDS)
    assert [record.timestamp_ms for record in broken] == [
        round(row["published_at"].timestamp() * 1000) for row in truth
    ]
    assert [record.key for record in broken] == [row["user_id"].encode() for row in truth]


def test_malformed_records_add_to_the_clean_ones_and_do_not_change_them() -> None:
    clean = {
        (record.event["user_id"], record.event["event_time"], record.event["event_type"])
        for record in records_of(make_batch())
    }
    batch = make_batch(malformed_rate=0.02)
    valid_rows = {(e["user_id"], e["event_time"], e["event_type"]) for e in _decodable(records_of(batch))}
    assert clean <= valid_rows


def _decodable(records: list[Record]) -> list[dict[str, Any]]:
    events = []
    for record in records:
        try:
            event = record.event
        except ValueError:
            continue
        if {"user_id", "event_time", "event_type"} <= event.keys():
            events.append(event)
    return events


def test_counts_by_event_date_match_the_payloads() -> None:
    batch = make_batch(late_rate=0.02, duplicate_rate=0.03, events=20_000, users=3000)
    counted = Counter(date_of_ms(time_ms(event)).isoformat() for event in events_of(batch))
    assert batch.count_by_event_date() == counted
    assert set(counted) == {"2025-03-31", "2025-04-01", "2025-04-02"}, "some sessions run over midnight"


def test_malformed_records_count_for_the_date_itself() -> None:
    without, broken = make_batch(), make_batch(malformed_rate=0.02)
    added = Counter(broken.count_by_event_date()) - Counter(without.count_by_event_date())
    assert added == {"2025-04-01": 100}


def test_truth_of_sessions_matches_the_payloads() -> None:
    batch = make_batch(late_rate=0.02, duplicate_rate=0.03)
    unique = {event["event_id"]: event for event in events_of(batch)}
    sessions = sessions_of(list(unique.values()))
    truth = batch.sessions_table().to_pylist()
    assert len(truth) == len(sessions)
    for row in truth:
        session = sessions[row["session_id"]]
        assert {event["user_id"] for event in session} == {row["user_id"]}
        assert row["event_count"] == len(session)
        assert row["first_event_time"].timestamp() * 1000 == pytest.approx(min(map(time_ms, session)))
        assert row["last_event_time"].timestamp() * 1000 == pytest.approx(max(map(time_ms, session)))


def test_truth_names_every_user_and_all_six_personas() -> None:
    table = make_batch().users_table()
    assert table.num_rows == 1000
    assert set(table["persona"].to_pylist()) == {
        "window_shopper",
        "researcher",
        "cart_abandoner",
        "bargain_hunter",
        "loyal_buyer",
        "gift_buyer",
    }


@pytest.mark.parametrize("leap_or_new_year", [date(2024, 2, 29), date(2025, 1, 1), date(2025, 12, 31)])
def test_calendar_edges_are_ordinary_dates(leap_or_new_year: date) -> None:
    batch = generate_date_batch(make_parameters(date=leap_or_new_year, events=500, late_rate=0.1))
    assert len(records_of(batch)) == 500
    assert (leap_or_new_year - timedelta(days=1)).isoformat() in batch.count_by_event_date()


def test_too_few_users_for_the_events_is_an_error_that_names_enough() -> None:
    with pytest.raises(BatchError, match="at least 2000 users"):
        generate_date_batch(make_parameters(events=100_000, users=100))


def test_malformed_records_need_an_event_of_the_date_itself() -> None:
    with pytest.raises(BatchError, match="every event is late"):
        generate_date_batch(make_parameters(events=50, late_rate=1.0, malformed_rate=0.1))


def test_users_grow_with_the_events_only_when_too_few_are_configured() -> None:
    assert users_for(events=100_000, configured_users=20_000) == 20_000
    assert users_for(events=5_000_000, configured_users=20_000) == 100_000


def test_output_file_holds_one_line_per_record(tmp_path: Any) -> None:
    file = tmp_path / "events.jsonl"
    options = ["--late-rate", "0", "--duplicate-rate", "0.1", "--malformed-rate", "0"]
    assert main(["--date", "2025-04-01", "--events", "300", *options, "--output", str(file)]) == 0
    lines = file.read_bytes().splitlines()
    assert len(lines) == 330
    assert len({json.loads(line)["event_id"] for line in lines}) == 300


def test_users_who_move_are_another_persona_from_that_date_on_and_nobody_else_changes() -> None:
    move = PersonaMove(date(2025, 4, 2), "window_shopper", "loyal_buyer", 0.1)
    before = make_batch(persona_move=move)
    assert before.population.persona_names() == make_batch().population.persona_names()
    after = make_batch(date=date(2025, 4, 2), persona_move=move)
    was, now = before.population.persona_names(), after.population.persona_names()
    moved = [(old, new) for old, new in zip(was, now, strict=True) if old != new]
    assert moved == [("window_shopper", "loyal_buyer")] * 100  # a tenth of 1,000 users
    assert now == make_batch(date=date(2025, 4, 9), persona_move=move).population.persona_names()
    stayed = [number for number, (old, new) in enumerate(zip(was, now, strict=True)) if old == new]
    assert (before.population.sessions_per_week[stayed] == after.population.sessions_per_week[stayed]).all()
    assert (before.population.price_weights[stayed] == after.population.price_weights[stayed]).all()


def test_a_move_gives_other_events_other_ids() -> None:
    move = PersonaMove(TUESDAY, "window_shopper", "loyal_buyer", 0.1)
    ids = [
        {record.event["event_id"] for record in records_of(make_batch(**given))}
        for given in ({}, {"persona_move": move})
    ]
    assert not ids[0] & ids[1]


def test_more_users_than_a_persona_has_cannot_move() -> None:
    move = PersonaMove(TUESDAY, "gift_buyer", "loyal_buyer", 0.5)
    with pytest.raises(BatchError, match=r"500 of 1000 users cannot move: \d+ are gift_buyer"):
        make_batch(persona_move=move)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2025-05-01 loyal_buyer 0.1", "is not: YYYY-MM-DD FROM-PERSONA TO-PERSONA SHARE"),
        ("2025-05-01 loyal_buyer nobody 0.1", "nobody: no persona; there are window_shopper, "),
        ("2025-05-01 loyal_buyer gift_buyer 1.5", "the share 1.5 is not between 0 and 1"),
    ],
)
def test_a_move_that_makes_no_sense_is_named(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        PersonaMove.parse(text)
    assert str(PersonaMove.parse("2025-05-01 loyal_buyer gift_buyer 0.1")) == "2025-05-01 loyal_buyer gift_buyer 0.1"
