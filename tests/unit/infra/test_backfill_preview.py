"""What a dry run says about a date; the reading of tables and truth is tested on the stack."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from data_generator.truth import Manifest
from infra.local.backfill_preview import DateState, Publication, RecordedRun, describe_publication, estimate_seconds
from infra.local.layout import Layout

DATE = dt.date(2025, 4, 1)
THERE = Publication()


def recorded(landed: int = 0, seconds: float = 0) -> RecordedRun:
    return RecordedRun(landed, landed, seconds, dt.datetime(2025, 4, 9, 8, 30, tzinfo=dt.UTC))


def state(
    raw: int,
    run: RecordedRun | None,
    publication: Publication = THERE,
    run_state: str | None = None,
    events: int | None = None,
) -> DateState:
    rows = {"raw_events": raw, "events": raw if events is None else events, "user_segments": 0}
    return DateState(DATE, rows, run, run_state, publication)


@pytest.mark.parametrize(
    ("date_state", "change"),
    [
        (state(0, None, Publication(to_do="generates 1,500 events")), "generates 1,500 events, everything"),
        (state(1200, None), "everything"),
        (state(1200, recorded(landed=1200)), "the same rows again"),
        (state(2300, recorded(landed=1200)), "1,100 records of raw_events wait"),
        (state(1200, recorded(landed=1200), events=1100), "events has 1,100 rows, the last run left 1,200"),
        (
            state(2300, None, Publication(refusal="published with 9 events, not 8")),
            "fails: published with 9 events, not 8",
        ),
    ],
    ids=["new", "landed with another date", "done", "more landed since", "rolled back", "refused"],
)
def test_the_change_is_what_the_topic_and_the_tables_have_beside_what_the_last_run_counted(
    date_state: DateState, change: str
) -> None:
    assert date_state.change == change


@pytest.mark.parametrize(
    ("date_state", "last_run"),
    [
        (state(0, None), "never"),
        (state(0, None, run_state="failed"), "failed (no record)"),
        (state(0, recorded(), run_state="success"), "success 2025-04-09 08:30"),
        (state(0, recorded()), "by hand 2025-04-09 08:30"),
    ],
)
def test_the_last_run_is_airflows_state_and_the_time_of_the_record(date_state: DateState, last_run: str) -> None:
    assert date_state.last_run == last_run


def test_a_date_takes_as_long_as_its_last_run_and_a_new_one_as_the_median_of_all() -> None:
    first, second, third, new = (dt.date(2025, 4, day) for day in (1, 2, 3, 4))
    runs = {first: recorded(seconds=10), second: recorded(seconds=20), third: recorded(seconds=90)}
    assert estimate_seconds([first, new], runs) == {first: 10, new: 20}
    assert estimate_seconds([first, new], {}) == {}


def manifest(**parameters: Any) -> Manifest:
    return Manifest(parameters=parameters, produced=1, by_event_date={}, by_kind={})


@pytest.mark.parametrize(
    ("conf", "published", "publication"),
    [
        ({}, {}, Publication(to_do="generates 100,000 events")),
        ({"events": 1500}, {"date=2025-04-02": manifest(events=1500)}, Publication(to_do="generates 1,500 events")),
        ({"events": 1500}, {"date=2025-04-01": manifest(events=1500)}, THERE),
        ({"events": 9}, {"date=2025-04-01": manifest(events=8)}, Publication(refusal="published with 8 events, not 9")),
        ({"event_source": "external"}, {}, THERE),
    ],
    ids=["new", "only another date is there", "is there", "is there with another size", "somebody else publishes"],
)
def test_a_generated_date_on_the_topic_is_not_published_again(
    layout: Layout, conf: dict[str, Any], published: dict[str, Manifest], publication: Publication
) -> None:
    assert describe_publication(layout.settings, conf, DATE, published) == publication


@pytest.mark.parametrize(
    ("name", "to_do"),
    [
        ("replay=2019-Oct", None),
        ("replay=2019-Oct/date=2025-04-01", None),
        ("replay=2019-Oct/date=2025-04-02", "replays 2019-Oct.csv.gz"),
        ("replay=2019-Nov", "replays 2019-Oct.csv.gz"),
    ],
)
def test_a_replayed_date_is_there_with_the_whole_file_or_alone(layout: Layout, name: str, to_do: str | None) -> None:
    conf = {"event_source": "replay", "replay_file": "/data/2019-Oct.csv.gz"}
    assert describe_publication(layout.settings, conf, DATE, {name: manifest()}) == Publication(to_do=to_do)
