"""Charts of the pages: what they show of their frames."""

from __future__ import annotations

import datetime as dt
import tomllib

import pandas as pd  # type: ignore[import-untyped]

from config.loader import PROJECT_ROOT
from dashboard.charts import EVENT_COLOURS, draw_days, draw_funnel, draw_funnels, draw_journey, draw_matrix, draw_stack
from spark_jobs.segment_charts import COLOURS

DAYS = [dt.date(2025, 4, 1), dt.date(2025, 4, 2)]


def test_streamlits_own_charts_have_the_same_colours() -> None:
    theme = tomllib.loads((PROJECT_ROOT / "dashboard" / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
    assert theme["theme"]["chartCategoricalColors"] == list(COLOURS)


def test_days_are_one_line() -> None:
    (line,) = draw_days(pd.DataFrame({"session_date": DAYS, "users": [3, 4]}), "users", "Users", ",d").data
    assert (list(line.x), list(line.y)) == (DAYS, [3, 4])


def test_parts_are_stacked() -> None:
    rows = pd.DataFrame({"event_date": DAYS, "clean": [9, 8], "quarantined": [1, 2]})
    figure = draw_stack(rows, "event_date", {"clean": "clean", "quarantined": "refused"}, "Landed")
    assert figure.layout.barmode == "stack"
    assert {bar.name: list(bar.y) for bar in figure.data} == {"clean": [9, 8], "refused": [1, 2]}


def test_the_funnel_narrows_from_step_to_step() -> None:
    (bars,) = draw_funnel(pd.DataFrame({"step": ["view", "cart"], "sessions": [10, 4]}), "Funnel").data
    assert (list(bars.y), list(bars.x)) == (["view", "cart"], [10, 4])


def test_groups_of_the_funnel_are_shares_and_a_name_is_no_html() -> None:
    steps = {"viewed": [10, 0], "carted": [5, 0], "checked_out": [4, 0], "purchased": [1, 0]}
    figure = draw_funnels(pd.DataFrame({"segment_id": ["leaving <soon>", "new"], **steps}), "segment_id")
    assert [list(bar.x) for bar in figure.data] == [["leaving &lt;soon&gt;", "new"]] * 3
    assert [next(iter(bar.y)) for bar in figure.data] == [0.5, 0.4, 0.1]
    assert all(pd.isna(list(bar.y)[1]) for bar in figure.data)


def test_the_matrix_is_shaded_by_the_share_of_its_row_and_a_name_is_no_html() -> None:
    moves = pd.DataFrame([[6, 2], [0, 0]], ["leaving <soon>", "new"], ["new", "leaving <soon>"])
    (heatmap,) = draw_matrix(moves).data
    assert (heatmap.x, heatmap.y) == (("new", "leaving &lt;soon&gt;"), ("leaving &lt;soon&gt;", "new"))
    assert list(heatmap.z[0]) == [0.75, 0.25]


def test_a_journey_has_dots_by_type_and_a_line_through_each_session() -> None:
    times = pd.date_range("2025-04-01", periods=3, freq="h")
    events = pd.DataFrame(
        {"event_time": times, "event_type": ["view", "cart", "view"], "session_key": ["a", "a", "b"],
         "category_code": [None, "shoes", None]}
    )  # fmt: skip
    line, *dots = draw_journey(events).data
    assert list(line.y) == ["view", "cart", None, "view", None]  # a gap between two sessions
    assert {dot.name: len(dot.x) for dot in dots} == {"view": 2, "cart": 1}
    assert {dot.name: dot.marker.color for dot in dots} == {name: EVENT_COLOURS[name] for name in ("view", "cart")}
