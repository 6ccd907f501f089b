"""`make backfill FROM=2025-04-01 TO=2025-04-30`: the daily DAG over past dates, as one backfill of Airflow.

The runs are those of `airflow backfill create --reprocess-behavior completed`. Every date of the range runs, dates that
ran before included: a run replaces whole partitions. Ctrl-C pauses the backfill: the dates that are running go on to
their end, no other starts. The same command goes on where it is, whether the backfill was paused, the command was
killed, or dates failed: what is done is not done again. After a backfill that succeeded it begins anew.

Exit code: 0 when every date succeeded, 1 when not, 2 for wrong options, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from config import ConfigError, Settings
from config.loader import Schedule
from data_generator.command_line import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, iso_date, positive_count
from infra.local import airflow_runs
from infra.local.airflow_runs import (
    DAG_ID,
    FINISHED,
    AirflowApi,
    Backfill,
    DagRun,
    DateRange,
    RunError,
    Watch,
    explain_failure,
)
from infra.local.backfill_preview import print_preview
from infra.local.java import JavaMissingError
from infra.local.lake_report import print_report
from infra.local.layout import Layout, NoStackError, open_layout

FAILURE_LOG_LINES = 10


class OptionError(Exception):
    """The options ask for what cannot run; the message says what to give instead."""


@dataclass(frozen=True)
class Plan:
    """What the command does: it follows the backfill that is `open`, or starts one of `reprocess_behavior`."""

    open: Backfill | None
    reprocess_behavior: str
    dates: tuple[dt.date, ...]

    def describe(self, wanted: DateRange) -> str:
        dates = (
            f"{wanted.first} to {wanted.last}: {len(self.dates)} {'date' if len(self.dates) == 1 else 'dates'} to run"
        )
        if self.open:
            return f"{dates}; goes on with backfill {self.open.id}, which is {_state(self.open)}"
        if self.reprocess_behavior == "failed":
            return f"{dates}: those that failed in the last backfill of this range; the others are done"
        return dates


def parse_range(settings: Settings, argv: Sequence[str] | None, now: dt.datetime) -> tuple[DateRange, bool]:
    """What is asked for, and whether it is a dry run. Raises OptionError."""
    parser = argparse.ArgumentParser(
        prog="backfill", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--from-date", required=True, type=iso_date, help="first UTC date, YYYY-MM-DD")
    parser.add_argument("--to-date", required=True, type=iso_date, help="last UTC date, included")
    parser.add_argument("--dry-run", action="store_true", help="list the dates and what would change; change nothing")
    parser.add_argument("--force", action="store_true", help="let a job write what it would refuse; the run records it")
    parser.add_argument("--source", choices=("generator", "replay", "external"), help="default: pipeline.yaml")
    parser.add_argument("--events", type=positive_count, help="events of a generated date; default: pipeline.yaml")
    parser.add_argument("--replay-file", type=Path, help="for --source replay; default: pipeline.yaml")
    arguments = parser.parse_args(argv)
    check_dates(arguments.from_date, arguments.to_date, settings.pipeline.schedule, now)
    conf: dict[str, Any] = {}
    if arguments.source:
        conf["event_source"] = arguments.source
    if arguments.events:
        conf["events"] = arguments.events
    if arguments.replay_file:
        if not arguments.replay_file.is_file():
            raise OptionError(f"{arguments.replay_file} is not a file; give a CSV or CSV.gz in REES46's format")
        conf["replay_file"] = str(arguments.replay_file.resolve())
    if arguments.source == "replay" and not (arguments.replay_file or settings.pipeline.source.replay_file):
        raise OptionError("say which file to replay: FILE=events.csv.gz (--replay-file), or source.replay_file")
    if arguments.force:
        conf["force"] = True
    return DateRange(arguments.from_date, arguments.to_date, conf), arguments.dry_run


def check_dates(first: dt.date, last: dt.date, schedule: Schedule, now: dt.datetime) -> None:
    """Raises OptionError for a range that the DAG has no runs for."""
    yesterday = now.date() - dt.timedelta(days=1)
    if first > last:
        raise OptionError(f"FROM={first} is after TO={last}; give the earlier date first")
    if first < schedule.start_date:
        raise OptionError(f"{first} is before {schedule.start_date}, schedule.start_date in config/pipeline.yaml")
    if schedule.end_date and last > schedule.end_date:
        raise OptionError(f"{last} is after {schedule.end_date}, schedule.end_date in config/pipeline.yaml")
    if last > yesterday:
        raise OptionError(f"{last} is not over yet in UTC; the last date that can run is {yesterday}")


def make_plan(api: AirflowApi, wanted: DateRange) -> Plan:
    """Go on with the newest backfill when it is the wanted one and not done, else begin anew.

    Raises RunError when another one is open, of which Airflow allows one for each DAG, or when a date is running
    without a backfill: Airflow would leave it out.
    """
    newest = api.newest_backfill()
    if newest and not newest.is_complete and _all_finished(api.backfill_runs(newest.range.first, newest.range.last)):
        api.wait_for_backfills()
    elif newest and not newest.is_complete:
        if newest.range != wanted:
            raise RunError(
                f"backfill {newest.id} of {_words(newest.range)} is {_state(newest)}, and Airflow allows one at a "
                f"time: finish it with its own command ({_command(newest.range)}), or cancel it at "
                f"{api.url}/dags/{DAG_ID}/backfills"
            )
        runs = api.backfill_runs(wanted.first, wanted.last)
        return Plan(newest, "completed", tuple(run.date for run in runs if run.state not in FINISHED))
    runs = api.backfill_runs(wanted.first, wanted.last)
    if busy := [run for run in runs if run.state not in FINISHED]:
        raise RunError(f"{busy[0].date} is {busy[0].state} outside of a backfill ({busy[0].run_id}): wait for its end")
    is_same = newest is not None and _apart_from_force(newest.range) == _apart_from_force(wanted)
    is_unfinished = is_same and any(run.state == "failed" for run in runs)
    behavior = "failed" if is_unfinished else "completed"
    return Plan(None, behavior, tuple(api.preview_backfill(wanted, behavior)))


def _apart_from_force(wanted: DateRange) -> DateRange:
    """FORCE=1 is for the dates that failed without it: what is done is not done again with it."""
    return dataclasses.replace(wanted, conf={key: value for key, value in wanted.conf.items() if key != "force"})


def run_plan(layout: Layout, api: AirflowApi, wanted: DateRange, plan: Plan) -> list[DagRun]:
    """Start what the plan says, or let it go on, and follow it to its end; returns the run of each date."""
    parallel_dates = layout.settings.pipeline.schedule.parallel_dates
    api.switch_on()
    skipped = {run.run_id for run in api.backfill_runs(wanted.first, wanted.last) if run.date not in plan.dates}
    if plan.open is None:
        backfill_id = api.create_backfill(wanted, plan.reprocess_behavior, parallel_dates)
    else:
        backfill_id, parallel_dates = plan.open.id, plan.open.parallel_dates
        if plan.open.is_paused:
            api.unpause_backfill(backfill_id)
    print(f"backfill {backfill_id}: {api.url}/dags/{DAG_ID}", flush=True)
    return follow(api, wanted, skipped, parallel_dates)


def follow(api: AirflowApi, wanted: DateRange, skipped: set[str], parallel_dates: int) -> list[DagRun]:
    """Print a line for each task that ends, and after each date when the rest will be done, until all dates are.

    Raises RunError when somebody else paused the backfill.
    """
    watch = Watch(api, wanted.first, wanted.last, skipped)
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn())
    told = ""
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        bar = progress.add_task("", total=None)
        while True:
            runs = watch.look()
            unfinished = [run for run in runs if run.state not in FINISHED]
            left = _in_words(estimate_seconds_left(runs, dt.datetime.now(dt.UTC), parallel_dates))
            progress.update(bar, total=len(runs), completed=len(runs) - len(unfinished), description=left)
            done = _count_done(runs)
            if done != told and not console.is_terminal:
                print(f"{done}; {left}" if unfinished else done, flush=True)
                told = done
            if not unfinished:
                return runs
            if all(run.state == "queued" for run in unfinished):
                _check_not_paused(api)
            time.sleep(airflow_runs.POLL_SECONDS)


def _count_done(runs: Sequence[DagRun]) -> str:
    succeeded, failed = (sum(run.state == state for run in runs) for state in FINISHED)
    return f"{succeeded} of {len(runs)} dates are done" + (f", {failed} failed" if failed else "")


def estimate_seconds_left(runs: Sequence[DagRun], now: dt.datetime, parallel_dates: int) -> float | None:
    """From the median of the dates that succeeded; None before the first of them."""
    took = [_seconds(run, now) for run in runs if run.state == "success"]
    unfinished = [run for run in runs if run.state not in FINISHED]
    if not took or not unfinished:
        return None
    median = statistics.median(took)
    spent = sum(min(_seconds(run, now), median) for run in unfinished if run.state == "running")
    return (median * len(unfinished) - spent) / min(parallel_dates, len(unfinished))


def _seconds(run: DagRun, now: dt.datetime) -> float:
    return ((run.ended or now) - run.started).total_seconds() if run.started else 0.0


def _in_words(seconds: float | None) -> str:
    if seconds is None:
        return "the first date will tell how long the others take"
    return f"about {seconds:.0f} s left" if seconds < 120 else f"about {seconds / 60:.0f} min left"


def _check_not_paused(api: AirflowApi) -> None:
    newest = api.newest_backfill()
    if newest and newest.is_paused and not newest.is_complete:
        raise RunError(f"backfill {newest.id} was paused by somebody else; the same command lets it go on")


def pause(api: AirflowApi, wanted: DateRange) -> str:
    """Pause the wanted backfill where it is open; returns what that means."""
    newest = api.newest_backfill()
    if newest is None or newest.is_complete or newest.range != wanted:
        return "interrupted; no date was started"
    api.pause_backfill(newest.id)
    running = [run for run in api.backfill_runs(wanted.first, wanted.last) if run.state == "running"]
    dates = ", ".join(str(run.date) for run in running)
    rest = f"{dates} {'goes' if len(running) == 1 else 'go'} on to the end, no other date starts" if running else ""
    return f"backfill {newest.id} is paused{': ' if rest else ''}{rest}; the same command goes on: {_command(wanted)}"


def report(layout: Layout, api: AirflowApi, wanted: DateRange, runs: Sequence[DagRun]) -> int:
    """What stands in the lake now, then every failed date with the task that failed and the end of its log."""
    failed = [run for run in runs if run.state == "failed"]
    if len(failed) < len(runs):
        print_report(layout.settings, wanted.first, wanted.last)
    for run in failed:
        print(explain_failure(api, run, FAILURE_LOG_LINES), file=sys.stderr)
    if failed:
        dates = ", ".join(str(run.date) for run in failed)
        print(
            f"backfill: {len(failed)} of {len(runs)} dates failed: {dates}; mend the cause, then the same command runs "
            f"them again",
            file=sys.stderr,
        )
    return EXIT_FAILED if failed else EXIT_OK


def _all_finished(runs: Sequence[DagRun]) -> bool:
    return all(run.state in FINISHED for run in runs)


def _state(backfill: Backfill) -> str:
    return "paused" if backfill.is_paused else "running"


def _words(wanted: DateRange) -> str:
    return f"{wanted.first} to {wanted.last}" + (f" with {wanted.conf}" if wanted.conf else "")


def _command(wanted: DateRange) -> str:
    """The command that asks for a range."""
    names = {"event_source": "SOURCE", "events": "EVENTS", "replay_file": "FILE", "force": "FORCE"}
    options = [
        f"{name}={1 if key == 'force' else wanted.conf[key]}" for key, name in names.items() if key in wanted.conf
    ]
    return " ".join(["make backfill", f"FROM={wanted.first}", f"TO={wanted.last}", *options])


def backfill(argv: Sequence[str] | None) -> int:
    """The command; returns its exit code."""
    layout = open_layout()
    wanted, is_dry_run = parse_range(layout.settings, argv, dt.datetime.now(dt.UTC))
    api = AirflowApi(layout)
    try:
        api.wait_for_dag()
        plan = make_plan(api, wanted)
        print(plan.describe(wanted), flush=True)
        if is_dry_run:
            print_preview(layout.settings, wanted, plan.dates, api.backfill_runs(wanted.first, wanted.last))
            return EXIT_OK
        return report(layout, api, wanted, run_plan(layout, api, wanted, plan))
    except KeyboardInterrupt:
        if not is_dry_run:
            print(f"backfill: {pause(api, wanted)}", file=sys.stderr)
        return EXIT_INTERRUPTED


def main(argv: Sequence[str] | None = None) -> int:
    try:
        return backfill(argv)
    except OptionError as error:
        print(f"backfill: {error}", file=sys.stderr)
        return 2
    except (
        ConfigError, NoStackError, JavaMissingError, RunError, requests.RequestException, BotoCoreError, ClientError
    ) as error:  # fmt: skip
        print(f"backfill: {error}", file=sys.stderr)
        return EXIT_FAILED


if __name__ == "__main__":
    # Also where the caller ignores them, as a shell does for what it starts in the background.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    sys.exit(main())
