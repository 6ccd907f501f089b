"""Three groups of users that nobody can mix up, as rows of user_features, and settings of their segmentation."""

from __future__ import annotations

import dataclasses
import functools
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from pyspark.sql import DataFrame, SparkSession

from config.loader import CONFIG_DIR
from spark_jobs.lake.lakehouse import Lakehouse
from spark_jobs.lake.notes import REBUILT_SNAPSHOTS
from spark_jobs.lake.tables import USER_FEATURES

Users = dict[str, tuple[int, int, float]]

FIRST, SECOND = date(2025, 4, 1), date(2025, 4, 2)
LOG_FEATURES, RATE = ("events_sum_30d", "purchases_sum_30d"), "search_rate_30d"
FEATURES = (*LOG_FEATURES, RATE)
SEGMENTATION: dict[str, Any] = {
    "num_clusters": 3,
    "choice": {
        "candidates": [2, 3, 4],
        "min_smallest_share": 0.05,
        "min_stability": 0.5,
        "silhouette_tolerance": 0.01,
        "min_inertia_gain": 0.1,
        "sample_users": 1000,
    },
    "seed": 7,
    "num_seeds": 2,
    "max_iterations": 20,
    "min_sessions": 1,
    "winsorised_share": 0.0,
    "model_policy": "as_of",
    "min_distance_gain": 0.1,
    "training": {"every_days": 7, "min_silhouette_gain": 0.02, "needs_approval": False},
    "drift": {"max_feature_index": 9.0, "max_segment_share_change": 0.5, "max_distance_ratio": 9.0},
    "identity": {"max_distance_share": 0.5, "min_overlap": 0.3},
    "log_features": list(LOG_FEATURES),
    "rate_features": {RATE: "clicks_sum_30d"},
}
WORDS = {
    "names": [
        {"name": "buyers", "story": "They buy.", "when": {"purchases_sum_30d": ">0.5"}},
        {"name": "researchers", "story": "They search.", "when": {RATE: ">0.5", "purchases_sum_30d": "<0"}},
    ],
    "unnamed_story": "Nobody has named them.",
    "overrides": {},
    "new_users": {"name": "new", "story": "We hardly know them."},
    "phrases": {RATE: {"words": "searching", "format": ".0%"}},
}

# user -> events, purchases, search rate: six idle ones, five who search, four who buy
IDLE = {f"idle{n}": (events, 0, 0.0) for n, events in enumerate([1, 1, 2, 2, 3, 3])}
SEEKERS = {f"seek{n}": (events, 0, rate) for n, (events, rate) in enumerate([(20, 0.7), (21, 0.75), (22, 0.8), (23, 0.85), (24, 0.9)])}  # fmt: skip  # noqa: E501
BUYERS = {f"buy{n}": (events, bought, 0.1) for n, (events, bought) in enumerate([(40, 9), (44, 10), (48, 11), (52, 10)])}  # fmt: skip  # noqa: E501
ON_FIRST = IDLE | SEEKERS | BUYERS
# On the second date one idle user is gone, one buyer has become idle, and a user who searches is new.
ON_SECOND = {user: row for user, row in ON_FIRST.items() if user != "idle5"} | {"buy3": (2, 0, 0.0), "new": (22, 0, 0.8)}  # fmt: skip  # noqa: E501


def write_settings(folder: Path) -> dict[str, str]:
    """Files with these settings; returns the variables that name them."""
    pipeline = yaml.safe_load((CONFIG_DIR / "pipeline.yaml").read_text(encoding="utf-8"))
    files = {"LAKEHOUSE_PIPELINE": pipeline | {"segmentation": SEGMENTATION}, "LAKEHOUSE_SEGMENTS": WORDS}
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return {name: str(folder / f"{name}.yaml") for name in files}


def features_frame(spark: SparkSession, users: Users, day: date) -> DataFrame:
    """Rows of user_features: one session, 20 clicks on which the rate rests; what the model does not read is 0."""
    zeros = {c.name: 0.0 if c.type == "DOUBLE" else 0 for c in USER_FEATURES.columns}
    rows = [
        zeros
        | {"user_id": user, "snapshot_date": day, "sessions_sum_30d": 1, "clicks_sum_30d": 20}
        | dict(zip(FEATURES, values, strict=True))
        for user, values in users.items()
    ]
    return spark.createDataFrame(
        [tuple(row[name] for name in USER_FEATURES.column_names) for row in rows], USER_FEATURES.ddl
    )


def configure(lakehouse: Lakehouse, **changes: Any) -> None:
    """Other settings of the segmentation."""
    pipeline = lakehouse.settings.pipeline
    segmentation = dataclasses.replace(pipeline.segmentation, **changes)
    lakehouse.settings = dataclasses.replace(
        lakehouse.settings, pipeline=dataclasses.replace(pipeline, segmentation=segmentation)
    )


def rebuild_features(lakehouse: Lakehouse, *days: date, users: Users = ON_FIRST) -> None:
    """As a transform publishes them, with the days in its summary."""
    frames = [features_frame(lakehouse.spark, users, day) for day in days]
    summary = REBUILT_SNAPSHOTS.write(list(days))
    lakehouse.replace_dates(USER_FEATURES, functools.reduce(DataFrame.union, frames), list(days), summary)
