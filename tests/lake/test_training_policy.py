"""When a model is trained, which one is champion of a date, and what becomes of its segments."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F

import config
from config.loader import SegmentOverride, Training
from spark_jobs import user_segmentation_ml
from spark_jobs.errors import ConcurrentCommitError
from spark_jobs.lake.audit import find_faults
from spark_jobs.lake.lakehouse import Lakehouse
from spark_jobs.lake.tables import SEGMENT_PROFILES, USER_SEGMENTS
from spark_jobs.segment_models import (
    CHAMPION,
    KEPT,
    REJECTED,
    WAITING,
    TrainedModel,
    decide_on,
    find_champion,
    find_predecessor,
    find_reason,
    find_replaced,
    read_models,
    record_model,
)
from spark_jobs.segment_training import continue_segments
from spark_jobs.user_segmentation_ml import main, segment_dates
from tests.lake.small_frames import open_lake
from tests.lake.three_groups import (
    IDLE,
    ON_FIRST,
    SEEKERS,
    configure,
    features_frame,
    rebuild_features,
    write_settings,
)

SPREAD = {
    f"{user}-{n}": (events + n, bought, rate) for user, (events, bought, rate) in ON_FIRST.items() for n in range(4)
}
# Those who searched buy like nobody before, and search no more.
MOVED = {user: (300, 90, 0.1) if user.startswith("seek") else row for user, row in SPREAD.items()}


START = date(2025, 2, 10)
# None follows another directly: what is the history of the next date is not told here.
QUIET, DRIFTED, ASKED, LATER, OTHER = (START + timedelta(days=days) for days in (2, 4, 6, 13, 15))
EARLIER = START - timedelta(days=9)


@pytest.fixture(scope="module", autouse=True)
def _settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, file in write_settings(tmp_path_factory.mktemp("settings")).items():
            patch.setenv(name, file)
        yield


@dataclass(frozen=True)
class Step:
    """What scoring a date has done: reason and decision of the models that it trained, and the date's rows."""

    trained: list[tuple[str, str]]
    models: list[TrainedModel]
    segments: list[Row]
    profiles: list[Row]

    @property
    def scored_by(self) -> set[str]:
        return {row.model_id for row in self.segments}


def run(lakehouse: Lakehouse, day: date, users: dict[str, Any] = SPREAD, *, must_train: bool = False) -> Step:
    """Publish a date's features and score it."""
    rebuild_features(lakehouse, day, users=users)
    known = {model.model_id for model in read_models(lakehouse)}
    list(segment_dates(lakehouse, [day], must_train=must_train))
    models = read_models(lakehouse)
    return Step(
        [(m.training_reason, m.decision) for m in models if m.model_id not in known],
        models,
        lakehouse.main.read_dates(USER_SEGMENTS, day, day).collect(),
        lakehouse.main.read_dates(SEGMENT_PROFILES, day, day).collect(),
    )


@pytest.fixture(scope="module")
def story(_settings: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Step]:
    """One lake from its first date on; each step builds on those before it."""
    with open_lake(tmp_path_factory.mktemp("story")) as lake:
        return tell(lake)


def tell(lake: Lakehouse) -> dict[str, Step]:
    told: dict[str, Step] = {}
    drift = dataclasses.replace(lake.settings.pipeline.segmentation.drift, max_feature_index=0.25)
    configure(lake, drift=drift)
    told["first"] = run(lake, START)
    told["nothing new"] = run(lake, QUIET)
    told["drifted"] = run(lake, DRIFTED, MOVED)
    told["asked"] = run(lake, ASKED, MOVED, must_train=True)
    told["asked again"] = run(lake, DRIFTED, MOVED, must_train=True)
    told["a week later"] = run(lake, LATER, MOVED)
    configure(lake, num_clusters=2)
    told["other settings"] = run(lake, OTHER, MOVED)
    told["the week again"] = run(lake, LATER, MOVED)
    configure(lake, num_clusters=2, model_policy="champion")
    told["restated"] = run(lake, START)
    configure(lake, num_clusters=3, model_policy="as_of")
    told["earlier"] = run(lake, EARLIER)
    own = SegmentOverride(name="our best", story="They keep us alive.")
    words = dataclasses.replace(lake.settings.segment_words, overrides={3: own})
    lake.settings = dataclasses.replace(lake.settings, segment_words=words)
    told["named"] = run(lake, START)
    return told


def model_of(step: Step, day: date) -> TrainedModel:
    (model,) = [model for model in step.models if model.trained_on == day]
    return model


def test_the_first_model_takes_over_and_users_who_do_not_change_train_no_other(story: dict[str, Step]) -> None:
    assert story["first"].trained == [("first", "champion")]
    assert story["nothing new"].trained == []


def test_drift_trains_before_the_week_is_over_and_the_better_model_takes_over(story: dict[str, Step]) -> None:
    ((reason, decision),) = story["drifted"].trained
    assert reason.startswith("drift: ")
    assert "search_rate_30d has a stability index of" in reason
    before, after = story["drifted"].models
    assert (decision, after.champion_from) == ("champion", DRIFTED)
    assert after.compared_with == before.model_id
    assert after.silhouette_gain is not None
    assert after.silhouette_gain >= 0.02
    # Who has not changed has not moved; who searched is a segment that there was not; nobody searches any more.
    rows = {row.user_id: row for row in story["drifted"].segments}
    assert {rows[f"{user}-0"].segment_id for user in IDLE} == {1}
    assert {rows[f"{user}-0"].segment_id for user in SEEKERS}.isdisjoint({1, 2})
    assert 2 in {segment.segment_id for segment in after.vanished_segments}
    assert min(s.segment_id for s in after.segments if s.segment_id not in (1, 3)) > 3


def test_the_champion_is_challenged_after_a_week_and_by_the_same_users_not_beaten(story: dict[str, Step]) -> None:
    step = story["a week later"]
    assert step.trained == [("schedule", "kept")]
    champion, challenger = model_of(step, DRIFTED), model_of(step, LATER)
    assert "0.020 is asked" in challenger.decision_reason
    assert challenger.champion_from is None
    assert [(s.segment_id, s.segment_name) for s in challenger.segments] == [
        (s.segment_id, s.segment_name) for s in champion.segments
    ]
    assert step.scored_by == {champion.model_id}


def test_who_asks_for_a_training_gets_a_challenger_that_has_to_be_better(story: dict[str, Step]) -> None:
    assert story["asked"].trained == [("asked", "kept")]
    again = story["asked again"]  # with the settings and on the date of the champion
    assert (again.trained, again.models) == ([], story["asked"].models)
    assert again.scored_by == story["drifted"].scored_by


def test_of_two_models_of_one_date_the_later_one_is_champion_and_the_settings_may_go_back(
    story: dict[str, Step],
) -> None:
    training = Training(7, 0.02, needs_approval=False)
    first = model_of(story["first"], START)
    second = dataclasses.replace(first, model_id="second", settings_hash="other")
    (replaced,) = find_replaced([first], second)
    assert (replaced.model_id, replaced.decision, replaced.champion_from) == (first.model_id, KEPT, None)
    models = [replaced, second]
    assert find_champion(models, START, "as_of") == second
    assert find_reason(models, second, START, first.settings_hash, [], training) == "settings"
    assert find_reason(models, second, START, "other", [], training) is None
    waiting = dataclasses.replace(replaced, decision=WAITING)
    assert find_reason([waiting, second], second, QUIET, first.settings_hash, [], training) is None
    assert find_predecessor([first], START) == first


def test_a_cluster_without_users_is_a_segment_nevertheless(story: dict[str, Step], spark: SparkSession) -> None:
    trained = model_of(story["first"], START)
    trained = dataclasses.replace(trained, baseline=dataclasses.replace(trained.baseline, segment_shares={1: 1.0}))
    clusters = features_frame(spark, ON_FIRST, START).withColumn("cluster", F.lit(1))
    settings = config.load().pipeline.segmentation
    model = continue_segments(trained, clusters, None, None, [], (), settings)
    assert [(s.cluster, s.segment_id) for s in model.segments] == [(0, 2), (1, 1), (2, 3)]


def test_a_kept_challenger_counts_as_a_training_the_next_one_is_a_week_after_it(story: dict[str, Step]) -> None:
    models = story["a week later"].models
    champion, training = model_of(story["a week later"], DRIFTED), Training(7, 0.02, needs_approval=False)

    def reason(days: int, drift: list[str]) -> str | None:
        day = LATER + timedelta(days=days)
        return find_reason(models, champion, day, champion.settings_hash, drift, training)

    assert [reason(days, []) for days in (1, 6, 7)] == [None, None, "schedule"]
    # What has drifted from the champion has been tried already.
    assert reason(1, ["they have drifted"]) is None


def test_new_settings_begin_with_the_newest_date_and_an_older_one_says_what_it_said(story: dict[str, Step]) -> None:
    step = story["other settings"]
    assert step.trained == [("settings", "champion")]
    newest = model_of(step, OTHER)
    assert (newest.k, step.scored_by) == (2, {newest.model_id})
    again = story["the week again"]
    assert (again.trained, again.scored_by) == ([], story["a week later"].scored_by)
    restated = story["restated"]
    assert (restated.trained, restated.scored_by) == ([], {newest.model_id})


def test_an_earlier_date_that_is_done_later_gets_the_segments_of_the_model_after_it(story: dict[str, Step]) -> None:
    assert story["earlier"].trained == [("first", "champion")]
    earlier, later = model_of(story["earlier"], EARLIER), model_of(story["first"], START)
    assert earlier.compared_with == later.model_id
    assert {s.segment_id: s.segment_name for s in earlier.segments} == {
        s.segment_id: s.segment_name for s in later.segments
    }


def test_a_name_that_a_person_gives_needs_no_training(story: dict[str, Step]) -> None:
    step = story["named"]
    assert step.trained == []
    names = {row.segment_id: row.segment_name for row in step.segments}
    assert names == {1: "segment 1", 2: "researchers", 3: "our best"}
    stories = {row.segment_id: row.story for row in step.profiles}
    assert stories[3].startswith("They keep us alive. They are above average in ")
    assert stories[2].startswith("They search. ")
    assert stories[1].startswith("Nobody has named them. ")


def test_a_better_model_waits_for_a_person_where_approval_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, following = str(tmp_path), DRIFTED + timedelta(days=1)
    with open_lake(tmp_path) as lake:
        configure(lake, training=Training(every_days=2, min_silhouette_gain=0.02, needs_approval=True))
        assert run(lake, START).trained == [("first", "champion")]  # without any there would be no segments
        step = run(lake, DRIFTED, MOVED)
        champion, challenger = step.models
        assert (step.trained, step.scored_by) == ([("schedule", "waiting")], {champion.model_id})
        stale = dataclasses.replace(challenger, model_id="stale", artifact=f"{lake.models_path}/stale")
        record_model(lake, stale)

        def approve_meanwhile(*arguments: Any) -> list[str]:
            reason = "approved by a person"
            decide_on(lake, challenger.model_id, is_approved=True, champion_from=following, reason=reason)
            return find_faults(*arguments)

        with monkeypatch.context() as patched:
            patched.setattr(user_segmentation_ml, "find_faults", approve_meanwhile)
            with pytest.raises(ConcurrentCommitError, match=f"the champion of {following} has changed meanwhile"):
                run(lake, following, MOVED)
        assert following not in lake.main.count_rows(USER_SEGMENTS)
    assert main(["--approve", "kmeans-typo", "--output-path", folder]) == 1
    assert "no model kmeans-typo; those that are not champion: stale" in capsys.readouterr().err
    assert main(["--approve", challenger.model_id, "--output-path", folder]) == 0  # again: nothing changes
    assert main(["--approve", "stale", "--start-date", str(following), "--output-path", folder]) == 1
    assert f"stale continues the segments of {champion.model_id}, but {challenger.model_id}" in capsys.readouterr().err
    assert main(["--reject", "stale", "--output-path", folder]) == 0
    with open_lake(tmp_path) as lake:
        models = read_models(lake)
        assert {model.model_id: (model.decision, model.champion_from) for model in models} == {
            champion.model_id: (CHAMPION, START),
            challenger.model_id: (CHAMPION, following),
            "stale": (REJECTED, None),
        }
        # A date that is done again says what it said.
        assert find_champion(models, DRIFTED, "as_of") == champion
        step = run(lake, following, MOVED)
        assert (step.trained, step.scored_by) == ([], {challenger.model_id})
    assert main(["--reject", challenger.model_id, "--output-path", folder]) == 1
    assert f"{challenger.model_id} is champion already, from {following} on" in capsys.readouterr().err
