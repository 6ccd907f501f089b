"""Segments from day to day: of a population that does not change, and of one in which a tenth becomes others.

2,000 users, scored on 60 days in a row. In the first 30 nothing changes and each weekly training takes over, better or
not; then a tenth of the users becomes another persona, and no model takes over.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import Counter
from itertools import pairwise

import pytest
from pyspark.sql import functions as F
from sklearn.metrics import adjusted_rand_score  # type: ignore[import-untyped]

from data_generator.population import PersonaMove
from spark_jobs.lake.lakehouse import Lakehouse
from spark_jobs.lake.tables import SEGMENT_TRANSITIONS, USER_FEATURES, USER_SEGMENTS
from spark_jobs.segment_identity import NEW_USERS
from spark_jobs.segment_models import CHAMPION, TrainedModel, load_pipeline, read_models
from spark_jobs.user_segmentation_ml import score_users, segment_dates
from tests.benchmarks.generated_features import generate, read_features, read_personas, write_daily_activity
from tests.lake.three_groups import configure
from tests.quality.conftest import compiled

DAY = dt.timedelta(days=1)
USERS, EVENTS = 2_000, 15_000
FIRST = dt.date(2025, 4, 1)
UNCHANGED = [FIRST + number * DAY for number in range(29, 59)]
CHANGING = [FIRST + number * DAY for number in range(59, 89)]
MOVE = PersonaMove(CHANGING[0], "window_shopper", "loyal_buyer", 0.1)


@pytest.fixture(scope="module")
def scored(lakehouse: Lakehouse, tmp_path_factory: pytest.TempPathFactory) -> Lakehouse:
    """Every day has its segments."""
    folder = tmp_path_factory.mktemp("activity")
    days = [*UNCHANGED, *CHANGING]
    with compiled(lakehouse.spark):
        write_daily_activity(lakehouse.spark, generate(FIRST, 89, events=EVENTS, users=USERS, move=MOVE), folder)
        lakehouse.replace_dates(USER_FEATURES, read_features(lakehouse.spark, folder, days), days)
    training = lakehouse.settings.pipeline.segmentation.training
    for days_in_a_row, every_days, gain in ((UNCHANGED, 7, -1.0), (CHANGING, 999, 1.0)):
        configure(lakehouse, training=dataclasses.replace(training, every_days=every_days, min_silhouette_gain=gain))
        reports = list(segment_dates(lakehouse, days_in_a_row))
        assert len(reports) == len(days_in_a_row)
    return lakehouse


@pytest.fixture(scope="module")
def models(scored: Lakehouse) -> list[TrainedModel]:
    """Those of the days in which nothing changes."""
    return [model for model in read_models(scored) if model.trained_on in UNCHANGED]


def test_each_training_of_an_unchanged_population_takes_over_and_renames_no_segment(models: list[TrainedModel]) -> None:
    assert len(models) == 5  # the first and four that followed
    names: dict[int, str] = {}
    for model in models:
        assert model.decision == "champion"
        for segment in model.segments:
            assert names.setdefault(segment.segment_id, segment.segment_name) == segment.segment_name
    assert {segment.segment_id for segment in models[0].segments} == names.keys()


def test_a_training_on_an_unchanged_population_moves_one_user_in_twenty_at_most(
    scored: Lakehouse, models: list[TrainedModel]
) -> None:
    """Of the same users on the same day: those to whom the model and the one before it give different segments."""
    for before, after in pairwise(models):
        features = scored.main.read_dates(USER_FEATURES, after.trained_on, after.trained_on)
        features = features.withColumn("previous_segment_id", F.lit(None).cast("int")).persist()
        segments = [
            score_users(features, (model, load_pipeline(model)), scored.settings.segment_words, 0.0).select(
                "user_id", F.col("segment_id").alias(name)
            )
            for model, name in ((before, "was"), (after, "now"))
        ]
        both = segments[0].join(segments[1], "user_id").where(f"was <> {NEW_USERS}")
        known, moved = both.agg(F.count("*"), F.count_if(F.expr("was <> now"))).collect()[0]
        assert known > 0.9 * USERS
        assert moved <= 0.05 * known, (before.model_id, after.model_id)


def test_on_no_day_of_an_unchanged_population_does_more_than_one_user_in_twenty_move(scored: Lakehouse) -> None:
    """By the table, whatever moves them: their own days, and another model on four of them."""
    moves = scored.main.read_dates(SEGMENT_TRANSITIONS, UNCHANGED[1], UNCHANGED[-1])
    moved = F.sum(F.expr("if(from_segment_id <> to_segment_id, users, 0)")).alias("moved")
    days = {row.snapshot_date: row.moved for row in moves.groupBy("snapshot_date").agg(moved).collect()}
    assert days.keys() == set(UNCHANGED[1:])
    assert max(days.values()) <= 0.05 * USERS
    assert sum(days.values()) <= 0.0125 * USERS * len(days)


def test_the_segments_after_a_month_are_still_the_personas(scored: Lakehouse) -> None:
    truth, segments = read_personas(FIRST, USERS), segments_of(scored, UNCHANGED[-1])
    assert len(segments) > 0.95 * USERS
    assert adjusted_rand_score([truth[user] for user in segments], list(segments.values())) >= 0.85


def test_a_tenth_of_the_users_that_becomes_another_persona_is_the_flow_of_the_transitions(scored: Lakehouse) -> None:
    """Summed over the days after the move, less what flows back: from the one persona's segment to the other's."""
    assert {m.trained_on for m in read_models(scored) if m.decision == CHAMPION} <= set(UNCHANGED)
    truth, moved = (read_personas(FIRST, USERS, move) for move in (None, dataclasses.replace(MOVE, since=FIRST)))
    was, now = (segments_of(scored, day) for day in (UNCHANGED[-1], CHANGING[-1]))
    source, target = (
        Counter(was[user] for user in was if truth[user] == persona).most_common(1)[0][0]
        for persona in (MOVE.from_persona, MOVE.to_persona)
    )
    movers = {user for user in truth if truth[user] != moved[user]} & was.keys() & now.keys()
    assert len(movers) > 0.08 * USERS
    flow = {user for user in was.keys() & now.keys() if (was[user], now[user]) == (source, target)}
    assert len(flow & movers) >= 0.8 * len(flow)
    assert len(flow & movers) >= 0.8 * len(movers)
    # The table shows it too, step by step and without naming anybody.
    moves = scored.main.read_dates(SEGMENT_TRANSITIONS, CHANGING[0], CHANGING[-1])
    rows = moves.groupBy("from_segment_id", "to_segment_id").agg(F.sum("users").alias("users")).collect()
    between = {(row.from_segment_id, row.to_segment_id): row.users for row in rows}
    direct = scored.main.read_dates(USER_SEGMENTS, CHANGING[0], CHANGING[-1]).where(
        (F.col("previous_segment_id") == source) & (F.col("segment_id") == target)
    )
    assert between[source, target] == direct.count()
    users = {row.user_id for row in direct.select("user_id").collect()}
    assert len(users & movers) >= 0.8 * len(users)
    assert len(users & movers) >= 0.8 * len(movers)
    assert 0.8 * len(movers) <= between[source, target] - between.get((target, source), 0) <= len(movers) / 0.8
    # And so do all steps out of the one segment and into the other, with those by way of a third.
    net = Counter[int | None]()
    for row in rows:
        net[row.from_segment_id] -= row.users
        net[row.to_segment_id] += row.users
    assert 0.8 * len(movers) <= -net[source] <= len(movers) / 0.8
    assert 0.8 * len(movers) <= net[target] <= len(movers) / 0.8


def segments_of(lakehouse: Lakehouse, day: dt.date) -> dict[str, int]:
    """User -> segment, of users with enough history."""
    rows = lakehouse.main.read_dates(USER_SEGMENTS, day, day).where(f"segment_id <> {NEW_USERS}")
    return {row.user_id: row.segment_id for row in rows.select("user_id", "segment_id").collect()}
