"""What segments look like: numbers by hand, stories word by word."""

from __future__ import annotations

import dataclasses
from datetime import date

import pytest
from pyspark.sql import DataFrame, SparkSession

from config.loader import NameRule, Phrase, SegmentOverride, SegmentWords
from spark_jobs.lake.tables import SEGMENT_PROFILES
from spark_jobs.segment_profiles import profile_segments

WORDS = SegmentWords(
    names=(NameRule(name="s1", story="They do a.", when={}),),
    unnamed_story="Nobody named them.",
    overrides={3: SegmentOverride(name=None, story="A person knows them.")},
    new_users=SegmentOverride(name="new", story="Hardly known."),
    phrases={"a": Phrase(words="doing a", format=".0%"), "b": Phrase(words="units of b", format=",.1f")},
)
DDL = "segment_id INT, segment_name STRING, model_id STRING, snapshot_date DATE, a DOUBLE, b DOUBLE, c DOUBLE, d DOUBLE"
ROWS = [(1, 0.0, 1.0, 5.0, 0.0), (1, 0.0, 3.0, 5.0, 4.0), (2, 2.0, 2.0, 5.0, 1.0), (2, 2.0, 6.0, 5.0, 4.0)]


def scored(spark: SparkSession, *rows: tuple[float | None, ...]) -> DataFrame:
    return spark.createDataFrame([(n, f"s{n}", "m", date(2025, 4, 1), *values) for n, *values in rows], DDL)


def test_a_profile_ranks_features_by_their_distance_from_all_users(spark: SparkSession) -> None:
    rows = profile_segments(scored(spark, *ROWS), ("c", "d", "b", "a"), WORDS, {})
    first, second = sorted(rows, key=lambda row: row.segment_id)
    assert [*first.asDict()] == SEGMENT_PROFILES.column_names
    assert (first.users, first.users_share, first.segment_name, first.model_id) == (2, 0.5, "s1", "m")
    assert first.centroid == {"a": 0.0, "b": 2.0, "c": 5.0, "d": 2.0}
    assert second.centroid == {"a": 2.0, "b": 4.0, "c": 5.0, "d": 2.5}
    # a: mean 1, deviation 1; b: mean 3, variance 14/4; d: mean 9/4, variance 51/16; c is the same for all.
    deviations = {"a": 1.0, "b": 1 / 3.5**0.5, "d": 0.25 / (51 / 16) ** 0.5}
    for row, sign in ((first, -1), (second, 1)):
        assert row.deviations == pytest.approx({name: sign * value for name, value in deviations.items()} | {"c": 0.0})
        assert [found.feature for found in row.distinctive_features] == ["a", "b", "d"]
        assert [found.standard_deviations for found in row.distinctive_features] == pytest.approx(
            [sign * value for value in deviations.values()]
        )


def test_a_story_is_two_sentences_of_the_rule_and_the_three_features_with_both_numbers(spark: SparkSession) -> None:
    stories = {row.segment_id: row.story for row in profile_segments(scored(spark, *ROWS), tuple("abcd"), WORDS, {})}
    assert stories == {
        1: "They do a. They are below average in doing a (0%, not 100%), units of b (2.0, not 3.0) and "
        "d (2.00, not 2.25).",
        2: "Nobody named them. They are above average in doing a (200%, not 100%), units of b (4.0, not 3.0) and "
        "d (2.50, not 2.25).",
    }


def test_above_and_below_stand_apart_and_a_person_has_the_first_word(spark: SparkSession) -> None:
    rows = [(3, 9.0, 0.0, 5.0, 0.0), (0, 1.0, 8.0, 5.0, 0.0)]
    stories = {row.segment_id: row.story for row in profile_segments(scored(spark, *rows), tuple("ab"), WORDS, {})}
    assert stories[3] == (
        "A person knows them. They are above average in doing a (900%, not 500%), and below average in "
        "units of b (0.0, not 4.0)."
    )
    assert stories[0].startswith("Hardly known. They are above average in units of b (8.0, not 4.0), and below")


def test_a_name_that_a_person_gives_leaves_the_story_of_the_rule(spark: SparkSession) -> None:
    own = dataclasses.replace(WORDS, overrides={1: SegmentOverride(name="Our best", story=None)})
    renamed = scored(spark, *ROWS).replace("s1", "Our best", ["segment_name"])
    rows = profile_segments(renamed, ("a",), own, {1: "s1", 2: "s2"})
    story, name = next((row.story, row.segment_name) for row in rows if row.segment_id == 1)
    assert (story.split(".")[0], name) == ("They do a", "Our best")


def test_users_without_a_value_do_not_count_in_its_mean_and_a_segment_without_any_has_none(spark: SparkSession) -> None:
    rows = [(1, 1.0, None, 0.0, 0.0), (1, 3.0, None, 0.0, 0.0), (2, None, 4.0, 0.0, 0.0)]
    first, second = sorted(profile_segments(scored(spark, *rows), ("a", "b"), WORDS, {}), key=lambda r: r.segment_id)
    assert (first.centroid, second.centroid) == ({"a": 2.0}, {"b": 4.0})


def test_a_segment_of_all_users_is_not_below_their_average_by_its_last_digit(spark: SparkSession) -> None:
    rows = [(1, 0.1, 0.0, 0.0, 0.0), (1, 0.2, 0.0, 0.0, 0.0)]
    assert (0.1 + 0.2) / 2 > 0.15  # a mean as doubles give it
    (profile,) = profile_segments(scored(spark, *rows), ("a",), WORDS, {})
    assert profile.story == "They do a. They are above average in doing a (15%, not 15%)."
    assert str(profile.deviations["a"]) == "0.0"
