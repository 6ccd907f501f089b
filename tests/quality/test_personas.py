"""Segments beside the truth that only the generator knows, and segments from day to day."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
from itertools import pairwise
from pathlib import Path

import pytest
from pyspark.sql import DataFrame
from sklearn.cluster import KMeans  # type: ignore[import-untyped]
from sklearn.metrics import adjusted_rand_score  # type: ignore[import-untyped]

from data_generator.population import PersonaMove, load_personas
from spark_jobs.lakehouse import Lakehouse
from spark_jobs.segment_models import load_pipeline, read_models
from spark_jobs.segment_preparation import collect_scaled
from spark_jobs.segment_training import train_model
from spark_jobs.tables import USER_FEATURES, USER_SEGMENTS
from spark_jobs.user_segmentation_ml import score_users, segment_dates
from tests.benchmarks.generated_features import generate, read_features, write_daily_activity
from tests.unit.spark_jobs.three_groups import configure

DAY = dt.timedelta(days=1)
FIRST = dt.date(2025, 4, 1)


def test_auto_finds_the_personas_of_twenty_thousand_users(lakehouse: Lakehouse, tmp_path: Path) -> None:
    """30 days of 150,000 events: an adjusted Rand index of 0.85 at least, the number of personas within one, and no
    more than 0.02 below scikit-learn's K-Means on the same vectors."""
    users, last = 20_000, FIRST + 29 * DAY
    batches = generate(FIRST, 30, events=150_000, users=users)
    write_daily_activity(lakehouse.spark, batches, tmp_path)
    settings = lakehouse.settings.pipeline.segmentation
    features = read_features(lakehouse.spark, tmp_path, [last]).where(f"sessions_sum_30d >= {settings.min_sessions}")
    features = features.persist()
    model, pipeline = train_model(features, last, "first", settings, str(tmp_path))
    scored = pipeline.transform(features).select("user_id", "scaled", "cluster").persist()
    truth = persona_by_user(users)
    rows = scored.select("user_id", "cluster").collect()
    personas = [truth[row.user_id] for row in rows]
    ours = adjusted_rand_score(personas, [row.cluster for row in rows])
    theirs = KMeans(model.k, n_init=5, random_state=0).fit_predict(collect_scaled(scored))
    assert len(rows) > 0.95 * users
    assert abs(model.k - len(load_personas())) <= 1
    assert ours >= 0.85
    assert ours >= adjusted_rand_score(personas, theirs) - 0.02


def persona_by_user(users: int, move: PersonaMove | None = None) -> dict[str, str]:
    (batch,) = generate(FIRST, 1, events=100, users=users, move=move)
    return dict(zip(batch.population.user_ids(), batch.population.persona_names(), strict=True))


# -- from day to day --------------------------------------------------------------------------------------------------

USERS, EVENTS = 3_000, 25_000
MOVE = PersonaMove(FIRST + 60 * DAY, "window_shopper", "loyal_buyer", 0.1)


from_day_to_day = pytest.mark.skipif(
    "SEGMENT_STABILITY" not in os.environ, reason="120 dates take ten minutes: SEGMENT_STABILITY=1"
)


@pytest.fixture(scope="module")
def activity(lakehouse: Lakehouse, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """90 days of 3,000 users; after 60 of them a tenth of the users becomes another persona."""
    folder = tmp_path_factory.mktemp("activity")
    write_daily_activity(lakehouse.spark, generate(FIRST, 90, events=EVENTS, users=USERS, move=MOVE), folder)
    return folder


def score(lakehouse: Lakehouse, activity: Path, days: list[dt.date]) -> None:
    """Publish the features of the days, then segment one day after the other."""
    features = read_features(lakehouse.spark, activity, days)
    lakehouse.replace_dates(USER_FEATURES, features, days)
    for _ in segment_dates(lakehouse, days):
        pass


def segments_of(lakehouse: Lakehouse, day: dt.date) -> dict[str, int]:
    rows = lakehouse.read_dates(USER_SEGMENTS, day, day).select("user_id", "segment_id").collect()
    return {row.user_id: row.segment_id for row in rows}


@from_day_to_day
def test_a_population_that_does_not_change_keeps_its_segments_over_four_trainings(
    lakehouse: Lakehouse, activity: Path
) -> None:
    """30 daily scorings. Each of the four trainings takes over, better or not: so much may a training cost at most."""
    training = dataclasses.replace(lakehouse.settings.pipeline.segmentation.training, min_silhouette_gain=-1.0)
    configure(lakehouse, training=training)
    days = [FIRST + number * DAY for number in range(29, 59)]
    score(lakehouse, activity, days)
    models = [model for model in read_models(lakehouse) if model.trained_on in days]
    assert len(models) >= 5  # the first and four that followed
    names: dict[int, str] = {}
    for model in models:
        assert model.decision == "champion"
        for segment in model.segments:
            assert names.setdefault(segment.segment_id, segment.segment_name) == segment.segment_name
    for before, after in pairwise(models):
        day = after.trained_on
        features = lakehouse.read_dates(USER_FEATURES, day, day)
        moved = count_moved(lakehouse, features, before.model_id, after.model_id)
        assert moved <= 0.05, (before.model_id, after.model_id)


def count_moved(lakehouse: Lakehouse, features: DataFrame, before: str, after: str) -> float:
    """Share of the same users on the same day to whom two models give different segments."""
    models = {model.model_id: model for model in read_models(lakehouse)}
    found: list[dict[str, int]] = []
    for name in (before, after):
        scored = score_users(features, (models[name], load_pipeline(models[name])), lakehouse.settings.segment_words)
        found.append({row.user_id: row.segment_id for row in scored.select("user_id", "segment_id").collect()})
    known = [user for user, segment in found[0].items() if segment]
    return sum(found[0][user] != found[1][user] for user in known) / len(known)


@from_day_to_day
def test_a_tenth_of_the_users_that_becomes_another_persona_is_seen_in_the_transitions(
    lakehouse: Lakehouse, activity: Path
) -> None:
    """A month after the move, against the day before it: the flow from the one persona's segment to the other's."""
    before, after = MOVE.since - DAY, FIRST + 89 * DAY
    configure(
        lakehouse, training=dataclasses.replace(lakehouse.settings.pipeline.segmentation.training, every_days=999)
    )
    score(lakehouse, activity, [before, after])
    was, now = segments_of(lakehouse, before), segments_of(lakehouse, after)
    truth, moved = persona_by_user(USERS), persona_by_user(USERS, dataclasses.replace(MOVE, since=FIRST))
    movers = (
        {user for user in truth if truth[user] != moved[user]} & {u for u in was if was[u]} & {u for u in now if now[u]}
    )
    source = majority(was, [user for user in was if truth[user] == MOVE.from_persona])
    target = majority(was, [user for user in was if truth[user] == MOVE.to_persona])
    flow = {user for user in was.keys() & now.keys() if (was[user], now[user]) == (source, target)}
    assert len(movers) > 0.08 * USERS
    assert len(flow & movers) / len(flow) >= 0.8
    assert len(flow & movers) / len(movers) >= 0.8


def majority(segments: dict[str, int], users: list[str]) -> int:
    found = [segments[user] for user in users if segments[user]]
    return max(set(found), key=found.count)
