"""segment_profiles, segment_transitions, model_runs -> a table on the terminal and one HTML file with plots.

Input: the segments of one snapshot date and their profiles on the date before; for the scatter plot a sample of the
date's users with the features that the model reads. Output: no table; an HTML file that needs no network, without
anything about a single user but where a dot lies.

A date from before the first model has profiles and transitions, but neither scores of k nor a scatter plot: the report
says so. It says as well when the scatter plot's model or features can no longer be read.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import html
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table as PrintedTable
from rich.text import Text

import config
from spark_jobs.errors import JobError
from spark_jobs.forgotten_users import read_tombstones
from spark_jobs.lake.failures import explain_failures
from spark_jobs.lake.lakehouse import Lakehouse, open_lakehouse
from spark_jobs.lake.session import persisted
from spark_jobs.lake.tables import SEGMENT_PROFILES, SEGMENT_TRANSITIONS, USER_SEGMENTS, Table
from spark_jobs.segment_charts import (
    draw_candidates,
    draw_profile_heatmap,
    draw_scatter,
    draw_sizes,
    draw_transitions,
    project,
)
from spark_jobs.segment_identity import NEW_USERS
from spark_jobs.segment_models import CHAMPION, ModelError, TrainedModel, load_pipeline, read_models
from spark_jobs.segment_preparation import collect_scaled
from spark_jobs.user_segmentation_ml import SegmentationError, read_features

DAY = dt.timedelta(days=1)
SAMPLE_USERS = 2_000
WIDTH = 110  # columns, where the output is no terminal
STYLE = """
body { font-family: system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse } th, td { padding: .4rem .7rem; border-bottom: 1px solid #ccc; text-align: left }
td.number { text-align: right; white-space: nowrap } dt { font-weight: bold } .note { color: #8a4500 }
"""

Rows = list[dict[str, Any]]


class ReportError(JobError):
    """There is nothing to report; the message names it and the remedy."""


@dataclass(frozen=True)
class Scatter:
    """A row per user of the sample, as draw_scatter takes them, and the share of the variance that each axis shows."""

    points: Rows
    variance_shares: tuple[float, float]


@dataclass(frozen=True)
class Report:
    """All that is told of a date; `notes` say what is missing and why."""

    date: dt.date
    profiles: Rows
    before: Rows
    transitions: Rows
    model: TrainedModel | None
    scatter: Scatter | None
    notes: tuple[str, ...]

    @property
    def header(self) -> tuple[str, ...]:
        change = (f"against {self.date - DAY}",) if self.before else ()
        return ("id", "segment", "users", "share", *change, "story")

    @property
    def lines(self) -> list[tuple[str, ...]]:
        """The profiles as text, in the order of `header`; a change is in percentage points."""
        shares_before = {row["segment_id"]: row["users_share"] for row in self.before}
        lines = []
        for row in self.profiles:
            # Rounded first: a share that has not changed is no -0.0.
            points = round(100 * (row["users_share"] - shares_before.get(row["segment_id"], 0.0)), 1) or 0.0
            change = (f"{points:+.1f} pp",) if self.before else ()
            share = f"{row['users_share']:.1%}"
            lines.append(
                (str(row["segment_id"]), row["segment_name"], f"{row['users']:,}", share, *change, row["story"])
            )
        return lines

    @property
    def names(self) -> dict[int, str]:
        """Of the segments of both dates; a newer name replaces an older one."""
        return {row["segment_id"]: row["segment_name"] for row in [*self.before, *self.profiles]}


def choose_date(lakehouse: Lakehouse, asked: dt.date | None) -> dt.date:
    """The date that is asked for, else the newest one. Raises ReportError where it has no segments."""
    existing = lakehouse.main.list_dates(USER_SEGMENTS)
    if not existing:
        raise ReportError("user_segments is empty; run user_segmentation_ml first")
    date = asked or existing[-1]
    if date not in existing:
        raise ReportError(
            f"user_segments has no users on {date}, its newest date is {existing[-1]}; run user_segmentation_ml first"
        )
    if date not in lakehouse.main.list_dates(SEGMENT_PROFILES):
        raise ReportError(f"segment_profiles has no segments on {date}; run user_segmentation_ml first")
    return date


def read_rows(lakehouse: Lakehouse, table: Table, date: dt.date, *order: str) -> Rows:
    return [
        row.asDict(recursive=True) for row in lakehouse.main.read_dates(table, date, date).orderBy(*order).collect()
    ]


def read_report(lakehouse: Lakehouse, date: dt.date) -> Report:
    """What the tables say of a date that has segments."""
    profiles = read_rows(lakehouse, SEGMENT_PROFILES, date, "segment_id")
    before = read_rows(lakehouse, SEGMENT_PROFILES, date - DAY, "segment_id")
    notes = [] if before else [f"{date - DAY} has no segments: of every user it is said that they were none then."]
    model_id = profiles[0]["model_id"]
    model = next((m for m in read_models(lakehouse) if m.model_id == model_id), None)
    scatter = None
    if model_id is None:
        notes.append("No model scored this date: there is neither a choice of k nor a scatter plot.")
    elif model is None:
        notes.append(f"model_runs has no {model_id} any more: there is neither a choice of k nor a scatter plot.")
    else:
        try:
            scatter = sample_users(lakehouse, date, model)
        except (ModelError, SegmentationError, ReportError) as error:
            notes.append(f"There is no scatter plot: {error}.")
    transitions = read_rows(lakehouse, SEGMENT_TRANSITIONS, date, "from_segment_id", "to_segment_id")
    return Report(date, profiles, before, transitions, model, scatter, tuple(notes))


def sample_users(lakehouse: Lakehouse, date: dt.date, model: TrainedModel) -> Scatter:
    """At most SAMPLE_USERS of the users whom the model knows, the same each time, where it sees them.

    Raises ReportError, ModelError, SegmentationError where they cannot be drawn.
    """
    known = lakehouse.main.read_dates(USER_SEGMENTS, date, date).where(F.col("segment_id") != NEW_USERS)
    chosen = known.orderBy(F.xxhash64("user_id"), "user_id").limit(SAMPLE_USERS)
    features = read_features(lakehouse.main, read_tombstones(lakehouse), date, model.inputs)
    users = features.join(chosen.select("user_id", "segment_id", "segment_name"), "user_id")
    with persisted(load_pipeline(model).transform(users.orderBy("user_id"))) as prepared:
        projected = project(collect_scaled(prepared))
        segments = prepared.select("segment_id", "segment_name").collect()
    if projected is None:
        raise ReportError("it takes two features, and two users with a segment who differ")
    points, variance_shares = projected
    rows = [
        {"segment_id": segment.segment_id, "segment_name": segment.segment_name, "x": float(x), "y": float(y)}
        for segment, (x, y) in zip(segments, points, strict=True)
    ]
    return Scatter(rows, variance_shares)


def print_report(report: Report) -> None:
    table = PrintedTable(title=f"segments of {report.date}")
    for name in report.header:
        is_number = name not in ("segment", "story")
        table.add_column(name, justify="right" if is_number else "left", no_wrap=is_number)
    for line in report.lines:
        table.add_row(*map(Text, line))  # as text: a name may have brackets
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    console.print(table)
    for note in report.notes:
        console.print(Text(note))


def render_html(report: Report) -> str:
    """A whole page, with plotly.js in it."""
    figures = {
        "sizes": draw_sizes(report.profiles),
        "profiles": draw_profile_heatmap(report.profiles),
        "transitions": draw_transitions(report.transitions, report.names),
    }
    facts = {"date": str(report.date), "model": "none yet"}
    if model_id := report.profiles[0]["model_id"]:
        facts["model"] = model_id
    if model := report.model:
        since = f" from {model.champion_from} on" if model.decision == CHAMPION else ""
        facts |= {
            "trained": f"on {model.users:,} users of {model.trained_on} ({model.training_reason})",
            "why k": f"{model.k} clusters: {model.k_reason}",
            "decision": f"{model.decision}{since}: {model.decision_reason}",
        }
        figures["candidates"] = draw_candidates([dataclasses.asdict(c) for c in model.candidates], model.k)
    if report.scatter:
        figures["scatter"] = draw_scatter(report.scatter.points, report.scatter.variance_shares)
    plots = [
        figure.to_html(full_html=False, include_plotlyjs=number == 0, div_id=name, config={"displaylogo": False})
        for number, (name, figure) in enumerate(figures.items())
    ]
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Segments of {report.date}</title>\n<style>{STYLE}</style>\n</head>\n<body>",
            f"<h1>Segments of {report.date}</h1>",
            "<dl>",
            *[f"<dt>{html.escape(name)}</dt><dd>{html.escape(fact)}</dd>" for name, fact in facts.items()],
            "</dl>",
            *[f'<p class="note">{html.escape(note)}</p>' for note in report.notes],
            _render_table(report),
            *plots,
            "</body>\n</html>\n",
        ]
    )


def _render_table(report: Report) -> str:
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in report.header)
    kinds = ["" if name in ("segment", "story") else ' class="number"' for name in report.header]
    rows = [
        "".join(f"<td{kind}>{html.escape(cell)}</td>" for kind, cell in zip(kinds, line, strict=True))
        for line in report.lines
    ]
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def write_page(file: Path, page: str) -> None:
    """Raises ReportError where the file cannot be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ReportError(f"{file} cannot be written: {error.strerror}; name another one with --html") from error


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="report_segments.py", description="Print the segments of a date, and write a report with plots."
    )
    parser.add_argument("--date", type=dt.date.fromisoformat, help="snapshot, YYYY-MM-DD; default: the newest")
    parser.add_argument("--html", type=Path, default=Path("segments.html"), help="file to write (%(default)s)")
    parser.add_argument(
        "--output-path", help="folder of Iceberg tables and models to read, instead of the Glue catalog"
    )
    return parser.parse_args(argv)


@explain_failures
def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    with open_lakehouse("report_segments", config.load(), output_path=args.output_path) as lakehouse:
        report = read_report(lakehouse, choose_date(lakehouse, args.date))
    print_report(report)
    write_page(args.html, render_html(report))
    print(f"with plots: {args.html.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
