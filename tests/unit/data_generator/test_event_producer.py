"""The command line, and the live stream against a clock of the test's own."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from config import Settings
from config.loader import Kafka
from data_generator import event_producer
from data_generator.event_encoding import MS_PER_DAY
from data_generator.kafka_sink import DeliveryError, ListSink, connection_options
from data_generator.live_stream import LiveParameters, LiveStream
from tests.unit.data_generator.builders import SESSION_GAP_MS, Record, sessions_of, time_ms

NOON_MS = int(datetime(2025, 4, 1, 12, tzinfo=UTC).timestamp()) * 1000


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "one of the arguments --date --duration is required"),
        (["--date", "2025-04-31"], "'2025-04-31' is not a date"),
        (["--date", "20250401"], "'20250401' is not a date"),
        (["--date", "2025-04-01", "--events", "-5"], "'-5' is below 0"),
        (["--date", "2025-04-01", "--events", "0"], "0 is not above 0"),
        (["--date", "2025-04-01", "--events", "1e6"], "'1e6' is not a whole number"),
        (["--date", "2025-04-01", "--late-rate", "1.5"], "'1.5' is not between 0 and 1"),
        (["--date", "2025-04-01", "--malformed-rate", "nan"], "'nan' is not a finite number"),
        (["--date", "2025-04-01", "--seed", "-1"], "'-1' is below 0"),
        (["--date", "2025-04-01", "--users", "0"], "0 is not above 0"),
        (["--date", "2025-04-01", "--rate", "5"], "--rate goes with --duration"),
        (["--date", "2025-04-01", "--duration", "5"], "not allowed with argument"),
        (["--duration", "0"], "'0' is not above 0"),
        (["--duration", "inf"], "'inf' is not a finite number"),
        (["--duration", "5", "--events", "5"], "--events goes with --date"),
        (["--date", "2025-04-01", "--output", "no/such/folder/file"], "no such folder"),
    ],
)
def test_wrong_options_are_told_and_publish_nothing(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_error:
        event_producer.main(arguments)
    assert exit_error.value.code == 2
    assert complaint in capsys.readouterr().err


def test_bootstrap_servers_come_from_the_environment_variable_before_the_settings(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    of_settings = event_producer.build_parser(settings).parse_args(["--duration", "1"])
    assert of_settings.bootstrap_servers == settings.environment.kafka.bootstrap_servers
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "broker:1234")
    assert event_producer.build_parser(settings).parse_args(["--duration", "1"]).bootstrap_servers == "broker:1234"


def test_a_broker_with_passwords_gets_them_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    kafka = Kafka(bootstrap_servers="b:9096", security_protocol="SASL_SSL")
    monkeypatch.delenv("KAFKA_USERNAME", raising=False)
    with pytest.raises(DeliveryError, match="KAFKA_USERNAME"):
        connection_options(kafka)
    monkeypatch.setenv("KAFKA_USERNAME", "clicks")
    monkeypatch.setenv("KAFKA_PASSWORD", "secret")
    assert connection_options(kafka) == {
        "bootstrap.servers": "b:9096",
        "security.protocol": "SASL_SSL",
        "sasl.username": "clicks",
        "sasl.password": "secret",
        "sasl.mechanism": "SCRAM-SHA-512",
    }


class FakeClock:
    """Sleeping is what makes its time pass, at least `step_ms` of it."""

    def __init__(self, step_ms: int) -> None:
        self.now_ms = NOON_MS
        self._step_ms = step_ms

    def __call__(self) -> int:
        return self.now_ms

    def sleep(self, seconds: float) -> None:
        self.now_ms += max(self._step_ms, round(seconds * 1000))


def play(step_ms: int = 100, **overrides: Any) -> tuple[LiveStream, list[Record]]:
    defaults: dict[str, Any] = {
        "seed": 7,
        "users": 2000,
        "duration_seconds": 300,
        "rate": 20,
        "late_rate": 0.0,
        "duplicate_rate": 0.0,
        "malformed_rate": 0.0,
    }
    clock, sink = FakeClock(step_ms), ListSink()
    stream = LiveStream(LiveParameters(**{**defaults, **overrides}), clock_ms=clock, sleep=clock.sleep)
    stream.run(sink)
    return stream, [Record(*parts) for parts in sink.records]


def test_live_events_happen_now_at_the_asked_rate() -> None:
    _, records = play()
    assert len(records) == 6000
    assert all(time_ms(record.event) == record.timestamp_ms for record in records)
    per_minute = Counter((record.timestamp_ms - NOON_MS) // 60_000 for record in records)
    assert all(1190 <= per_minute[minute] <= 1210 for minute in range(5))
    assert len({record.event["event_id"] for record in records}) == 6000


def test_live_sessions_take_their_time_and_stay_apart() -> None:
    _, records = play(step_ms=1000, duration_seconds=8000, rate=0.4, users=300)
    sessions = sessions_of([record.event for record in records])
    assert any(len(session) > 5 for session in sessions.values())
    last: dict[str, int] = {}
    for session in sorted(sessions.values(), key=lambda events: time_ms(events[0])):
        times = [time_ms(event) for event in session]
        assert all(0 < later - earlier < SESSION_GAP_MS for earlier, later in pairwise(times))
        assert times[0] - last.get(session[0]["user_id"], 0) > SESSION_GAP_MS
        last[session[0]["user_id"]] = times[-1]
    assert len(sessions) > 1.2 * len(last), "some users came back"


def test_live_truth_matches_what_was_published() -> None:
    stream, records = play(late_rate=0.05, duplicate_rate=0.05, malformed_rate=0.05)
    assert sum(stream.truth.by_event_date.values()) == sum(stream.truth.by_kind.values()) == len(records)
    assert stream.truth.by_kind["clean"] + stream.truth.by_kind["late"] == 6000
    injected = stream.injected_table().to_pylist()
    kinds = Counter(row["kind"] for row in injected)
    assert all(100 < kinds[kind] < 600 for kind in ("late", "duplicate", "malformed"))
    assert kinds == {kind: count for kind, count in stream.truth.by_kind.items() if kind != "clean"}
    assert sum(stream.sessions_table()["event_count"].to_pylist()) == 6000
    published = Counter(record.value for record in records)
    repeated = [value for value, count in published.items() if count == 2 and b'"event_id"' in value]
    assert len(repeated) >= kinds["duplicate"]


def test_late_live_events_are_a_day_old() -> None:
    stream, records = play(late_rate=1.0, duration_seconds=5)
    assert all(record.timestamp_ms - time_ms(record.event) == MS_PER_DAY for record in records)
    assert set(stream.truth.by_event_date) == {"2025-03-31"}


def test_a_stopped_stream_ends_at_once() -> None:
    clock, sink = FakeClock(100), ListSink()
    stream = LiveStream(LiveParameters(7, 100, 1e6, 10, 0, 0, 0), clock_ms=clock, sleep=lambda _: stream.stop())
    stream.run(sink)
    assert len(sink.records) == 1


def test_a_live_stream_with_very_few_users_still_keeps_its_rate() -> None:
    _, records = play(users=5, duration_seconds=60)
    assert len(records) == 1200
