"""Which segment a cluster is: the one that it was under the model before, or a new one; and what it is called.

Clusters of two models are matched one-to-one so that the distances between their centroids add up to the least
(Hungarian method, Kuhn 1955), in the space of the older model and over the same users. A match counts where the
centroids are near each other and most members agree; otherwise the cluster is a segment that there has not been.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

from config.loader import Identity, NameRule

NEW_USERS = 0  # the segment id of users with too little history
FAR_AWAY = 1e9  # in standard deviations


@dataclass(frozen=True)
class Segment:
    """Which segment a cluster of K-Means is."""

    cluster: int
    segment_id: int
    segment_name: str


@dataclass(frozen=True)
class Comparison:
    """Clusters of a model (rows) beside those of the one before (columns), over the same users.

    `centroids` are the mean of each row's users in the space of the one before, `centroids_before` those of the
    columns; `members` counts the users that both have. The centroid of a row without users is NaN.
    """

    centroids: npt.NDArray[np.float64]
    centroids_before: npt.NDArray[np.float64]
    members: npt.NDArray[np.int64]

    @property
    def distances(self) -> npt.NDArray[np.float64]:
        """Euclidean, rows x columns; a row without users is as far from every column."""
        return np.nan_to_num(distances_between(self.centroids, self.centroids_before), nan=FAR_AWAY)

    @property
    def overlaps(self) -> npt.NDArray[np.float64]:
        """Users that both clusters have per user that either has (Jaccard index), 0..1."""
        either = self.members.sum(axis=1)[:, None] + self.members.sum(axis=0)[None, :] - self.members
        return np.asarray(self.members / np.maximum(either, 1))


def distances_between(rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Euclidean, from each of `rows` to each of `columns`."""
    return np.asarray(np.linalg.norm(rows[:, None, :] - columns[None, :, :], axis=2))


def match_clusters(comparison: Comparison, identity: Identity) -> dict[int, int]:
    """Cluster -> cluster of the model before, where it is the same segment.

    Near means: at most `max_distance_share` of the distance between the two nearest centroids of the model before.
    """
    distances, overlaps = comparison.distances, comparison.overlaps
    between = distances_between(comparison.centroids_before, comparison.centroids_before)
    np.fill_diagonal(between, np.inf)
    near = identity.max_distance_share * between.min()
    pairs = zip(*linear_sum_assignment(distances), strict=True)
    return {
        int(row): int(column)
        for row, column in pairs
        if distances[row, column] <= near and overlaps[row, column] >= identity.min_overlap
    }


def number_segments(sizes: Mapping[int, int], kept: Mapping[int, int], used_ids: Collection[int]) -> dict[int, int]:
    """Cluster -> segment id: that of `kept` (cluster -> id), else the next ids above all `used_ids`, largest first."""
    following = max([NEW_USERS, *used_ids, *kept.values()]) + 1
    new = sorted((cluster for cluster in sizes if cluster not in kept), key=lambda cluster: (-sizes[cluster], cluster))
    return {**kept, **{cluster: following + position for position, cluster in enumerate(new)}}


def name_segments(
    deviations: Mapping[int, Mapping[str, float]], rules: Sequence[NameRule], taken: Mapping[int, str]
) -> dict[int, str]:
    """Segment id -> name: `taken` stay; then, rule by rule, the segment that meets it most clearly.

    `deviations` gives each segment's features in standard deviations from the mean of all users. What no rule with a
    free name fits is `segment <id>`.
    """
    names = dict(taken)
    for rule in rules:
        if rule.name in names.values():
            continue
        margins = {segment: _margin(features, rule) for segment, features in deviations.items() if segment not in names}
        fitting = {segment: margin for segment, margin in margins.items() if margin > 0}
        if fitting:
            names[max(fitting, key=lambda segment: (fitting[segment], -segment))] = rule.name
    return {segment: names.get(segment, f"segment {segment}") for segment in {*deviations, *taken}}


def _margin(features: Mapping[str, float], rule: NameRule) -> float:
    """By how many standard deviations a segment clears the rule's tightest condition; negative: it does not.

    A feature that is not there is the mean of all users.
    """
    margins = []
    for feature, condition in rule.when.items():
        bound, value = float(condition[1:]), features.get(feature, 0.0)
        margins.append(value - bound if condition[0] == ">" else bound - value)
    return min(margins)
