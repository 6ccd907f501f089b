"""`make replay FILE=...`: a REES46 dataset through Kafka and the daily DAG, for the dates that it covers."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import requests

from data_generator.dataset_replay import covered_dates
from infra.local.airflow_runs import RunError, run_dates
from infra.local.lake_report import print_report
from infra.local.layout import open_layout


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="replay_file", description=__doc__)
    parser.add_argument("file", type=Path)
    file = parser.parse_args(argv).file.resolve()
    if not file.is_file():
        print(
            f"replay_file: {file} is not a file; give a CSV or CSV.gz: make replay FILE=events.csv.gz", file=sys.stderr
        )
        return 2
    layout = open_layout()
    dates = sorted(covered_dates(file))
    if not dates:
        print(f"replay_file: {file} has no row with a readable event_time", file=sys.stderr)
        return 1
    print(f"{file.name}: {dates[0]} to {dates[-1]}")
    try:
        run_dates(layout, dates[0], dates[-1], {"event_source": "replay", "replay_file": str(file)})
    except (RunError, requests.RequestException) as error:
        print(f"replay_file: {error}", file=sys.stderr)
        return 1
    print_report(layout.settings, dates[0], dates[-1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
