"""`make bench`: what one date costs at several sizes, and beside it a script written by hand.

    python -m tests.benchmarks.run --sizes 100000,1000000

Each size has a stack of its own (Kafka, S3 and Glue, on free ports, in a temporary folder), because landing takes all
that waits in the topic. Each stage is a process of its own, as cold as by hand. Nothing is asserted about times; only
counts that differ from the reference's make the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from infra.local.environment import service_environment
from infra.local.layout import Layout, open_layout
from infra.local.services import services
from infra.local.stack import EXPECTED_ERRORS, down, start_services
from infra.local.supervision import Supervisor
from tests.benchmarks.measurement import Measurement, StageError, add_up, measure
from tests.running_stack import write_environment

SIZES = (100_000, 1_000_000, 5_000_000)
FIRST_DATE, SECOND_DATE = "2025-04-01", "2025-04-02"
NEEDED_SERVICES = ("kafka", "aws")
LARGEST_REFERENCE = 1_000_000  # it holds everything in memory
REFERENCE = "DuckDB + scikit-learn"

console = Console(width=110, highlight=False)


@dataclass(frozen=True)
class SizeResult:
    """The stages of one date of `events` events, in their order, and what the lake holds of it afterwards."""

    events: int
    stages: list[Measurement]
    counts: dict[str, int]


@contextmanager
def fresh_stack() -> Iterator[Layout]:
    """Kafka, S3 and Glue without any content; gone at the end. PostgreSQL and Airflow would only take memory."""
    with tempfile.TemporaryDirectory(prefix="lakehouse-benchmark-", ignore_cleanup_errors=True) as folder:
        os.environ["LAKEHOUSE_ENV"] = str(write_environment(Path(folder)))
        layout = open_layout()
        needed = [service for service in services(layout) if service.name in NEEDED_SERVICES]
        supervisor = Supervisor(layout)
        try:
            supervisor.start(needed)
            start_services(layout, supervisor, needed)
            yield layout
        finally:
            down(layout)


def run_stage(layout: Layout, stage: str, *command: str) -> Measurement:
    """One command against the stack, measured and told at once: the largest size takes minutes."""
    console.print(f"  {stage} ...", end=" ")
    done = measure(stage, command, service_environment(layout, os.environ), layout.logs)
    console.print(f"{done.seconds:.1f} s")
    return done


def submit(layout: Layout, job: str, *options: str) -> tuple[str, ...]:
    return ("spark-submit", "--master", layout.environment.spark.master, f"spark_jobs/{job}.py", *options)


def date_commands(layout: Layout, date: str, events: int) -> dict[str, tuple[str, ...]]:
    """The four stages of one date, in their order."""
    return {
        "generation": ("python", "data_generator/event_producer.py", "--date", date, "--events", str(events)),
        "landing": submit(layout, "land_raw_events", "--run-date", date),
        "transform": submit(layout, "transform_clickstream", "--start-date", date),
        "segmentation": submit(layout, "user_segmentation_ml", "--start-date", date),
    }


def run_date(layout: Layout, date: str, events: int) -> list[Measurement]:
    """Each stage its own process."""
    commands = date_commands(layout, date, events)
    return [run_stage(layout, stage, *command) for stage, command in commands.items()]


def with_totals(stages: Sequence[Measurement]) -> list[Measurement]:
    return [*stages, add_up("Kafka to segments", stages[1:]), add_up("whole", stages)]


def read_answer(measured: Measurement) -> Any:
    """What a command of ours printed as JSON, on its last line."""
    return json.loads(measured.output.strip().splitlines()[-1])


def print_stages(title: str, events: int, stages: Sequence[Measurement]) -> None:
    table = Table("stage", title=title, title_justify="left")
    for name in ("seconds", "events/s", "processor s", "peak MB"):
        table.add_column(name, justify="right")
    for row in stages:
        rate = f"{events / row.seconds:,.0f}"
        table.add_row(row.stage, f"{row.seconds:.1f}", rate, f"{row.cpu_seconds:.1f}", f"{row.peak_mb:,.0f}")
    console.print(table)


def print_growth(results: Sequence[SizeResult]) -> None:
    """Seconds of each stage at one size over those at the size before, beside the ratio of the sizes."""
    table = Table("growth of seconds", title="from size to size", title_justify="left")
    steps = list(pairwise(results))
    for before, after in steps:
        table.add_column(f"{before.events:,} to {after.events:,}", justify="right")
    table.add_row("events", *[f"x {after.events / before.events:.1f}" for before, after in steps])
    for rows in zip(*[with_totals(result.stages) for result in results], strict=True):
        cells = []
        for (before, after), (one, other) in zip(steps, pairwise(rows), strict=True):
            growth = other.seconds / one.seconds
            is_faster = growth > after.events / before.events
            cells.append(f"x {growth:.1f}" + (" [red]faster than its input[/red]" if is_faster else ""))
        table.add_row(rows[0].stage, *cells)
    console.print(table)


def compare_with_reference(layout: Layout, result: SizeResult) -> bool:
    """Run the script by hand on the same topic, print the ratio; true when its counts are the pipeline's."""
    command = ("python", "-m", "tests.benchmarks.duckdb_reference", "--date", FIRST_DATE)
    reference = run_stage(layout, REFERENCE, *command)
    answer = read_answer(reference)
    pipeline = add_up("Kafka to segments", result.stages[1:])
    print_stages(f"by hand, {result.events:,} events", result.events, [pipeline, reference])
    console.print(f"Kafka to segments takes {pipeline.seconds / reference.seconds:.1f} times as long as {REFERENCE}")
    steps = ", ".join(f"{step} {seconds:.1f}" for step, seconds in answer["steps"].items())
    console.print(f"{REFERENCE} without the start of Python: {answer['seconds']:.1f} s ({steps})")
    console.print(f"its counts: {format_counts(answer['counts'])}")
    is_same = bool(answer["counts"] == result.counts)
    console.print("the same as the pipeline's" if is_same else "[bold red]NOT THE PIPELINE'S: one of them is wrong[/]")
    return is_same


def format_counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def run_size(events: int, has_reference: bool, has_second_date: bool) -> tuple[SizeResult, bool]:
    """Everything that is measured at one size, on one stack; false when the reference's counts differ."""
    console.rule(f"{events:,} events")
    with fresh_stack() as layout:
        stages = run_date(layout, FIRST_DATE, events)
        counted = run_stage(layout, "count", "python", "-m", "tests.benchmarks.lake_counts", FIRST_DATE)
        result = SizeResult(events, stages, read_answer(counted))
        print_stages(f"{events:,} events of {FIRST_DATE}, cold", events, with_totals(stages))
        console.print(f"the generator says: {stages[0].output.splitlines()[0]}")
        console.print(f"in the lake: {format_counts(result.counts)}")
        is_same = compare_with_reference(layout, result) if has_reference else True
        if has_second_date:
            second = run_date(layout, SECOND_DATE, events)
            print_stages(f"{events:,} more events: {SECOND_DATE}, a second date", events, with_totals(second))
            extra = add_up("", second).seconds - add_up("", stages).seconds
            console.print(f"the second date takes {extra:+.1f} s against the first")
            # What the daily DAG does instead: the second date brought late events of the first.
            late = submit(layout, "transform_clickstream", "--start-date", SECOND_DATE, "--late-dates", FIRST_DATE)
            again = run_stage(layout, "transform with late date", *late)
            console.print(f"transform of the second date with the first one rebuilt: {again.seconds:.1f} s")
    return result, is_same


def parse_sizes(text: str) -> list[int]:
    sizes = sorted({int(part) for part in text.split(",")})
    if sizes[0] < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: a size is a positive number of events")
    return sizes


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description="Measure the pipeline at several sizes.")
    parser.add_argument(
        "--sizes",
        type=parse_sizes,
        default=list(SIZES),
        help="events of a date, comma-separated (default: %(default)s)",
    )
    parser.add_argument(
        "--reference",
        action=argparse.BooleanOptionalAction,
        default=True,
        help=f"compare with {REFERENCE}, up to {LARGEST_REFERENCE:,} events",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the stack has to go down with us
    load = ", ".join(f"{value:.1f}" for value in psutil.getloadavg())
    memory = psutil.virtual_memory()
    console.print(
        f"{psutil.cpu_count()} cores, {memory.total / 2**30:.1f} GiB of memory, {memory.available / 2**30:.1f} free; "
        f"load before the start: {load}"
    )
    results, is_same = [], True
    try:
        for number, events in enumerate(arguments.sizes):
            has_reference = arguments.reference and events <= LARGEST_REFERENCE
            result, agrees = run_size(events, has_reference, has_second_date=number == 0)
            results.append(result)
            is_same = is_same and agrees
    except (StageError, *EXPECTED_ERRORS) as error:
        print(error, file=sys.stderr)
        return 1
    if len(results) > 1:
        print_growth(results)
    return 0 if is_same else 1


if __name__ == "__main__":
    sys.exit(main())
