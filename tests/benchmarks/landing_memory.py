"""Peak memory of one landing run of a backlog: it must not grow with the backlog.

    python -m tests.benchmarks.landing_memory --sizes 100000,2000000

Each size has a stack of its own, as in `make bench`; the event generator fills the topic with one date.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from rich.table import Table

from infra.local.stack import EXPECTED_ERRORS
from tests.benchmarks.measurement import Measurement, StageError
from tests.benchmarks.run import FIRST_DATE, console, date_commands, fresh_stack, parse_sizes, read_answer, run_stage

SIZES = "100000,2000000"


def measure_landing(events: int) -> Measurement:
    console.rule(f"{events:,} waiting events")
    with fresh_stack() as layout:
        commands = date_commands(layout, FIRST_DATE, events)
        run_stage(layout, "generation", *commands["generation"])
        return run_stage(layout, "landing", *commands["landing"])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="landing_memory", description="Peak memory of a landing at several sizes.")
    parser.add_argument("--sizes", type=parse_sizes, default=SIZES, help="waiting events (default: %(default)s)")
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the stack has to go down with us
    table = Table("waiting events", "landed", "commits", "seconds", "peak MB")
    try:
        for events in arguments.sizes:
            measured = measure_landing(events)
            report = read_answer(measured)
            table.add_row(
                f"{events:,}",
                f"{report['landed']:,}",
                str(report["commits"]),
                f"{measured.seconds:.1f}",
                f"{measured.peak_mb:,.0f}",
            )
    except (StageError, *EXPECTED_ERRORS) as error:
        print(error, file=sys.stderr)
        return 1
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
