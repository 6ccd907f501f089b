"""When a model is trained, which one is champion of a date, and what becomes of its segments."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

import config
from config.loader import SegmentOverride
from spark_jobs.lakehouse import Lakehouse
from spark_jobs.segment_models import CHAMPION, read_models
from spark_jobs.tables import SEGMENT_PROFILES, USER_SEGMENTS
from spark_jobs.user_segmentation_ml import main, segment_dates
from tests.unit.spark_jobs.three_groups import IDLE, ON_FIRST, SEEKERS, configure, rebuild_features, write_settings

SPREAD = {
    f"{user}-{n}": (events + n, bought, rate) for user, (events, bought, rate) in ON_FIRST.items() for n in range(4)
}
# Those who searched buy like nobody before, and search no more.
MOVED = {user: (300, 90, 0.1) if user.startswith("seek") else row for user, row in SPREAD.items()}


@pytest.fixture
def empty_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lakehouse]:
    """Without features and models."""
    for name, file in write_settings(tmp_path).items():
        monkeypatch.setenv(name, file)
    with Lakehouse("policy", config.load(), output_path=str(tmp_path / "lake")) as lakehouse:
        lakehouse.create_tables()
        yield lakehouse


def run(lakehouse: Lakehouse, day: date, users: dict[str, Any] = SPREAD) -> list[tuple[str, str]]:
    """Score a date; returns reason and decision of the models that it trained."""
    rebuild_features(lakehouse, day, users=users)
    known = {model.model_id for model in read_models(lakehouse)}
    list(segment_dates(lakehouse, [day]))
    return [(m.training_reason, m.decision) for m in read_models(lakehouse) if m.model_id not in known]


def test_the_champion_is_challenged_after_a_week_and_by_the_same_users_not_beaten(empty_lake: Lakehouse) -> None:
    start = date(2025, 2, 1)
    assert run(empty_lake, start) == [("first", "champion")]
    assert run(empty_lake, start + timedelta(days=6)) == []
    assert run(empty_lake, start + timedelta(days=7)) == [("schedule", "kept")]
    challenger = read_models(empty_lake)[-1]
    assert "0.020 is asked" in challenger.decision_reason
    assert challenger.champion_from is None
    assert {(s.segment_id, s.segment_name) for s in challenger.segments} == {
        (1, "segment 1"), (2, "researchers"), (3, "buyers"),
    }  # fmt: skip
    scored = empty_lake.read_dates(USER_SEGMENTS, start + timedelta(days=7), start + timedelta(days=7))
    assert {row.model_id for row in scored.collect()} == {read_models(empty_lake)[0].model_id}
    # A kept challenger counts as a training: the next one is a week after it.
    assert run(empty_lake, start + timedelta(days=13)) == []


def test_drift_trains_before_the_week_is_over_and_the_better_model_takes_over(empty_lake: Lakehouse) -> None:
    start = date(2025, 2, 1)
    run(empty_lake, start)
    limits = dataclasses.replace(empty_lake.settings.pipeline.segmentation.drift, max_feature_index=0.25)
    configure(empty_lake, drift=limits)
    assert run(empty_lake, start + timedelta(days=1)) == []
    ((reason, decision),) = run(empty_lake, start + timedelta(days=2), MOVED)
    assert reason.startswith("drift: ")
    assert "search_rate_30d has a stability index of" in reason
    before, after = read_models(empty_lake)
    assert (decision, after.champion_from) == ("champion", start + timedelta(days=2))
    assert after.compared_with == before.model_id
    assert after.silhouette_gain is not None
    assert after.silhouette_gain >= 0.02
    # Who has not changed has not moved; who searched is a segment that there was not; nobody searches any more.
    day = start + timedelta(days=2)
    rows = {row.user_id: row for row in empty_lake.read_dates(USER_SEGMENTS, day, day).collect()}
    assert {rows[f"{user}-0"].segment_id for user in IDLE} == {1}
    assert {rows[f"{user}-0"].segment_id for user in SEEKERS}.isdisjoint({1, 2})
    assert 2 in {segment.segment_id for segment in after.vanished_segments}
    assert min(s.segment_id for s in after.segments if s.segment_id not in (1, 3)) > 3


def test_a_better_model_waits_for_a_person_where_approval_is_asked(
    empty_lake: Lakehouse, capsys: pytest.CaptureFixture[str]
) -> None:
    start = date(2025, 2, 1)
    configure(empty_lake, training=dataclasses.replace(
        empty_lake.settings.pipeline.segmentation.training, needs_approval=True, every_days=2
    ))  # fmt: skip
    assert run(empty_lake, start) == [("first", "champion")]  # without any there would be no segments
    assert run(empty_lake, start + timedelta(days=2), MOVED) == [("schedule", "waiting")]
    champion, challenger = read_models(empty_lake)
    folder = empty_lake.models_path.removesuffix("/models")
    day = start + timedelta(days=2)
    scored = empty_lake.read_dates(USER_SEGMENTS, day, day)
    assert {row.model_id for row in scored.collect()} == {champion.model_id}
    assert main(["--approve", "kmeans-typo", "--output-path", folder]) == 1
    assert f"no model kmeans-typo; those that are not champion: {challenger.model_id}" in capsys.readouterr().err
    assert main(["--approve", challenger.model_id, "--output-path", folder]) == 0
    assert main(["--start-date", str(day), "--output-path", folder]) == 0
    with Lakehouse("read", config.load(), output_path=folder) as lake:
        approved = read_models(lake)[-1]
        assert (approved.decision, approved.champion_from) == (CHAMPION, day + timedelta(days=1))
        # A date that is done again says what it said.
        assert {row.model_id for row in lake.read_dates(USER_SEGMENTS, day, day).collect()} == {champion.model_id}
        assert run(lake, day + timedelta(days=1), MOVED) == []
        following = lake.read_dates(USER_SEGMENTS, day + timedelta(days=1), day + timedelta(days=1))
        assert {row.model_id for row in following.collect()} == {challenger.model_id}
    assert main(["--reject", challenger.model_id, "--output-path", folder]) == 1
    assert f"{challenger.model_id} is champion already, from {day + timedelta(days=1)} on" in capsys.readouterr().err


def test_new_settings_begin_with_the_newest_date_and_an_older_one_says_what_it_said(empty_lake: Lakehouse) -> None:
    days = [date(2025, 2, day) for day in (1, 2, 3)]
    for day in days[:2]:
        run(empty_lake, day)
    configure(empty_lake, num_clusters=2)
    assert run(empty_lake, days[2]) == [("settings", "champion")]
    assert run(empty_lake, days[1]) == []
    models = {model.trained_on: model for model in read_models(empty_lake)}
    assert [models[days[0]].k, models[days[2]].k] == [3, 2]
    used = [{row.model_id for row in empty_lake.read_dates(USER_SEGMENTS, day, day).collect()} for day in days]
    assert used == [{models[days[0]].model_id}] * 2 + [{models[days[2]].model_id}]
    configure(empty_lake, num_clusters=2, model_policy="champion")
    assert run(empty_lake, days[0]) == []
    restated = empty_lake.read_dates(USER_SEGMENTS, days[0], days[0]).collect()
    assert {row.model_id for row in restated} == {models[days[2]].model_id}


def test_an_earlier_date_that_is_done_later_gets_the_segments_of_the_model_after_it(empty_lake: Lakehouse) -> None:
    run(empty_lake, date(2025, 2, 10))
    assert run(empty_lake, date(2025, 2, 1)) == [("first", "champion")]
    earlier, later = read_models(empty_lake)
    assert earlier.compared_with == later.model_id
    assert {s.segment_id: s.segment_name for s in earlier.segments} == {
        s.segment_id: s.segment_name for s in later.segments
    }


def test_a_name_that_a_person_gives_needs_no_training(empty_lake: Lakehouse) -> None:
    day = date(2025, 2, 1)
    run(empty_lake, day)
    words = empty_lake.settings.segment_words
    own = SegmentOverride(name="our best", story="They keep us alive.")
    empty_lake.settings = dataclasses.replace(
        empty_lake.settings, segment_words=dataclasses.replace(words, overrides={3: own})
    )
    assert run(empty_lake, day) == []
    names = {row.segment_id: row.segment_name for row in empty_lake.read_dates(USER_SEGMENTS, day, day).collect()}
    assert names == {1: "segment 1", 2: "researchers", 3: "our best"}
    stories = {row.segment_id: row.story for row in empty_lake.read_dates(SEGMENT_PROFILES, day, day).collect()}
    assert stories[3].startswith("They keep us alive. They are above average in ")
    assert stories[2].startswith("They search. ")
    assert stories[1].startswith("Nobody has named them. ")
