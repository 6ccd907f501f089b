"""Plots of the segments: each function takes rows of the tables, as dicts, and returns a plotly figure.

A segment has the same colour in every plot and on every date (Okabe and Ito 2008: safe for colour-blind eyes).
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go  # type: ignore[import-untyped]

from spark_jobs.segment_identity import NEW_USERS

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
SYMBOLS = ("circle", "diamond", "square", "cross", "x")  # the next one when the colours begin again
GREY = "#999999"  # who is in no segment, or not yet
TEMPLATE = "plotly_white"
WAS_NO_USER, IS_NO_USER = "was not a user", "is no user any more"

Row = Mapping[str, Any]


def draw_sizes(profiles: Sequence[Row]) -> go.Figure:
    """A bar per row of segment_profiles: its users, labelled with their share of all."""
    labels = _label(_names(profiles))
    bars = go.Bar(
        x=[labels[row["segment_id"]] for row in profiles],
        y=[row["users"] for row in profiles],
        text=[f"{row['users_share']:.1%}" for row in profiles],
        marker={"color": [colour_of(row["segment_id"]) for row in profiles]},
    )
    layout = {"xaxis": {"type": "category"}, "yaxis": {"title": "users", "rangemode": "tozero"}}
    return go.Figure(bars, {"title": "Users by segment", "template": TEMPLATE, **layout})


def draw_profile_heatmap(profiles: Sequence[Row]) -> go.Figure:
    """Segments x features: how far a segment's mean lies from that of all users, in standard deviations.

    A feature without a mean in a segment is left white there.
    """
    labels = _label(_names(profiles))
    features = list(dict.fromkeys(name for row in profiles for name in row["deviations"]))
    values = [[row["deviations"].get(name) for name in features] for row in profiles]
    widest = max((abs(value) for line in values for value in line if value is not None), default=0.0) or 1.0
    heatmap = go.Heatmap(
        x=features,
        y=[labels[row["segment_id"]] for row in profiles],
        z=values,
        zmin=-widest,
        zmid=0,
        zmax=widest,
        colorscale="RdBu_r",
        colorbar={"title": "standard<br>deviations"},
        texttemplate="%{z:.1f}",
        hoverongaps=False,
    )
    layout = {"yaxis": {"type": "category", "autorange": "reversed"}, "height": 300 + 40 * len(profiles)}
    return go.Figure(heatmap, {"title": "What sets the segments apart from all users", "template": TEMPLATE, **layout})


def draw_candidates(candidates: Sequence[Row], chosen_k: int) -> go.Figure:
    """Silhouette and stability of every k tried; a star marks the chosen one. Rows of model_runs.candidates."""
    ordered = sorted(candidates, key=lambda row: row["k"])
    is_chosen = [row["k"] == chosen_k for row in ordered]
    figure = go.Figure(layout={"title": f"Why {chosen_k} clusters: the scores of every k tried", "template": TEMPLATE})
    for score, colour in zip(("silhouette", "stability"), COLOURS, strict=False):
        figure.add_scatter(
            name=score,
            x=[row["k"] for row in ordered],
            y=[row[score] for row in ordered],
            mode="lines+markers",
            line={"color": colour},
            marker={
                "symbol": ["star" if chosen else "circle" for chosen in is_chosen],
                "size": [16 if chosen else 8 for chosen in is_chosen],
            },
        )
    return figure.update_layout(xaxis={"title": "k (star: chosen)", "dtick": 1}, yaxis={"title": "score, at most 1"})


def draw_transitions(transitions: Sequence[Row], names: Mapping[int, str]) -> go.Figure:
    """From each segment of the date before (left) to each of the date (right), those who stay included.

    `names` are the segments' of both dates; rows of segment_transitions.
    """
    labels = _label(names)
    came_from = _in_order(row["from_segment_id"] for row in transitions)
    went_to = _in_order(row["to_segment_id"] for row in transitions)
    left = [WAS_NO_USER if s is None else labels.get(s, f"segment {s}") for s in came_from]
    right = [IS_NO_USER if s is None else labels.get(s, f"segment {s}") for s in went_to]
    links = {
        "source": [came_from.index(row["from_segment_id"]) for row in transitions],
        "target": [len(came_from) + went_to.index(row["to_segment_id"]) for row in transitions],
        "value": [row["users"] for row in transitions],
        "color": [_fade(colour_of(row["from_segment_id"])) for row in transitions],
    }
    nodes = {"label": [*left, *right], "color": [colour_of(segment_id) for segment_id in [*came_from, *went_to]]}
    sankey = go.Sankey(node=nodes, link=links, valueformat=",d", valuesuffix=" users")
    return go.Figure(sankey, {"title": "Where the users of the date before are now", "template": TEMPLATE})


def project(scaled: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], tuple[float, float]] | None:
    """Standardised users x features -> users x the first two principal components, and either's share of the variance.

    None where there are not two users, or not two features, or all users are equal.
    """
    from sklearn.decomposition import PCA  # type: ignore[import-untyped]  # most pages draw without it

    if min(scaled.shape) < 2 or not np.ptp(scaled, axis=0).any():
        return None
    components = PCA(n_components=2, svd_solver="full")
    points = components.fit_transform(scaled)
    first, second = components.explained_variance_ratio_
    return points, (float(first), float(second))


def draw_scatter(points: Sequence[Row], variance_shares: tuple[float, float]) -> go.Figure:
    """Users in the first two principal components, coloured by segment.

    `points` have segment_id, segment_name, x and y; `variance_shares` are what either component explains, 0..1.
    """
    figure = go.Figure(layout={"title": f"{len(points):,} of the users, from afar", "template": TEMPLATE})
    for segment_id, label in sorted(_label(_names(points)).items()):
        own = [row for row in points if row["segment_id"] == segment_id]
        symbol = SYMBOLS[(segment_id - 1) // len(COLOURS) % len(SYMBOLS)]
        figure.add_scatter(
            name=label,
            x=[row["x"] for row in own],
            y=[row["y"] for row in own],
            mode="markers",
            marker={"color": colour_of(segment_id), "symbol": symbol, "size": 6, "opacity": 0.7},
        )
    x, y = (f"principal component {n} ({share:.1%} of the variance)" for n, share in enumerate(variance_shares, 1))
    return figure.update_layout(xaxis={"title": x}, yaxis={"title": y}, showlegend=True)


def _names(rows: Iterable[Row]) -> dict[int, str]:
    return {row["segment_id"]: row["segment_name"] for row in rows}


def label_segments(names: Mapping[int, str]) -> dict[int, str]:
    """Segment id -> what it is shown as; two segments that a person gave one name stay two."""
    seen = Counter(names.values())
    return {segment_id: name if seen[name] == 1 else f"{name} ({segment_id})" for segment_id, name in names.items()}


def colour_of(segment_id: int | None) -> str:
    return GREY if segment_id in (None, NEW_USERS) else COLOURS[(segment_id - 1) % len(COLOURS)]


def _label(names: Mapping[int, str]) -> dict[int, str]:
    """Plotly takes a text for HTML."""
    return {segment_id: html.escape(label, quote=False) for segment_id, label in label_segments(names).items()}


def _in_order(segment_ids: Iterable[int | None]) -> list[int | None]:
    """Each once, ascending; null last."""
    return sorted(set(segment_ids), key=lambda segment_id: (segment_id is None, segment_id or 0))


def _fade(colour: str) -> str:
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.4)"
