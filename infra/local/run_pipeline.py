"""`make run`: the daily DAG over a few dates of generated events, through the real scheduler, then a table."""

from __future__ import annotations

import argparse
import datetime as dt
import sys

import requests

from infra.local.airflow_runs import DAG_ID, RunError, run_dates
from infra.local.lake_report import print_report
from infra.local.layout import open_layout

FIRST_DATE, LAST_DATE = dt.date(2025, 4, 1), dt.date(2025, 4, 3)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="run_pipeline", description=__doc__)
    parser.add_argument("--from-date", type=dt.date.fromisoformat, default=FIRST_DATE)
    parser.add_argument("--to-date", type=dt.date.fromisoformat, default=LAST_DATE)
    parser.add_argument("--events", type=int, help="events of a date; default: pipeline.yaml")
    args = parser.parse_args(argv)
    layout = open_layout()
    conf: dict[str, object] = {"event_source": "generator"}
    if args.events:
        conf["events"] = args.events
    try:
        run_dates(layout, args.from_date, args.to_date, conf)
    except (RunError, requests.RequestException) as error:
        print(f"run_pipeline: {error}", file=sys.stderr)
        return 1
    print_report(layout.settings, args.from_date, args.to_date)
    url = f"http://{layout.stack.bind_host}:{layout.stack.ports.airflow}/dags/{DAG_ID}"
    print(f"See the runs at {url} (user admin, password {layout.credentials.airflow_admin_password})")
    print('Your own tools: eval "$(make -s env)"')
    return 0


if __name__ == "__main__":
    sys.exit(main())
