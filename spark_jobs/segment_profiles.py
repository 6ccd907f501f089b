"""What the segments of a date look like: size, centroid in real units, what sets them apart, a story in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from config.loader import Phrase, SegmentWords
from spark_jobs.lake.tables import SEGMENT_PROFILES
from spark_jobs.segment_identity import NEW_USERS

PROFILE = Row(*SEGMENT_PROFILES.column_names)
DISTINCTION = Row("feature", "standard_deviations")
DISTINCTIVE_FEATURES = 3
DIGITS = 9  # the last ones of a sum of doubles depend on the order of the rows


@dataclass(frozen=True)
class Group:
    """Users who have the same `key`, the columns that were grouped by.

    `means` in each feature's own unit, `deviations` from the mean of all users in standard deviations of all users;
    users whose value is null are left out, and a feature that nobody in the group has.
    """

    key: Row
    users: int
    means: dict[str, float]
    deviations: dict[str, float]


def describe_groups(
    users: DataFrame, by: Sequence[str], features: Sequence[str]
) -> tuple[list[Group], dict[str, float]]:
    """The groups, and the mean of each feature over all users, of those that anybody has."""
    means = [F.avg(name).alias(f"mean_{name}") for name in features]
    spreads = [F.stddev_pop(name).alias(f"spread_{name}") for name in features]
    is_everybody = (F.grouping_id() > 0).alias("is_everybody")
    counts = (F.count("*").alias("users"), is_everybody, *means, *spreads)
    rows = users.groupingSets([by, []], *by).agg(*counts).collect()
    everybody = next((row for row in rows if row.is_everybody), None)
    if everybody is None:
        return [], {}
    groups = []
    for row in (row for row in rows if not row.is_everybody):
        found = {name: row[f"mean_{name}"] for name in features if row[f"mean_{name}"] is not None}
        groups.append(
            Group(
                key=row,
                users=row.users,
                means={name: round(value, DIGITS) for name, value in found.items()},
                deviations={name: _deviation(value, everybody, name) for name, value in found.items()},
            )
        )
    # Rounded as the groups' means are: where all are in one group, that group is neither above nor below.
    averages = {name: everybody[f"mean_{name}"] for name in features}
    return groups, {name: round(mean, DIGITS) for name, mean in averages.items() if mean is not None}


def profile_segments(
    scored: DataFrame, features: Sequence[str], words: SegmentWords, given: Mapping[int, str]
) -> list[Row]:
    """One row per segment, in the columns of `segment_profiles`, from the scored users of one date.

    `scored` has segment, name, model and `features` of every user; `given` has, by id, the names that rules gave.
    """
    by = ("segment_id", "segment_name", "model_id", "snapshot_date")
    groups, averages = describe_groups(scored, by, features)
    everybody = sum(group.users for group in groups)
    rows = []
    for group in groups:
        segment_id, segment_name = group.key.segment_id, group.key.segment_name
        ranked = sorted(group.deviations, key=lambda name: (-abs(group.deviations[name]), name))
        distinctive = ranked[:DISTINCTIVE_FEATURES]
        values = {name: group.key[name] for name in by} | {
            "story": f"{introduce(segment_id, given.get(segment_id, segment_name), words)} "
            f"{set_apart(distinctive, group.means, averages, words.phrases)}".strip(),
            "users": group.users,
            "users_share": group.users / everybody,
            "centroid": group.means,
            "deviations": group.deviations,
            "distinctive_features": [DISTINCTION(name, group.deviations[name]) for name in distinctive],
        }
        rows.append(PROFILE(*[values[name] for name in SEGMENT_PROFILES.column_names]))
    return rows


def _deviation(value: float, everybody: Row, name: str) -> float:
    spread = everybody[f"spread_{name}"]
    deviation = round((value - everybody[f"mean_{name}"]) / spread, DIGITS) if spread else 0.0
    return deviation or 0.0  # not -0.0


def introduce(segment_id: int, given_name: str, words: SegmentWords) -> str:
    """The first sentence: a person's for this segment, else that of the rule which gave the name."""
    own = words.new_users if segment_id == NEW_USERS else words.overrides.get(segment_id)
    if own and own.story:
        return own.story
    return {rule.name: rule.story for rule in words.names}.get(given_name, words.unnamed_story)


def set_apart(
    distinctive: Sequence[str],
    centroid: Mapping[str, float],
    averages: Mapping[str, float],
    phrases: Mapping[str, Phrase],
) -> str:
    """The second sentence: in which features they lie above and below the average of all users, with both numbers."""
    sides: dict[str, list[str]] = {"above": [], "below": []}
    for name in distinctive:
        phrase = phrases.get(name) or Phrase(words=name, format=",.2f")
        side = "above" if centroid[name] >= averages[name] else "below"
        sides[side].append(f"{phrase.words} ({centroid[name]:{phrase.format}}, not {averages[name]:{phrase.format}})")
    parts = [f"{side} average in {_join(found)}" for side, found in sides.items() if found]
    return f"They are {', and '.join(parts)}." if parts else ""


def _join(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
