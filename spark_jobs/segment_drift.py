"""Are the users of a date still such as the champion was trained on?

The population stability index of a feature compares its distribution over ten bins: the sum of (now - then) x
ln(now / then). Below 0.1 nothing has moved, above 0.25 it has (Siddiqi, Credit Risk Scorecards, 2006).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from config.loader import Drift

BINS = 10
LEAST_SHARE = 1e-4  # an empty bin counts as this much, or one user would be infinitely many


@dataclass(frozen=True)
class Baseline:
    """What users with a segment look like, in training and on a later date.

    `edges` are the inner bounds of each feature's bins in its own unit, `shares` the share of the users in each bin;
    `segment_shares` the share of each segment id; `distance_mean` the mean distance to the centroid.
    """

    edges: dict[str, list[float]]
    shares: dict[str, list[float]]
    segment_shares: dict[int, float]
    distance_mean: float

    def to_json(self) -> dict[str, Any]:
        """As it stands in model_runs."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        shares = {int(segment): share for segment, share in values["segment_shares"].items()}
        return cls(**{**values, "segment_shares": shares})


def measure_baseline(scored: DataFrame, features: Sequence[str]) -> Baseline:
    """From users with a segment, one row each; equal values share a bin, so that there may be fewer than ten."""
    quantiles = [position / BINS for position in range(1, BINS)]
    row = scored.agg(*[F.percentile_approx(name, quantiles) for name in features]).collect()[0]
    edges = {name: sorted(set(values)) for name, values in zip(features, row, strict=True)}
    return describe_users(count_users(scored, edges), edges)


def count_users(scored: DataFrame, edges: Mapping[str, Sequence[float]]) -> list[Row]:
    """For each segment its id, its users, the sum of their distances, and the users in each bin of `edges`; a bin holds
    its upper edge."""
    counts = [
        F.count_if((F.col(name) > F.lit(low)) & (F.col(name) <= F.lit(high)))
        for name, inner in edges.items()
        for low, high in _bins(inner)
    ]
    per_segment = scored.groupBy("segment_id").agg(F.count("*"), F.sum("distance_to_centroid"), *counts).collect()
    return sorted(per_segment, key=lambda row: int(row.segment_id))


def describe_users(rows: Sequence[Row], edges: dict[str, list[float]]) -> Baseline:
    """What users with a segment look like, from the rows of `count_users`; there has to be one."""
    _, users, distance, *in_bins = (math.fsum(values) for values in zip(*rows, strict=True))
    shares = iter([count / users for count in in_bins])
    return Baseline(
        edges=edges,
        shares={name: [next(shares) for _ in _bins(inner)] for name, inner in edges.items()},
        segment_shares={row.segment_id: row[1] / users for row in rows},
        distance_mean=distance / users,
    )


def population_stability_index(then: Sequence[float], now: Sequence[float]) -> float:
    """Of two distributions over the same bins; 0 where they are equal."""
    before, after = (np.maximum(np.asarray(shares), LEAST_SHARE) for shares in (then, now))
    return float(((after - before) * np.log(after / before)).sum())


def find_drift(scored: DataFrame, baseline: Baseline, limits: Drift) -> list[str]:
    """A sentence for each limit that the users of a date exceed; `scored` has a row for each with a segment."""
    rows = count_users(scored, baseline.edges)
    if not rows:
        return []
    found, now = [], describe_users(rows, baseline.edges)
    for name, then in baseline.shares.items():
        index = population_stability_index(then, now.shares[name])
        if index > limits.max_feature_index:
            found.append(f"{name} has a stability index of {index:.2f}, above {limits.max_feature_index:.2f}")
    for segment in sorted(now.segment_shares.keys() | baseline.segment_shares.keys()):
        before, after = baseline.segment_shares.get(segment, 0.0), now.segment_shares.get(segment, 0.0)
        if abs(after - before) > limits.max_segment_share_change:
            found.append(f"segment {segment} has {after:.1%} of the users instead of {before:.1%}")
    if baseline.distance_mean and now.distance_mean > limits.max_distance_ratio * baseline.distance_mean:
        ratio = now.distance_mean / baseline.distance_mean
        found.append(f"users are {ratio:.2f} times as far from their centroids")
    return found


def _bins(inner: Sequence[float]) -> list[tuple[float, float]]:
    bounds = [float("-inf"), *inner, float("inf")]
    return list(pairwise(bounds))
