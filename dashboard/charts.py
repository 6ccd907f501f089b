"""Charts of the pages: each takes a frame and returns a plotly figure. Those of segments are spark_jobs.segment_charts.

Colours are Okabe and Ito's (2008), safe for colour-blind eyes; backgrounds and texts are left to Streamlit's theme.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd  # type: ignore[import-untyped]
import plotly.graph_objects as go  # type: ignore[import-untyped]
import streamlit as st

from dashboard.sessions import STEPS
from spark_jobs.segment_charts import COLOURS, GREY

BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, YELLOW = COLOURS
EVENT_COLOURS = {
    "page_view": GREY, "search": SKY, "click": YELLOW, "view": BLUE, "cart": ORANGE, "remove_from_cart": PINK,
    "checkout": VERMILION, "purchase": GREEN,
}  # fmt: skip
SLIM = {"margin": {"l": 10, "r": 10, "t": 40, "b": 10}}


def show(figure: go.Figure, description: str, key: str) -> None:
    """A figure in the theme of the page, with its description for who cannot see it."""
    figure.update_layout(template=None, **SLIM)
    st.plotly_chart(figure, key=key, alt=description, config={"displaylogo": False, "responsive": True})


def draw_days(rows: pd.DataFrame, measure: str, title: str, unit_format: str) -> go.Figure:
    """One line over dates; `unit_format` is d3's, of the axis."""
    line = go.Scatter(
        x=rows["session_date"], y=rows[measure], mode="lines+markers", line={"color": BLUE, "width": 2},
        marker={"size": 5},
    )  # fmt: skip
    return go.Figure(line, {"title": title, "yaxis": {"rangemode": "tozero", "tickformat": unit_format}, "height": 260})


def draw_funnel(steps: pd.DataFrame, title: str) -> go.Figure:
    """A row of `count_steps` per bar, labelled with its sessions and their share of the views."""
    bars = go.Funnel(
        y=steps["step"], x=steps["sessions"], texttemplate="%{value:,d}<br>%{percentInitial:.1%}",
        connector={"visible": False}, marker={"color": [BLUE, SKY, ORANGE, GREEN]},
    )  # fmt: skip
    return go.Figure(bars, {"title": title, "height": 300})


def draw_funnels(rows: pd.DataFrame, by: str) -> go.Figure:
    """Share of the sessions of each row that reached each step after the view, a group of bars per row."""
    figure = go.Figure(layout={"barmode": "group", "yaxis": {"tickformat": ".0%", "rangemode": "tozero"}})
    for (column, name), colour in zip(list(STEPS.items())[1:], (SKY, ORANGE, GREEN), strict=True):
        shares = rows[column] / rows["viewed"].where(rows["viewed"] > 0)
        figure.add_bar(name=name, x=_as_texts(rows[by]), y=shares, marker={"color": colour})
    return figure.update_layout(xaxis={"type": "category"}, title="Share of the sessions with a view", height=360)


def draw_matrix(moves: pd.DataFrame) -> go.Figure:
    """Users by segment before (rows) and after (columns); the shade is the share of the row."""
    shares = moves.div(moves.sum(axis=1).where(lambda total: total > 0), axis=0)
    heatmap = go.Heatmap(
        x=_as_texts(moves.columns), y=_as_texts(moves.index), z=shares, text=moves, texttemplate="%{text:,d}",
        colorscale="Cividis", zmin=0, zmax=1, colorbar={"title": "share of<br>the row", "tickformat": ".0%"},
        hovertemplate="%{y} → %{x}: %{text:,d} users, %{z:.1%}<extra></extra>",
    )  # fmt: skip
    axes = {"xaxis": {"type": "category"}, "yaxis": {"type": "category", "autorange": "reversed"}}
    return go.Figure(heatmap, {"title": "Users from (rows) to (columns)", "height": 140 + 44 * len(moves), **axes})


def _as_texts(names: Iterable[object]) -> list[str]:
    """Plotly takes a text for HTML."""
    return [html.escape(str(name), quote=False) for name in names]


def draw_journey(events: pd.DataFrame) -> go.Figure:
    """Events of a user over time, a line of dots for each type; dots of one session are joined."""
    figure = go.Figure(layout={"title": "Events by time (UTC)", "height": 340})
    times: list[object] = []
    kinds: list[str | None] = []
    for _, session in events.groupby("session_key", sort=False):
        times += [*session["event_time"], None]  # null: the line ends
        kinds += [*session["event_type"], None]
    figure.add_scatter(
        x=times, y=kinds, mode="lines", line={"color": GREY, "width": 1}, showlegend=False, hoverinfo="skip"
    )
    for kind in [kind for kind in EVENT_COLOURS if kind in set(events["event_type"])]:
        own = events[events["event_type"] == kind]
        figure.add_scatter(
            name=kind, x=own["event_time"], y=own["event_type"], mode="markers", text=own["category_code"],
            marker={"color": EVENT_COLOURS[kind], "size": 9, "line": {"color": "#333333", "width": 0.5}},
        )  # fmt: skip
    return figure.update_layout(
        showlegend=False, yaxis={"categoryorder": "array", "categoryarray": list(EVENT_COLOURS)}
    )


def draw_stack(rows: pd.DataFrame, x: str, parts: Mapping[str, str], title: str) -> go.Figure:
    """Bars over dates, put together from `parts`: column -> name."""
    figure = go.Figure(layout={"title": title, "barmode": "stack", "height": 320})
    for (column, name), colour in zip(parts.items(), (BLUE, ORANGE, VERMILION, GREEN), strict=False):
        figure.add_bar(name=name, x=rows[x], y=rows[column], marker={"color": colour})
    return figure.update_layout(yaxis={"rangemode": "tozero", "tickformat": ",d", "title": "records"})


def draw_result(rows: pd.DataFrame, x: str, ys: Sequence[str], kind: str) -> go.Figure:
    """Columns of any result over one of them, as `bar` or `line`."""
    figure = go.Figure(layout={"height": 360, "xaxis": {"title": x}})
    for number, column in enumerate(ys):
        colour = COLOURS[number % len(COLOURS)]
        if kind == "bar":
            figure.add_bar(name=column, x=rows[x], y=rows[column], marker={"color": colour})
        else:
            figure.add_scatter(name=column, x=rows[x], y=rows[column], mode="lines+markers", line={"color": colour})
    return figure
