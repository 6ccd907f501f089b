"""Which cluster is which segment, and what it is called; every expected value by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from config.loader import Identity, NameRule
from spark_jobs.segment_identity import Comparison, match_clusters, name_segments, number_segments

STRICT = Identity(max_distance_share=0.5, min_overlap=0.3)


def compare(centroids: list[float], before: list[float], members: list[list[int]]) -> Comparison:
    """On a line."""
    return Comparison(np.array([[x] for x in centroids]), np.array([[x] for x in before]), np.array(members))


def test_the_same_clusters_in_another_order_are_the_same_segments() -> None:
    swapped = compare([10.1, 0.2, 5.0], [0.0, 5.0, 10.0], [[0, 0, 7], [8, 0, 0], [0, 9, 0]])
    assert match_clusters(swapped, STRICT) == {0: 2, 1: 0, 2: 1}


def test_all_distances_together_decide_and_not_the_nearest_pair_first() -> None:
    # Greedy would give 4 to 3 (distance 1) and leave 0 for 6; together 4-6 and 0-3 are nearer: 2 + 3 against 1 + 6.
    comparison = compare([4.0, 0.0], [3.0, 6.0], [[5, 5], [5, 0]])
    loose = Identity(max_distance_share=9, min_overlap=0.1)
    assert match_clusters(comparison, loose) == {0: 1, 1: 0}


def test_a_cluster_far_from_every_old_one_is_new_also_where_one_is_left_for_it() -> None:
    comparison = compare([0.0, 8.0], [0.0, 4.0], [[9, 0], [0, 9]])
    assert match_clusters(comparison, STRICT) == {0: 0}


def test_a_near_cluster_with_other_members_is_new() -> None:
    # Jaccard: cluster 1 shares 2 with column 1, either has 10 + 2 - 2 = 10: a fifth.
    comparison = compare([0.0, 4.0], [0.0, 4.0], [[9, 0], [8, 2]])
    assert comparison.overlaps[1, 1] == pytest.approx(2 / 10)
    assert match_clusters(comparison, STRICT) == {0: 0}


def test_a_cluster_without_users_is_new() -> None:
    assert match_clusters(compare([math.nan, 4.0], [0.0, 4.0], [[0, 0], [3, 9]]), STRICT) == {1: 1}


def test_of_fewer_clusters_each_is_matched_once_and_of_more_the_nearest() -> None:
    assert match_clusters(compare([0.0], [0.0, 4.0], [[9, 1]]), STRICT) == {0: 0}
    assert match_clusters(compare([0.0, 0.4, 4.0], [0.0, 4.0], [[6, 0], [3, 0], [0, 5]]), STRICT) == {0: 0, 2: 1}


def test_kept_ids_stay_and_new_ones_follow_the_highest_that_ever_was_by_size() -> None:
    sizes = {0: 10, 1: 30, 2: 20}
    assert number_segments(sizes, {0: 2}, [1, 2, 7]) == {0: 2, 1: 8, 2: 9}
    assert number_segments(sizes, {}, []) == {1: 1, 2: 2, 0: 3}


def rule(name: str, **when: str) -> NameRule:
    return NameRule(name=name, story="", when=when)


def test_each_name_goes_to_the_segment_that_meets_its_rule_most_clearly() -> None:
    deviations = {1: {"bought": 0.8}, 2: {"bought": 2.0}, 3: {"bought": -1.0}}
    rules = (rule("buyers", bought=">0.5"), rule("some buyers", bought=">0"), rule("lookers", bought="<-0.5"))
    assert name_segments(deviations, rules, {}) == {1: "some buyers", 2: "buyers", 3: "lookers"}


def test_a_name_is_given_once_and_what_no_rule_fits_keeps_its_number() -> None:
    deviations = {1: {"bought": 1.0}, 2: {"bought": 1.5}, 3: {"bought": 0.5}}
    rules = (rule("buyers", bought=">0.5"),)
    assert name_segments(deviations, rules, {}) == {1: "segment 1", 2: "buyers", 3: "segment 3"}


def test_a_segment_that_goes_on_keeps_its_name_whatever_the_rules_say_now() -> None:
    deviations = {1: {"bought": 1.0}, 4: {"bought": 1.5}}
    assert name_segments(deviations, (rule("buyers", bought=">0.5"),), {1: "buyers"}) == {1: "buyers", 4: "segment 4"}


def test_the_tightest_condition_of_a_rule_decides_and_of_two_equally_clear_segments_the_first() -> None:
    deviations = {1: {"bought": 3.0, "left": 0.4}, 2: {"bought": 1.0, "left": 0.0}, 3: {"bought": 9.0, "left": 0.6}}
    rules = (rule("loyal", bought=">0.5", left="<0.5"),)
    assert name_segments(deviations, rules, {}) == {1: "segment 1", 2: "loyal", 3: "segment 3"}
    assert name_segments({2: {"x": 1.0}, 1: {"x": 1.0}}, (rule("a", x=">0"),), {}) == {1: "a", 2: "segment 2"}


def test_a_feature_that_was_left_out_is_the_mean_of_all_users() -> None:
    rules = (rule("cheap", price="<-0.5"), rule("any price", price=">-0.5"))
    assert name_segments({1: {}}, rules, {}) == {1: "any price"}
