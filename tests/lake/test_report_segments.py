"""The report of a lake with a date before the first model and two after it; numbers counted by hand in three_groups."""

from __future__ import annotations

import contextlib
import html
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from spark_jobs import report_segments
from spark_jobs.lake.tables import USER_FEATURES
from spark_jobs.report_segments import ReportError, main
from spark_jobs.segment_models import read_models
from spark_jobs.user_segmentation_ml import segment_dates
from tests.lake.small_frames import open_lake
from tests.lake.three_groups import (
    FIRST,
    IDLE,
    ON_FIRST,
    ON_SECOND,
    SECOND,
    WORDS,
    features_frame,
    write_settings,
)

BEFORE_ANY_MODEL = date(2025, 3, 31)
BEST = "<b>our best</b> [red]"  # markup for a browser, for plotly and for rich


@dataclass(frozen=True)
class Told:
    """What a run of the job has printed and written."""

    code: int
    printed: str
    page: str

    def figure(self, name: str) -> list[dict[str, Any]]:
        """The data that the page hands to plotly.js."""
        start = self.page.index("[", self.page.index(f'Plotly.newPlot(                        "{name}"'))
        data: list[dict[str, Any]] = json.JSONDecoder().raw_decode(self.page[start:])[0]
        return data

    def has_figure(self, name: str) -> bool:
        return f'id="{name}"' in self.page


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three dates with segments; the first has too few users for a model."""
    folder = tmp_path_factory.mktemp("lake")
    with pytest.MonkeyPatch.context() as patch:
        files = write_settings(folder)
        words = WORDS | {"overrides": {3: {"name": BEST, "story": "They & we."}}}
        Path(files["LAKEHOUSE_SEGMENTS"]).write_text(yaml.safe_dump(words), encoding="utf-8")
        for name, file in files.items():
            patch.setenv(name, file)
        few = dict(list(IDLE.items())[:3])
        with open_lake(folder) as lakehouse:
            days = {BEFORE_ANY_MODEL: few, FIRST: ON_FIRST, SECOND: ON_SECOND}
            for day, users in days.items():
                lakehouse.replace_dates(USER_FEATURES, features_frame(lakehouse.spark, users, day), [day])
            list(segment_dates(lakehouse, list(days)))
        yield folder


def run(lake: Path, file: Path, *arguments: str) -> Told:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        code = main([*arguments, "--output-path", str(lake), "--html", str(file)])
    return Told(code, printed.getvalue(), file.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def newest(lake: Path) -> Told:
    return run(lake, lake / "reports" / "segments.html")


@pytest.fixture(scope="module")
def oldest(lake: Path) -> Told:
    return run(lake, lake / "oldest.html", "--date", str(BEFORE_ANY_MODEL))


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("│┃").split("│")]


def test_the_newest_date_is_printed_with_what_has_changed_since_the_date_before(newest: Told, lake: Path) -> None:
    assert newest.code == 0
    lines = [cells(line) for line in newest.printed.splitlines() if line.startswith("│")]
    assert [line[:5] for line in lines if line[0]] == [
        ["1", "segment 1", "6", "40.0%", "+0.0 pp"],
        ["2", "researchers", "6", "40.0%", "+6.7 pp"],
        ["3", BEST, "3", "20.0%", "-6.7 pp"],
    ]
    stories = [line[5] for line in lines if line[0]]
    assert [story.split(".")[0] for story in stories] == ["Nobody has named them", "They search", "They & we"]
    assert "segments of 2025-04-02" in newest.printed
    assert "against 2025-04-01" in newest.printed
    assert f"with plots: {lake / 'reports' / 'segments.html'}" in newest.printed
    assert max(map(len, newest.printed.splitlines()[:-1])) <= 110


def test_the_page_says_which_model_and_why(newest: Told, lake: Path) -> None:
    with open_lake(lake) as lakehouse:
        (model,) = read_models(lakehouse)
    for fact in (
        "<h1>Segments of 2025-04-02</h1>",
        f"<dd>{model.model_id}</dd>",
        "<dd>on 15 users of 2025-04-01 (first)</dd>",
        "<dd>3 clusters: fixed by num_clusters</dd>",
        "<dd>champion from 2025-04-01 on: the first</dd>",
        '<td class="number">6</td><td class="number">40.0%</td><td class="number">+6.7 pp</td>',
    ):
        assert fact in newest.page
    assert 'class="note"' not in newest.page


def test_no_name_is_taken_for_markup(newest: Told) -> None:
    assert "<b>our best" not in newest.page
    assert f"<td>{html.escape(BEST)}</td>" in newest.page
    assert "They &amp; we." in newest.page


def test_the_page_needs_no_network_and_has_plotly_once(newest: Told) -> None:
    assert newest.page.count("plotly.js v") == 1
    assert "<script src" not in newest.page
    assert "<link" not in newest.page.partition("<body>")[0]
    for name in ("sizes", "profiles", "transitions", "candidates", "scatter"):
        assert newest.has_figure(name)


def test_the_plots_show_the_rows_of_the_date(newest: Told) -> None:
    shown = html.escape(BEST)
    (bars,) = newest.figure("sizes")
    assert (bars["x"], bars["y"]) == (["segment 1", "researchers", shown], [6, 6, 3])
    (heatmap,) = newest.figure("profiles")
    assert sorted(heatmap["x"]) == ["events_sum_30d", "purchases_sum_30d", "search_rate_30d"]
    bought = [0] * 12 + [9, 10, 11]  # by the 15 users of the date; the last three are the segment 3
    deviation = (10 - np.mean(bought)) / np.std(bought)
    assert heatmap["z"][2][heatmap["x"].index("purchases_sum_30d")] == pytest.approx(deviation)
    (sankey,) = newest.figure("transitions")
    labels, links = sankey["node"]["label"], sankey["link"]
    moves = zip(links["source"], links["target"], links["value"], strict=True)
    assert {(labels[source], labels[target]): users for source, target, users in moves} == {
        ("segment 1", "segment 1"): 5,
        ("segment 1", "is no user any more"): 1,
        ("researchers", "researchers"): 5,
        ("was not a user", "researchers"): 1,
        (shown, shown): 3,
        (shown, "segment 1"): 1,
    }
    assert [(line["name"], line["x"]) for line in newest.figure("candidates")] == [
        ("silhouette", [3]),
        ("stability", [3]),
    ]
    dots = {line["name"]: len(line["x"]) for line in newest.figure("scatter")}
    assert dots == {"segment 1": 6, "researchers": 6, shown: 3}


def test_the_dots_of_a_segment_lie_together(newest: Told) -> None:
    """The groups are far apart: each dot is nearer to every one of its own segment than to one of another."""
    groups = [np.column_stack([line["x"], line["y"]]) for line in newest.figure("scatter")]

    def distances(one: Any, other: Any) -> Any:
        return np.linalg.norm(one[:, None] - other[None], axis=2)

    within = max(distances(group, group).max() for group in groups)
    between = min(distances(a, b).min() for n, a in enumerate(groups) for b in groups[n + 1 :])
    assert within < between


def test_a_date_before_the_first_model_has_a_report_that_says_what_is_missing(oldest: Told) -> None:
    assert oldest.code == 0
    (line,) = [cells(line) for line in oldest.printed.splitlines() if line.startswith("│ ") and "100.0%" in line]
    assert line[:4] == ["0", "new", "3", "100.0%"]
    for text in (oldest.page, " ".join(oldest.printed.split())):
        assert "No model scored this date: there is neither a choice of k nor a scatter plot." in text
        assert "2025-03-30 has no segments" in text
        assert "against" not in text.partition("<script")[0].partition("with plots")[0]
    assert [name for name in ("candidates", "scatter") if oldest.has_figure(name)] == []
    assert oldest.figure("transitions")[0]["link"]["value"] == [3]


def test_a_model_that_cannot_be_loaded_costs_the_scatter_plot_alone(lake: Path, tmp_path: Path) -> None:
    (artifact,) = (lake / "models").iterdir()
    artifact.rename(tmp_path / "elsewhere")
    try:
        told = run(lake, tmp_path / "segments.html", "--date", str(FIRST))
    finally:
        (tmp_path / "elsewhere").rename(artifact)
    assert told.code == 0
    assert "There is no scatter plot: model kmeans-2025-04-01-k3-" in told.page
    assert [name for name in ("candidates", "scatter") if told.has_figure(name)] == ["candidates"]
    # The date before had another segment only: all of these are gains.
    assert '<td class="number">5</td><td class="number">33.3%</td><td class="number">+33.3 pp</td>' in told.page


def test_the_sample_is_no_larger_than_it_may_be(lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_segments, "SAMPLE_USERS", 4)
    assert sum(len(line["x"]) for line in run(lake, tmp_path / "segments.html").figure("scatter")) == 4


def test_a_date_without_segments_is_named_with_the_remedy(
    lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "segments.html"
    assert main(["--date", "2025-04-03", "--output-path", str(lake), "--html", str(file)]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        "report_segments: user_segments has no users on 2025-04-03, its newest date is 2025-04-02; "
        "run user_segmentation_ml first"
    )
    assert not file.exists()


def test_an_empty_lake_is_named_with_the_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--output-path", str(tmp_path / "empty"), "--html", str(tmp_path / "segments.html")]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == "report_segments: user_segments is empty; run user_segmentation_ml first"


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"cannot be written: Is a directory; name another one with --html"):
        report_segments.write_page(tmp_path, "")


def test_users_who_cannot_be_drawn_leave_a_note(lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_segments, "project", lambda _: None)
    told = run(lake, tmp_path / "without.html")
    assert told.code == 0
    assert "There is no scatter plot: it takes two features, and two users with a segment who differ." in told.page
