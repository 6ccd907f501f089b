"""What the plots show, as numbers in the figure, from rows written by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spark_jobs.segment_charts import (
    draw_candidates,
    draw_profile_heatmap,
    draw_scatter,
    draw_sizes,
    draw_transitions,
    project,
)


def make_profile(segment_id: int, **overrides: Any) -> dict[str, Any]:
    profile = {"segment_id": segment_id, "segment_name": f"segment {segment_id}", "users": 1, "users_share": 0.5}
    return profile | {"deviations": {}} | overrides


def test_a_bar_is_as_high_as_the_segment_has_users_and_says_their_share() -> None:
    figure = draw_sizes([
        make_profile(0, segment_name="new", users=25, users_share=0.25),
        make_profile(2, segment_name="buyers", users=75, users_share=0.75),
    ])  # fmt: skip
    (bars,) = figure.data
    assert (list(bars.x), list(bars.y), list(bars.text)) == (["new", "buyers"], [25, 75], ["25.0%", "75.0%"])
    assert bars.marker.color[0] != bars.marker.color[1]


def test_names_are_shown_as_they_are_written_and_two_of_one_name_stay_two() -> None:
    (bars,) = draw_sizes([
        make_profile(1, segment_name="<b>best</b>"),
        make_profile(2, segment_name="A & B"),
        make_profile(3, segment_name="A & B"),
    ]).data  # fmt: skip
    assert list(bars.x) == ["&lt;b&gt;best&lt;/b&gt;", "A &amp; B (2)", "A &amp; B (3)"]


def test_the_heat_map_is_centred_on_zero_and_leaves_out_what_has_no_mean() -> None:
    figure = draw_profile_heatmap([
        make_profile(1, segment_name="idle", deviations={"carts": -0.5, "price_level": None}),
        make_profile(2, segment_name="buyers", deviations={"carts": 2.0, "searches": 0.25}),
    ])  # fmt: skip
    (heatmap,) = figure.data
    assert list(heatmap.x) == ["carts", "price_level", "searches"]
    assert list(heatmap.y) == ["idle", "buyers"]
    assert [list(line) for line in heatmap.z] == [[-0.5, None, None], [2.0, None, 0.25]]
    assert (heatmap.zmin, heatmap.zmid, heatmap.zmax) == (-2.0, 0, 2.0)
    blue, red = heatmap.colorscale[0][1], heatmap.colorscale[-1][1]
    assert (blue, red) == ("rgb(5,48,97)", "rgb(103,0,31)")


@pytest.mark.parametrize("deviations", [{}, {"carts": 0.0}])
def test_segments_that_are_like_all_users_have_a_heat_map_too(deviations: dict[str, float]) -> None:
    (heatmap,) = draw_profile_heatmap([make_profile(0, deviations=deviations)]).data
    assert (heatmap.zmin, heatmap.zmax) == (-1.0, 1.0)


def test_the_scores_of_every_k_are_drawn_in_order_and_the_chosen_one_is_a_star() -> None:
    candidates = [
        {"k": 3, "silhouette": 0.6, "stability": 0.9},
        {"k": 2, "silhouette": 0.4, "stability": 1.0},
        {"k": 4, "silhouette": 0.5, "stability": 0.2},
    ]
    figure = draw_candidates(candidates, 3)
    drawn = {line.name: (list(line.x), list(line.y), list(line.marker.symbol)) for line in figure.data}
    stars = ["circle", "star", "circle"]
    assert drawn == {
        "silhouette": ([2, 3, 4], [0.4, 0.6, 0.5], stars),
        "stability": ([2, 3, 4], [1.0, 0.9, 0.2], stars),
    }
    assert "3 clusters" in figure.layout.title.text


def test_every_move_is_a_link_and_who_came_and_who_left_have_nodes() -> None:
    moves = [(1, 1, 50), (1, 2, 7), (2, None, 3), (None, 0, 4), (9, 1, 1)]
    rows = [dict(zip(("from_segment_id", "to_segment_id", "users"), move, strict=True)) for move in moves]
    (sankey,) = draw_transitions(rows, {0: "new", 1: "idle", 2: "buyers"}).data
    labels = list(sankey.node.label)
    assert labels == ["idle", "buyers", "segment 9", "was not a user", "new", "idle", "buyers", "is no user any more"]
    links = zip(sankey.link.source, sankey.link.target, sankey.link.value, strict=True)
    assert [(labels[source], labels[target], users) for source, target, users in links] == [
        ("idle", "idle", 50),
        ("idle", "buyers", 7),
        ("buyers", "is no user any more", 3),
        ("was not a user", "new", 4),
        ("segment 9", "idle", 1),
    ]
    assert min(sankey.link.target) == 4  # the right side; nobody flows back to the left
    assert sankey.node.color[0] == sankey.node.color[5]


def test_each_segment_has_its_own_dots_and_the_axes_say_what_they_explain() -> None:
    points = [
        {"segment_id": 2, "segment_name": "buyers", "x": 1.5, "y": -2.0},
        {"segment_id": 9, "segment_name": "idle", "x": 0.0, "y": 0.5},
        {"segment_id": 2, "segment_name": "buyers", "x": 3.0, "y": 4.0},
    ]
    figure = draw_scatter(points, (0.5, 0.125))
    assert {dots.name: (list(dots.x), list(dots.y)) for dots in figure.data} == {
        "buyers": ([1.5, 3.0], [-2.0, 4.0]),
        "idle": ([0.0], [0.5]),
    }
    buyers, idle = (dots.marker for dots in figure.data)
    assert buyers.color == idle.color  # seven colours: the ninth segment has the second's, and another symbol
    assert (buyers.symbol, idle.symbol) == ("circle", "diamond")
    assert figure.layout.xaxis.title.text == "principal component 1 (50.0% of the variance)"
    assert figure.layout.yaxis.title.text == "principal component 2 (12.5% of the variance)"


def test_points_on_a_line_have_one_component() -> None:
    found = project(np.array([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]]))
    assert found is not None
    points, shares = found
    assert shares == pytest.approx((1.0, 0.0))
    assert np.abs(points[:, 0]) == pytest.approx([5.0, 0.0, 5.0])


@pytest.mark.parametrize("shape", [(0, 0), (1, 3), (3, 1), (3, 3)], ids=["nobody", "one user", "one feature", "equal"])
def test_what_has_no_two_components_is_not_drawn(shape: tuple[int, int]) -> None:
    assert project(np.ones(shape)) is None
