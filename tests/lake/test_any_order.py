"""Whatever the order in which records land and dates run, the tables are the same, and they are right.

`make soak` lets Hypothesis draw events around midnights and idle gaps, copies of them on other dates, the order of
delivery and the order of the runs; `make test` has one history by hand that holds all of that. What is right says an
oracle in plain Python, one user after the other.
"""

from __future__ import annotations

import json
import os
import random
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from spark_jobs.lake.draft import Draft
from spark_jobs.lake.lakehouse import Lakehouse
from spark_jobs.lake.notes import REBUILT_SNAPSHOTS
from spark_jobs.lake.tables import EVENTS, SESSIONS, USER_DAILY_ACTIVITY, USER_FEATURES, Table
from spark_jobs.transform_clickstream import transform
from tests.lake.meanwhile import meanwhile
from tests.lake.small_frames import fill_raw_events, open_lake, read_everything

DATES = [date(2025, 4, day) for day in (1, 2, 3, 4)]
START = datetime(2025, 4, 1, tzinfo=UTC)
GAP = timedelta(minutes=30)
LATENESS_DAYS = 3
EXAMPLES = int(os.environ.get("ANY_ORDER_EXAMPLES", "0"))


@dataclass(frozen=True)
class Record:
    """A Kafka record with an event; two with the same `event` number are copies."""

    event: int
    user: int
    minutes: int
    partition: int
    batch: int

    @property
    def time(self) -> datetime:
        return START + timedelta(minutes=self.minutes)

    @property
    def event_id(self) -> str:
        return str(UUID(int=self.event))

    @property
    def payload(self) -> bytes:
        time = self.time.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        event = {"event_id": self.event_id, "event_time": time, "event_type": "view", "user_id": f"u{self.user}"}
        return json.dumps(event).encode()


@dataclass(frozen=True)
class Placed:
    """A record at its place in Kafka."""

    record: Record
    offset: int


# Around the three midnights, where sessions cross, and at idle gaps of just the length that ends a session.
minutes_of_events = st.one_of(
    st.sampled_from(
        [1440 * day + minute for day in (1, 2, 3) for minute in (-31, -30, -15, -1, 0, 14, 15, 29, 30, 45)]
    ),
    st.integers(0, 4 * 1440 - 1),
)
records = st.builds(
    Record,
    event=st.integers(1, 40),
    user=st.integers(1, 4),
    minutes=minutes_of_events,
    partition=st.integers(0, 2),
    batch=st.integers(0, 3),
)


# The dates of a run, and that of another one that lands and runs in the middle of it.
Run = tuple[tuple[date, ...], date | None]


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Record], list[Run]]:
    """Records, and the runs in their order: every date at least once, some together with others, some in the middle of
    another run."""
    landed = draw(st.lists(records, min_size=30, max_size=60))
    together = draw(st.lists(st.lists(st.sampled_from(DATES), min_size=1, max_size=4, unique=True), max_size=2))
    runs = draw(st.permutations([*([day] for day in DATES), *together]))
    return landed, [(tuple(sorted(days)), draw(st.none() | st.sampled_from(DATES))) for days in runs]


def backwards_and_in_the_middle_of_each_other() -> tuple[list[Record], list[Run]]:
    """A history that holds everything, whatever is drawn: copies, late records, dates backwards, twice, overlapping, in
    a row and with a gap in one run."""
    choose = random.Random(5)
    minutes = [1440 * choose.randrange(4) + choose.choice((0, 10, 29, 700, 1411, 1430)) for _ in range(45)]
    landed = [
        Record(choose.randint(1, 30), choose.randint(1, 4), minute, choose.randrange(3), choose.randrange(4))
        for minute in minutes
    ]
    first, second, third, fourth = DATES
    return landed, [
        ((fourth,), None),
        ((third,), first),
        ((second, third), None),
        ((first,), second),
        ((first, fourth), third),
    ]


def place(landed: list[Record]) -> list[Placed]:
    """Offsets in the order of delivery; each partition counts its own."""
    offsets: dict[int, int] = defaultdict(int)
    placed = []
    for record in sorted(landed, key=lambda record: record.batch):
        placed.append(Placed(record, offsets[record.partition]))
        offsets[record.partition] += 1
    return placed


def land(lakehouse: Lakehouse, placed: list[Placed]) -> None:
    fill_raw_events(lakehouse, [(p.record.partition, p.offset, p.record.payload) for p in placed])


# -- the oracle -------------------------------------------------------------------------------------------------------


def clean_records(placed: list[Placed]) -> list[Record]:
    """Without every record for which there is one with a lower place, at most three days away, and the same id."""
    return [
        p.record
        for p in placed
        if not any(
            other.record.event == p.record.event
            and (other.record.partition, other.offset) < (p.record.partition, p.offset)
            and abs((other.record.time.date() - p.record.time.date()).days) <= LATENESS_DAYS
            for other in placed
        )
    ]


def true_sessions(clean: list[Record]) -> list[list[Record]]:
    found: list[list[Record]] = []
    for user in sorted({record.user for record in clean}):
        own = sorted((r for r in clean if r.user == user), key=lambda record: (record.time, record.event_id))
        for number, record in enumerate(own):
            if number == 0 or record.time - own[number - 1].time >= GAP:
                found.append([])
            found[-1].append(record)
    return found


def check_against_oracle(lakehouse: Lakehouse, placed: list[Placed], snapshots: list[date]) -> None:
    clean = clean_records(placed)
    sessions = true_sessions(clean)
    stored_events = {
        (r.event_id, r.user_id, r.event_time.replace(tzinfo=UTC), r.session_start.replace(tzinfo=UTC))
        for r in lakehouse.main.read(EVENTS).collect()
    }
    assert stored_events == {
        (r.event_id, f"u{r.user}", r.time, session[0].time) for session in sessions for r in session
    }
    stored_sessions = sorted(
        (r.session_date, r.user_id, r.session_start.replace(tzinfo=UTC), r.session_end.replace(tzinfo=UTC), r.events)
        for r in lakehouse.main.read(SESSIONS).collect()
    )
    assert stored_sessions == sorted(
        (s[0].time.date(), f"u{s[0].user}", s[0].time, s[-1].time, len(s)) for s in sessions
    )
    events_of: dict[tuple[str, date], int] = defaultdict(int)
    begun: dict[tuple[str, date], int] = defaultdict(int)
    for record in clean:
        events_of[f"u{record.user}", record.time.date()] += 1
    for session in sessions:
        begun[f"u{session[0].user}", session[0].time.date()] += 1
    daily = {
        (r.user_id, r.event_date): (r.events, r.sessions) for r in lakehouse.main.read(USER_DAILY_ACTIVITY).collect()
    }
    assert daily == {key: (events, begun[key]) for key, events in events_of.items()}
    features = {
        (r.user_id, r.snapshot_date): (r.events_sum_1d, r.events_sum_30d, r.sessions_sum_30d)
        for r in lakehouse.main.read(USER_FEATURES).collect()
    }
    expected: dict[tuple[str, date], tuple[int, int, int]] = {}
    for user, day in events_of:
        for snapshot in snapshots:
            if snapshot >= day:
                so_far = [(u, d) for u, d in events_of if u == user and d <= snapshot]
                expected[user, snapshot] = (
                    events_of.get((user, snapshot), 0),
                    sum(events_of[key] for key in so_far),
                    sum(begun.get(key, 0) for key in so_far),
                )
    assert features == expected


# -- the property -----------------------------------------------------------------------------------------------------


@settings(
    max_examples=max(EXAMPLES, 1),
    deadline=None,
    # Without shrinking: an example takes a minute.
    phases=(Phase.explicit, Phase.reuse, Phase.generate) if EXAMPLES else (Phase.explicit,),
    suppress_health_check=list(HealthCheck),
)
@given(history=histories())
@example(history=backwards_and_in_the_middle_of_each_other())
def test_order_repetition_overlap_and_late_delivery_change_no_row(history: tuple[list[Record], list[Run]]) -> None:
    landed, runs = history
    placed = place(landed)
    with TemporaryDirectory() as folder, open_lake(Path(folder)) as lakehouse:
        land(lakehouse, placed)
        transform(lakehouse, DATES, [])
        check_against_oracle(lakehouse, placed, DATES)
        at_once = read_everything(lakehouse)
    with TemporaryDirectory() as folder, open_lake(Path(folder)) as lakehouse:
        waiting, done = [[p for p in placed if p.record.batch == batch] for batch in range(4)], set[date]()

        def land_and_run(own: Lakehouse, days: tuple[date, ...]) -> None:
            """What a run of the DAG does: earlier dates the transform finds itself."""
            batch = waiting.pop(0) if waiting else []
            if batch:
                land(own, batch)
            later = {day for day in done if day > days[0]}.difference(days)
            transform(own, [*days], sorted({p.record.time.date() for p in batch} & later))
            done.update(days)

        for days, other in runs:
            if other is None:
                land_and_run(lakehouse, days)
            else:
                with meanwhile("rebuild_features", partial(land_and_run, days=(other,))):
                    land_and_run(lakehouse, days)
        assert read_everything(lakehouse) == at_once


def test_dates_that_run_at_the_same_time_give_what_one_after_the_other_gives(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before_midnight, after_midnight, next_day = 1440 - 10, 1440 + 10, 2 * 1440 - 300
    landed = [Record(user, user, before_midnight, 0, 0) for user in (1, 2)]
    landed += [Record(10 + user, user, after_midnight, 0, 0) for user in (1, 2)]
    landed += [Record(1, 1, next_day, 1, 0)]  # a copy of an event of the date before
    placed = place(landed)
    with open_lake(tmp_path / "parallel") as lakehouse:
        land(lakehouse, placed)
        with ThreadPoolExecutor(2) as threads:
            jobs = [threads.submit(transform, lakehouse, [day], []) for day in DATES[:2]]
            assert [job.result().forced for job in jobs] == [[], []]
        check_against_oracle(lakehouse, placed, DATES[:2])
    assert "was changed by another run" in capfd.readouterr().err


def test_a_run_that_dies_between_two_publications_is_made_good_by_its_rerun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published: list[str] = []
    publish = Draft.publish

    def publish_until(deadly: int) -> Callable[..., None]:
        def publish_or_die(draft: Draft, table: Table, *arguments: Any) -> None:
            if len(published) == deadly:
                raise KeyboardInterrupt
            published.append(table.name)
            publish(draft, table, *arguments)

        return publish_or_die

    landed = [Record(1, 1, 1440 - 60, 0, 0), Record(2, 1, 1440 + 10, 0, 0), Record(3, 1, 2 * 1440 + 500, 0, 0)]
    # Delivered later, each changes how date 1 reaches into date 2: what the dead run was about to mend.
    late = [Record(4, 1, 1440 - 15, 0, 1), Record(5, 1, 1440 - 40, 0, 2), Record(6, 1, 1440 - 89, 0, 3)]
    placed = place(landed + late)
    with open_lake(tmp_path) as lakehouse:
        land(lakehouse, placed[:3])
        transform(lakehouse, DATES[:3], [])
        for deadly in (1, 2, 3):
            land(lakehouse, [placed[2 + deadly]])
            published.clear()
            before = len(list(lakehouse.find_notes(USER_FEATURES, REBUILT_SNAPSHOTS)))
            with monkeypatch.context() as patched:
                patched.setattr(Draft, "publish", publish_until(deadly))
                with pytest.raises(KeyboardInterrupt):
                    transform(lakehouse, DATES[2:3], [])
            assert len(published) == deadly
            transform(lakehouse, DATES[2:3], [])
            check_against_oracle(lakehouse, placed[: 3 + deadly], DATES[:3])
            # What the dead run has published is named as well: these segments are to be made again.
            publications = list(lakehouse.find_notes(USER_FEATURES, REBUILT_SNAPSHOTS))
            named = {day for days in publications[: len(publications) - before] for day in days}
            assert named == set(DATES[:3])
