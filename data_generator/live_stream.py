"""Events as they happen: `rate` events a second, event_time = now, from sessions that take their natural time.

Every slot of the stream takes the event that has been due longest; when none is due, a new session begins. Late events
are sessions of a day ago, duplicates follow within seconds, malformed records at once.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]

from data_generator.catalogue import FloatArray, IntArray, load_catalogue
from data_generator.date_batch import (
    CLEAN,
    DUPLICATE,
    KINDS,
    LATE,
    MALFORMED,
    SHORTEST_GAP_MS,
    draw_session_columns,
)
from data_generator.event_encoding import MS_PER_DAY, EventEncoder, SessionColumns, draw_uuids, format_uuids
from data_generator.kafka_sink import Records, Sink
from data_generator.malformed_events import MALFORMED_KINDS, break_payload
from data_generator.population import HOURS, draw_from, draw_population
from data_generator.random_streams import random_stream
from data_generator.session_simulation import EventColumns, simulate_sessions

SESSIONS_PER_BLOCK = 2000
DUPLICATE_DELAY_MS = 3000
TRIES_FOR_A_RESTED_USER = 50
TICK_SECONDS = 0.05
MOST_EVENTS_PER_TICK = 20_000


@dataclass(frozen=True)
class LiveParameters:
    """`rate` unique events a second for `duration_seconds`; late, duplicate and malformed rates are shares of them."""

    seed: int
    users: int
    duration_seconds: float
    rate: float
    late_rate: float
    duplicate_rate: float
    malformed_rate: float


@dataclass
class SessionTruth:
    """One session so far; times in milliseconds since 1970 UTC."""

    user_id: str
    session_id: str
    first_ms: int
    last_ms: int
    event_count: int
    is_late: bool


@dataclass
class InjectedTruth:
    """One late, duplicate or malformed record."""

    event_id: str
    kind: str
    malformed_kind: str | None
    user_id: str
    event_ms: int
    published_ms: int


@dataclass
class LiveTruth:
    """What was published so far."""

    by_event_date: Counter[str] = field(default_factory=Counter)
    by_kind: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(KINDS, 0)))
    sessions: dict[str, SessionTruth] = field(default_factory=dict)
    injected: list[InjectedTruth] = field(default_factory=list)

    def count(self, kind: int, event_ms: int) -> None:
        """Count one record under the date of its event."""
        self.by_kind[KINDS[kind]] += 1
        self.by_event_date[_utc(event_ms).date().isoformat()] += 1


@dataclass(frozen=True)
class _Block:
    """Sessions simulated together and waiting to be played; `rows[s]` are the first and the end row of session s."""

    events: EventColumns
    sessions: SessionColumns
    session_ids: list[str]
    is_late: list[bool]
    first_row: list[int]
    end_row: list[int]
    time_ms: list[int]


@dataclass(frozen=True, order=True)
class _Due:
    """The next event of a running session."""

    at_ms: int
    sequence: int
    block: _Block = field(compare=False)
    session: int = field(compare=False)
    row: int = field(compare=False)


class LiveStream:
    """Plays sessions against a clock; `clock_ms` and `sleep` (seconds) are injected."""

    def __init__(self, parameters: LiveParameters, clock_ms: Callable[[], int], sleep: Callable[[float], None]) -> None:
        self.truth = LiveTruth()
        self.started_ms = clock_ms()
        self._parameters = parameters
        self._clock_ms = clock_ms
        self._sleep = sleep
        self._rng = random_stream(parameters.seed, "live", self.started_ms)
        self._catalogue = load_catalogue(parameters.seed)
        self._population = draw_population(parameters.seed, parameters.users, self._catalogue)
        self._user_ids = self._population.user_ids()
        self._encoder = EventEncoder(self._population, self._catalogue)
        # When each user may begin a session again; far in the future while one is running.
        self._rested_ms = np.zeros(parameters.users, dtype=np.int64)
        self._running: list[_Due] = []
        self._waiting: deque[tuple[_Block, int]] = deque()
        self._duplicates: deque[tuple[int, bytes, bytes, InjectedTruth]] = deque()
        self._sequence = 0
        self._is_stopped = False

    def stop(self) -> None:
        """Let `run` return after the events of this moment."""
        self._is_stopped = True

    def run(self, sink: Sink) -> None:
        """Publish until the duration is over or `stop` was called; duplicates that wait go out at the end."""
        total = round(self._parameters.rate * self._parameters.duration_seconds)
        published = 0
        while published < total and not self._is_stopped:
            now_ms = self._clock_ms()
            due = min(total, int((now_ms - self.started_ms) / 1000 * self._parameters.rate) + 1) - published
            due = min(due, MOST_EVENTS_PER_TICK)
            if due > 0:
                sink.publish(self._next_records(due, now_ms))
                published += due
            if due < MOST_EVENTS_PER_TICK:
                self._sleep(TICK_SECONDS)
        if self._duplicates:
            sink.publish(self._repeat(self._clock_ms(), everything=True))

    def users_table(self) -> pa.Table:
        """Truth: one row per user of the population."""
        return pa.table({"user_id": self._user_ids, "persona": self._population.persona_names()})

    def sessions_table(self) -> pa.Table:
        """Truth: one row per session, as far as it was published."""
        sessions = self.truth.sessions.values()
        return pa.table(
            {
                "user_id": pa.array([s.user_id for s in sessions], pa.string()),
                "session_id": pa.array([s.session_id for s in sessions], pa.string()),
                "first_event_time": pa.array([s.first_ms for s in sessions], pa.timestamp("ms", tz="UTC")),
                "last_event_time": pa.array([s.last_ms for s in sessions], pa.timestamp("ms", tz="UTC")),
                "event_count": pa.array([s.event_count for s in sessions], pa.int32()),
                "is_late": pa.array([s.is_late for s in sessions], pa.bool_()),
            }
        )

    def injected_table(self) -> pa.Table:
        """Truth: one row per record that is late, a duplicate or malformed."""
        injected = self.truth.injected
        return pa.table(
            {
                "event_id": pa.array([i.event_id for i in injected], pa.string()),
                "kind": pa.array([i.kind for i in injected], pa.string()),
                "malformed_kind": pa.array([i.malformed_kind for i in injected], pa.string()),
                "user_id": pa.array([i.user_id for i in injected], pa.string()),
                "event_time": pa.array([i.event_ms for i in injected], pa.timestamp("ms", tz="UTC")),
                "published_at": pa.array([i.published_ms for i in injected], pa.timestamp("ms", tz="UTC")),
            }
        )

    def _next_records(self, size: int, now_ms: int) -> Records:
        chosen: dict[int, list[_Due]] = defaultdict(list)
        for _ in range(size):
            event = self._next_event(now_ms)
            chosen[id(event.block)].append(event)
        records = self._repeat(now_ms)
        for events in chosen.values():
            self._encode(events, now_ms, records)
        return records

    def _next_event(self, now_ms: int) -> _Due:
        if self._running and self._running[0].at_ms <= now_ms:
            event = heapq.heappop(self._running)
        else:
            event = self._begin_session(now_ms)
        user = int(event.block.sessions.user[event.session])
        following = event.row + 1
        if following < event.block.end_row[event.session]:
            pause_ms = event.block.time_ms[following] - event.block.time_ms[event.row]
            self._push(event.block, event.session, following, now_ms + pause_ms)
            self._rested_ms[user] = np.iinfo(np.int64).max
        else:
            self._rested_ms[user] = now_ms + SHORTEST_GAP_MS
        return event

    def _begin_session(self, now_ms: int) -> _Due:
        for _ in range(TRIES_FOR_A_RESTED_USER):
            if not self._waiting:
                self._simulate_block(now_ms)
            block, session = self._waiting.popleft()
            if self._rested_ms[block.sessions.user[session]] <= now_ms:
                return _Due(now_ms, 0, block, session, block.first_row[session])
        if self._running:
            return heapq.heappop(self._running)  # nobody is rested: a running session goes on early
        return _Due(now_ms, 0, block, session, block.first_row[session])

    def _push(self, block: _Block, session: int, row: int, at_ms: int) -> None:
        self._sequence += 1
        heapq.heappush(self._running, _Due(at_ms, self._sequence, block, session, row))

    def _simulate_block(self, now_ms: int) -> None:
        now = _utc(now_ms)
        user = draw_from(self._rng, self._weights_at(now), SESSIONS_PER_BLOCK)
        start_ms: IntArray = np.zeros(len(user), dtype=np.int64)
        events = simulate_sessions(self._rng, self._population, self._catalogue, user, start_ms)
        events = events.take(np.lexsort((events.position, events.session)))
        sessions = draw_session_columns(self._rng, self._population, user)
        edges = np.searchsorted(events.session, np.arange(len(user) + 1)).tolist()
        ids = format_uuids(sessions.session_id)
        block = _Block(
            events=events,
            sessions=sessions,
            session_ids=[row.tobytes().decode() for row in ids],
            is_late=(self._rng.random(len(user)) < self._parameters.late_rate).tolist(),
            first_row=edges[:-1],
            end_row=edges[1:],
            time_ms=events.time_ms.tolist(),
        )
        self._waiting.extend((block, session) for session in range(len(user)))

    def _weights_at(self, now: datetime) -> FloatArray:
        hours = np.array([persona.hours / persona.hours.sum() for persona in self._population.personas])
        local_hour = np.floor(now.hour - self._population.hour_shift).astype(np.int64) % HOURS
        weights: FloatArray = self._population.sessions_per_day(now.weekday())
        weights *= hours[self._population.persona, local_hour]
        return weights

    def _encode(self, chosen: list[_Due], now_ms: int, records: Records) -> None:
        """Append the records of events of one block, broken copies included."""
        block = chosen[0].block
        size = len(chosen)
        is_late = [block.is_late[event.session] for event in chosen]
        broken = [
            i
            for i, draw in enumerate(self._rng.random(size).tolist())
            if draw < self._parameters.malformed_rate and not is_late[i]
        ]
        rows = np.array([event.row for event in chosen] + [chosen[i].row for i in broken], dtype=np.int64)
        time_ms = [now_ms - MS_PER_DAY if late else now_ms for late in is_late] + [now_ms] * len(broken)
        events = replace(block.events.take(rows), time_ms=np.array(time_ms, dtype=np.int64))
        uuids = draw_uuids(self._rng, len(rows))
        values = self._encoder.encode(events, uuids, block.sessions)
        users = block.sessions.user[events.session].tolist()
        event_ids = [row.tobytes().decode() for row in format_uuids(uuids)]
        repeated = (self._rng.random(size) < self._parameters.duplicate_rate).tolist()

        for i, value in enumerate(values):
            user_id, key = self._user_ids[users[i]], self._encoder.keys[users[i]]
            injected = InjectedTruth(event_ids[i], KINDS[LATE], None, user_id, time_ms[i], now_ms)
            if i >= size:
                variant = len(self.truth.injected)
                name = MALFORMED_KINDS[variant % len(MALFORMED_KINDS)]
                value = break_payload(value, name, variant)
                self.truth.injected.append(replace(injected, kind=KINDS[MALFORMED], malformed_kind=name))
                self.truth.count(MALFORMED, now_ms)
            else:
                self._note_session(block, chosen[i].session, user_id, time_ms[i])
                self.truth.count(LATE if is_late[i] else CLEAN, time_ms[i])
                if is_late[i]:
                    self.truth.injected.append(injected)
                if repeated[i]:
                    again = replace(injected, kind=KINDS[DUPLICATE])
                    self._duplicates.append((now_ms + DUPLICATE_DELAY_MS, key, value, again))
            records.keys.append(key)
            records.values.append(value)
            records.timestamps_ms.append(now_ms)

    def _note_session(self, block: _Block, session: int, user_id: str, event_ms: int) -> None:
        session_id = block.session_ids[session]
        known = self.truth.sessions.get(session_id)
        if known is None:
            self.truth.sessions[session_id] = SessionTruth(
                user_id, session_id, event_ms, event_ms, 1, block.is_late[session]
            )
        else:
            known.last_ms = event_ms
            known.event_count += 1

    def _repeat(self, now_ms: int, everything: bool = False) -> Records:
        """The duplicates that are due."""
        records = Records([], [], [])
        while self._duplicates and (everything or self._duplicates[0][0] <= now_ms):
            _, key, value, injected = self._duplicates.popleft()
            self.truth.injected.append(replace(injected, published_ms=now_ms))
            self.truth.count(DUPLICATE, injected.event_ms)
            records.keys.append(key)
            records.values.append(value)
            records.timestamps_ms.append(now_ms)
        return records


def _utc(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, tz=UTC)
