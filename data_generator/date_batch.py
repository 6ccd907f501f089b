"""Everything that is published for one date: on-time sessions, late sessions, duplicates and malformed records.

- `events` unique events: whole sessions that begin on the date, plus late ones. The last session drawn is cut so that
  the number is exact; the truth says where it ends.
- Late events are whole offline sessions of the day before, whose device reconnects on the date.
- A duplicate is the same bytes once more, later. A malformed record is an event of its own, broken.
- records = events + duplicates + malformed, published in the order of their arrival.
- Some sessions run over midnight: only users who `stay up` that night have them, and those begin no new session before
  `LIE_IN_HOURS` of the next date. The others are quiet around midnight. So sessions of a user stay more than the
  session gap apart over the dates too, although each date is drawn on its own; late sessions may touch others.
- The Kafka timestamp is the time of arrival, always on the date.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa  # type: ignore[import-untyped]

from data_generator.catalogue import Catalogue, FloatArray, IntArray, load_catalogue
from data_generator.event_encoding import (
    MS_PER_DAY,
    REFERRER_WEIGHTS,
    EventEncoder,
    SessionColumns,
    Uuids,
    draw_uuids,
    format_uuids,
)
from data_generator.kafka_sink import Records
from data_generator.malformed_events import MALFORMED_KINDS, break_payload
from data_generator.population import PersonaMove, Population, draw_from, draw_population, move_users
from data_generator.random_streams import random_stream
from data_generator.session_simulation import EventColumns, simulate_sessions

CHUNK_RECORDS = 100_000
MS_PER_HOUR = 3_600_000

MOST_SESSIONS_PER_USER = 14  # expected, on one date
EVENTS_PER_USER = 50  # where the configured users are too few for so many events, this many share one user
SESSION_GAP_MS = 30 * 60_000
SHORTEST_GAP_MS = SESSION_GAP_MS + 60_000
MEAN_EXTRA_GAP_MS = 15 * 60_000

STAY_UP_RATE = 0.6
LATEST_END_HOURS = 1.25  # after midnight
LIE_IN_HOURS = 2.0
QUIET_MIDNIGHT_HOURS = 16 / 60  # on both sides, for those who do not stay up
MEAN_EXTRA_LIE_IN_HOURS = 0.4
SECOND_DEVICE_RATE = 0.15

LONGEST_LATE_SESSION = 12  # events
LATE_EVENT_SPACING_MS = 20
LONGEST_RECONNECT_HOURS = 23.5
MEDIAN_DUPLICATE_DELAY_MS = 20_000
DUPLICATE_DELAY_SPREAD = 1.6

PILOT_SESSIONS = 4000
SPARE_SESSIONS = 1.06
MOST_ATTEMPTS = 6

CLEAN, LATE, DUPLICATE, MALFORMED = range(4)
KINDS = ("clean", "late", "duplicate", "malformed")


class BatchError(Exception):
    """The parameters ask for what cannot be generated."""


@dataclass(frozen=True)
class BatchParameters:
    """`events` counts the unique events of the date, late ones included; rates are shares of it.

    Late events are those of the day before, but of users as they are on the date.
    """

    date: date
    seed: int
    events: int
    users: int
    late_rate: float
    duplicate_rate: float
    malformed_rate: float
    persona_move: PersonaMove | None = None

    @property
    def late_events(self) -> int:
        return round(self.events * self.late_rate)

    @property
    def duplicates(self) -> int:
        return round(self.events * self.duplicate_rate)

    @property
    def malformed(self) -> int:
        return round(self.events * self.malformed_rate)

    @property
    def records(self) -> int:
        return self.events + self.duplicates + self.malformed

    @property
    def start_ms(self) -> int:
        """Midnight that begins the date, UTC."""
        return int(datetime(self.date.year, self.date.month, self.date.day, tzinfo=UTC).timestamp()) * 1000

    @property
    def end_ms(self) -> int:
        """Midnight that ends the date, UTC; exclusive."""
        return self.start_ms + MS_PER_DAY

    def fingerprint(self) -> tuple[int, ...]:
        """Everything but seed and date, as words for a random stream.

        It names the ids' stream: another batch for the same date has other event ids, never the same id with
        other content.
        """
        rates = (self.late_rate, self.duplicate_rate, self.malformed_rate)
        move = zlib.crc32(str(self.persona_move).encode()) if self.persona_move else None
        words = (self.events, self.users, *(round(rate * 1_000_000_000) for rate in rates))
        return words if move is None else (*words, move)


@dataclass(frozen=True)
class RecordPlan:
    """One entry per Kafka record, ordered by arrival.

    `row` is the event it is made of, `id_row` its event id, `kind` an index into KINDS, `malformed_kind` one into
    MALFORMED_KINDS (-1: not malformed), `arrival_ms` may lie after the date for sessions that run over midnight.
    """

    row: IntArray
    id_row: IntArray
    kind: npt.NDArray[np.int8]
    malformed_kind: npt.NDArray[np.int8]
    arrival_ms: npt.NDArray[np.int64]


@dataclass(frozen=True)
class DateBatch:
    """All that is published for one date, as columns; `records` encodes them chunk by chunk."""

    parameters: BatchParameters
    population: Population
    catalogue: Catalogue
    events: EventColumns
    is_late: npt.NDArray[np.bool_]
    sessions: SessionColumns
    event_ids: Uuids
    plan: RecordPlan

    def records(self, chunk_records: int = CHUNK_RECORDS) -> Iterator[Records]:
        """Kafka records in the order of arrival; memory is bounded by `chunk_records`."""
        encoder = EventEncoder(self.population, self.catalogue)
        last_ms = self.parameters.end_ms - 1
        for start in range(0, len(self.plan.row), chunk_records):
            chunk = slice(start, start + chunk_records)
            events = self.events.take(self.plan.row[chunk])
            values = encoder.encode(events, self.event_ids[self.plan.id_row[chunk]], self.sessions)
            for position in np.flatnonzero(self.plan.malformed_kind[chunk] >= 0).tolist():
                kind = MALFORMED_KINDS[self.plan.malformed_kind[start + position]]
                values[position] = break_payload(values[position], kind, variant=start + position)
            yield Records(
                keys=encoder.keys[self.sessions.user[events.session]].tolist(),
                values=values,
                timestamps_ms=np.minimum(self.plan.arrival_ms[chunk], last_ms).tolist(),
            )

    def count_by_kind(self) -> dict[str, int]:
        """Records of each kind; together all that is published."""
        counts = np.bincount(self.plan.kind, minlength=len(KINDS)).tolist()
        return dict(zip(KINDS, counts, strict=True))

    def count_by_event_date(self) -> dict[str, int]:
        """Records by the date under which landing files them; a malformed record was always made on the date itself."""
        days = self.events.time_ms[self.plan.row] // MS_PER_DAY
        numbers, counts = np.unique(days, return_counts=True)
        return {
            np.datetime64(int(day), "D").item().isoformat(): int(count)
            for day, count in zip(numbers, counts, strict=True)
        }

    def users_table(self) -> pa.Table:
        """Truth: one row per user of the population."""
        return pa.table({"user_id": self.population.user_ids(), "persona": self.population.persona_names()})

    def sessions_table(self) -> pa.Table:
        """Truth: one row per session, as if every event had arrived once."""
        size = len(self.sessions.user)
        count = np.bincount(self.events.session, minlength=size)
        first = np.full(size, np.iinfo(np.int64).max)
        last = np.full(size, np.iinfo(np.int64).min)
        np.minimum.at(first, self.events.session, self.events.time_ms)
        np.maximum.at(last, self.events.session, self.events.time_ms)
        is_late = np.zeros(size, dtype=np.bool_)
        is_late[self.events.session] = self.is_late
        user_ids = pa.array(self.population.user_ids())
        return pa.table(
            {
                "user_id": user_ids.take(pa.array(self.sessions.user)),
                "session_id": _uuid_strings(self.sessions.session_id),
                "first_event_time": _timestamps(first),
                "last_event_time": _timestamps(last),
                "event_count": pa.array(count, pa.int32()),
                "is_late": pa.array(is_late),
            }
        )

    def injected_table(self) -> pa.Table:
        """Truth: one row per record that is late, a duplicate or malformed.

        `event_id` is what the record carries, or would carry were it not broken.
        """
        rows = np.flatnonzero(self.plan.kind != CLEAN)
        kinds, malformed_kinds = self.plan.kind[rows].tolist(), self.plan.malformed_kind[rows].tolist()
        event = self.plan.row[rows]
        user_ids = pa.array(self.population.user_ids())
        return pa.table(
            {
                "event_id": _uuid_strings(self.event_ids[self.plan.id_row[rows]]),
                "kind": pa.array([KINDS[kind] for kind in kinds], pa.string()),
                "malformed_kind": pa.array(
                    [MALFORMED_KINDS[kind] if kind >= 0 else None for kind in malformed_kinds], pa.string()
                ),
                "user_id": user_ids.take(pa.array(self.sessions.user[self.events.session[event]])),
                "event_time": _timestamps(self.events.time_ms[event]),
                "published_at": _timestamps(np.minimum(self.plan.arrival_ms[rows], self.parameters.end_ms - 1)),
            }
        )


def users_for(events: int, configured_users: int) -> int:
    """The configured users, or more where a date has too many events for them."""
    return max(configured_users, -(-events // EVENTS_PER_USER))


def generate_date_batch(parameters: BatchParameters) -> DateBatch:
    """Draw the whole date. The result is a function of the parameters alone.

    Raises:
        BatchError: so few users cannot have so many events, or so many cannot move.
    """
    day = (parameters.seed, parameters.date.toordinal())
    catalogue = load_catalogue(parameters.seed)
    population = draw_population(parameters.seed, parameters.users, catalogue)
    if parameters.persona_move and parameters.persona_move.since <= parameters.date:
        try:
            population = move_users(population, parameters.persona_move, parameters.seed)
        except ValueError as error:
            raise BatchError(str(error)) from error
    on_time, on_time_user = _draw_on_time_events(parameters, population, catalogue)
    late, late_user = _draw_late_events(parameters, population, catalogue)

    late = EventColumns(**{**vars(late), "session": late.session + np.int32(len(on_time_user))})
    events = EventColumns.concatenate([on_time, late])
    user = np.concatenate([on_time_user, late_user])
    is_late = np.arange(len(events)) >= len(on_time)
    sessions = draw_session_columns(
        random_stream(parameters.seed, "sessions", day[1], *parameters.fingerprint()), population, user
    )
    ids = random_stream(parameters.seed, "event-ids", day[1], *parameters.fingerprint())
    return DateBatch(
        parameters=parameters,
        population=population,
        catalogue=catalogue,
        events=events,
        is_late=is_late,
        sessions=sessions,
        event_ids=draw_uuids(ids, len(events) + parameters.malformed),
        plan=_plan_records(parameters, events, is_late),
    )


def draw_session_columns(rng: np.random.Generator, population: Population, user: IntArray) -> SessionColumns:
    """Session id, device and referrer of one session per entry of `user`."""
    second = (rng.random(len(user)) < SECOND_DEVICE_RATE).astype(np.int64)
    return SessionColumns(
        user=user,
        session_id=draw_uuids(rng, len(user)),
        device=population.devices[user, second].astype(np.int64),
        referrer=draw_from(rng, REFERRER_WEIGHTS, len(user)),
    )


def _draw_on_time_events(
    parameters: BatchParameters, population: Population, catalogue: Catalogue
) -> tuple[EventColumns, IntArray]:
    """Sessions that begin on the date: their events, and the user of each session."""
    wanted = parameters.events - parameters.late_events
    weights = population.sessions_per_day(parameters.date.weekday())
    events_per_session = _mean_events_per_session(parameters, population, catalogue, weights)
    sessions = int(wanted / events_per_session * SPARE_SESSIONS) + 20
    for attempt in range(MOST_ATTEMPTS):
        expected = _spread_over_users(sessions, weights)
        if expected is None:
            break
        rng = random_stream(parameters.seed, "on-time", parameters.date.toordinal(), attempt)
        user = draw_from(rng, expected, sessions)
        start_ms = parameters.start_ms + (population.draw_hours(rng, user) * MS_PER_HOUR).astype(np.int64)
        events = simulate_sessions(rng, population, catalogue, user, start_ms)
        shift_ms, fits = _keep_apart(parameters, rng, user, start_ms, _end_ms(events, sessions), len(population))
        events = EventColumns(**{**vars(events), "time_ms": events.time_ms + shift_ms[events.session]})
        events = events.take(fits[events.session])
        if len(events) >= wanted:
            return _cut_to(events, user, wanted)
        sessions = int(sessions * max(1.1, wanted / max(len(events), 1) * SPARE_SESSIONS))
    raise BatchError(
        f"{parameters.users} users cannot have {parameters.events} events on one date "
        f"(sessions must not overlap); take at least {-(-parameters.events // EVENTS_PER_USER)} users"
    )


def _draw_late_events(
    parameters: BatchParameters, population: Population, catalogue: Catalogue
) -> tuple[EventColumns, IntArray]:
    """Short sessions of the day before, at most one per user: their events, and the user of each session."""
    wanted = parameters.late_events
    weights = population.sessions_per_day((parameters.date - timedelta(days=1)).weekday())
    sessions = wanted + 20
    for attempt in range(MOST_ATTEMPTS):
        rng = random_stream(parameters.seed, "late", parameters.date.toordinal(), attempt)
        _, first = np.unique(drawn := draw_from(rng, weights, sessions), return_index=True)
        user = drawn[np.sort(first)]
        hours = population.draw_hours(rng, user)
        start_ms = parameters.start_ms - MS_PER_DAY + (hours * MS_PER_HOUR).astype(np.int64)
        events = simulate_sessions(rng, population, catalogue, user, start_ms)
        length = np.bincount(events.session, minlength=len(user))
        fits = (_end_ms(events, len(user)) < parameters.start_ms) & (length <= LONGEST_LATE_SESSION)
        events = events.take(fits[events.session])
        if len(events) >= wanted:
            return _cut_to(events, user, wanted)
        sessions *= 4
    raise BatchError(f"{parameters.users} users are too few for {wanted} late events; take more, or a lower late rate")


def _mean_events_per_session(
    parameters: BatchParameters, population: Population, catalogue: Catalogue, weights: FloatArray
) -> float:
    rng = random_stream(parameters.seed, "pilot")
    user = draw_from(rng, weights, PILOT_SESSIONS)
    events = simulate_sessions(rng, population, catalogue, user, np.zeros(PILOT_SESSIONS, dtype=np.int64))
    return len(events) / PILOT_SESSIONS


def _spread_over_users(sessions: int, weights: FloatArray) -> FloatArray | None:
    """Expected sessions of each user, in proportion to `weights` up to the most that fit into a date."""
    if sessions > 0.9 * MOST_SESSIONS_PER_USER * len(weights) and sessions > 100:
        return None
    expected: FloatArray = weights * (sessions / weights.sum())
    for _ in range(20):
        expected = np.minimum(expected, MOST_SESSIONS_PER_USER)
        free = expected < MOST_SESSIONS_PER_USER
        missing = sessions - expected.sum()
        if missing < 1 or not free.any():
            break
        expected[free] *= 1 + missing / expected[free].sum()
    return expected


def _keep_apart(
    parameters: BatchParameters,
    rng: np.random.Generator,
    user: IntArray,
    start_ms: IntArray,
    end_ms: IntArray,
    users: int,
) -> tuple[IntArray, npt.NDArray[np.bool_]]:
    """Move a user's sessions later until more than the session gap lies between them.

    Returns the shift of each session in milliseconds, and whether the session still fits into the date.
    """
    night_before = _stay_up(parameters.seed, parameters.date - timedelta(days=1), users)
    night_after = _stay_up(parameters.seed, parameters.date, users)
    lie_in_hours = np.where(night_before, LIE_IN_HOURS, QUIET_MIDNIGHT_HOURS)
    lie_in_hours += rng.exponential(MEAN_EXTRA_LIE_IN_HOURS, users)
    free_from = parameters.start_ms + (lie_in_hours * MS_PER_HOUR).astype(np.int64)
    latest_end_hours = np.where(night_after, LATEST_END_HOURS, -QUIET_MIDNIGHT_HOURS)
    ends_before = parameters.end_ms + (latest_end_hours * MS_PER_HOUR).astype(np.int64)

    gap = SHORTEST_GAP_MS + rng.exponential(MEAN_EXTRA_GAP_MS, len(user)).astype(np.int64)
    order = np.lexsort((start_ms, user))
    grouped = user[order]
    begins = np.flatnonzero(np.concatenate(([True], grouped[1:] != grouped[:-1])))
    sizes = np.diff(np.append(begins, len(order)))
    shift_ms = np.zeros(len(user), dtype=np.int64)
    fits = np.zeros(len(user), dtype=np.bool_)
    for rank in range(int(sizes.max())):
        session = order[begins[sizes > rank] + rank]
        who = user[session]
        start = np.maximum(start_ms[session], free_from[who])
        shift_ms[session] = start - start_ms[session]
        end = end_ms[session] + shift_ms[session]
        kept = (start < parameters.end_ms) & (end < ends_before[who])
        fits[session] = kept
        free_from[who[kept]] = end[kept] + gap[session[kept]]
    return shift_ms, fits


def _stay_up(seed: int, night_after: date, users: int) -> npt.NDArray[np.bool_]:
    """Who may be in a session at the midnight that ends a date."""
    return random_stream(seed, "stay-up", night_after.toordinal()).random(users) < STAY_UP_RATE


def _end_ms(events: EventColumns, sessions: int) -> IntArray:
    """Time of the last event of each session; the columns are ordered by position in the session."""
    end = np.zeros(sessions, dtype=np.int64)
    end[events.session] = events.time_ms
    return end


def _cut_to(events: EventColumns, user: IntArray, wanted: int) -> tuple[EventColumns, IntArray]:
    """Whole sessions until `wanted` events are reached, the last one cut; sessions are renumbered."""
    length = np.bincount(events.session, minlength=len(user))
    before = np.cumsum(length) - length
    allowed = np.clip(wanted - before, 0, length)
    events = events.take(events.position < allowed[events.session])
    kept = allowed > 0
    number = (np.cumsum(kept) - 1).astype(np.int32)
    return EventColumns(**{**vars(events), "session": number[events.session]}), user[kept]


def _plan_records(parameters: BatchParameters, events: EventColumns, is_late: npt.NDArray[np.bool_]) -> RecordPlan:
    rng = random_stream(parameters.seed, "faults", parameters.date.toordinal())
    size = len(events)
    row = np.arange(size)
    arrival = events.time_ms.copy()
    late_session, position = events.session[is_late], events.position[is_late]
    if len(late_session):
        reconnect = rng.uniform(0, LONGEST_RECONNECT_HOURS * MS_PER_HOUR, int(late_session.max()) + 1)
        arrival[is_late] = (
            parameters.start_ms + reconnect[late_session].astype(np.int64) + position * LATE_EVENT_SPACING_MS
        )

    repeated = rng.choice(size, parameters.duplicates, replace=False)
    delay = MEDIAN_DUPLICATE_DELAY_MS * np.exp(DUPLICATE_DELAY_SPREAD * rng.standard_normal(len(repeated)))
    # Sorting is stable and duplicates stand behind the originals, so one that is cut to the date's end still follows.
    last_ms = np.maximum(arrival[repeated], parameters.end_ms - 1)
    repeated_arrival = np.minimum(arrival[repeated] + 1 + delay.astype(np.int64), last_ms)

    # Broken copies of events of the date itself: where the event_time is lost, the Kafka timestamp has the same date.
    on_date = np.flatnonzero(~is_late & (events.time_ms < parameters.end_ms))
    if parameters.malformed and not len(on_date):
        raise BatchError("every event is late, so there is none to make malformed records of; lower the late rate")
    broken = on_date[rng.integers(0, max(len(on_date), 1), parameters.malformed)]
    malformed_kind = rng.permutation(np.arange(parameters.malformed) % len(MALFORMED_KINDS))

    kind = np.concatenate(
        [np.where(is_late, LATE, CLEAN), np.full(len(repeated), DUPLICATE), np.full(len(broken), MALFORMED)]
    )
    all_arrival = np.concatenate([arrival, repeated_arrival, arrival[broken]])
    order = np.argsort(all_arrival, kind="stable")
    no_fault = np.full(size + len(repeated), -1)
    return RecordPlan(
        row=np.concatenate([row, repeated, broken])[order],
        id_row=np.concatenate([row, repeated, size + np.arange(len(broken))])[order],
        kind=kind.astype(np.int8)[order],
        malformed_kind=np.concatenate([no_fault, malformed_kind]).astype(np.int8)[order],
        arrival_ms=all_arrival[order],
    )


def _uuid_strings(uuids: Uuids) -> pa.Array:
    text = format_uuids(uuids)
    offsets = np.arange(0, (len(text) + 1) * 36, 36, dtype=np.int32)
    return pa.Array.from_buffers(
        pa.string(), len(text), [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(text))]
    )


def _timestamps(time_ms: npt.NDArray[np.int64]) -> pa.Array:
    return pa.array(time_ms, pa.timestamp("ms", tz="UTC"))
