"""Segments beside the truth that only the generator knows."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from sklearn.cluster import KMeans  # type: ignore[import-untyped]
from sklearn.metrics import adjusted_rand_score  # type: ignore[import-untyped]

from data_generator.population import load_personas
from spark_jobs.lake.lakehouse import Lakehouse
from spark_jobs.segment_preparation import collect_scaled
from spark_jobs.segment_training import train_model
from tests.benchmarks.generated_features import generate, read_features, read_personas, write_daily_activity
from tests.quality.conftest import compiled

DAY = dt.timedelta(days=1)
FIRST = dt.date(2025, 4, 1)


def test_auto_finds_the_personas_of_twenty_thousand_users(lakehouse: Lakehouse, tmp_path: Path) -> None:
    """30 days of 150,000 events: an adjusted Rand index of 0.85 at least, the number of personas within one, and no
    more than 0.02 below scikit-learn's K-Means on the same vectors."""
    users, last = 20_000, FIRST + 29 * DAY
    batches = generate(FIRST, 30, events=150_000, users=users)
    with compiled(lakehouse.spark):
        write_daily_activity(lakehouse.spark, batches, tmp_path)
        settings = lakehouse.settings.pipeline.segmentation
        features = read_features(lakehouse.spark, tmp_path, [last]).where(
            f"sessions_sum_30d >= {settings.min_sessions}"
        )
        features = features.persist()
        model, pipeline = train_model(features, last, "first", settings, str(tmp_path))
        scored = pipeline.transform(features).select("user_id", "scaled", "cluster").persist()
        rows = scored.select("user_id", "cluster").collect()
    truth = read_personas(FIRST, users)
    personas = [truth[row.user_id] for row in rows]
    ours = adjusted_rand_score(personas, [row.cluster for row in rows])
    of_scikit_learn = KMeans(model.k, n_init=5, random_state=0).fit_predict(collect_scaled(scored))
    theirs = adjusted_rand_score(personas, of_scikit_learn)
    assert len(rows) > 0.95 * users
    assert abs(model.k - len(load_personas())) <= 1
    assert ours >= 0.85
    assert ours >= theirs - 0.02
    assert theirs < 0.95  # the personas overlap: nobody could tell them apart without error
