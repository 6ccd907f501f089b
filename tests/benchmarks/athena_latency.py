"""How long Athena's clients wait on one machine: `python -m tests.benchmarks.athena_latency`, on a running stack.

A query on a table of segments is sent to the endpoint and, the same one, to Trino itself. Printed are milliseconds
(median and 95th percentile of the warm runs) and the resident memory of both processes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import boto3
import psutil

from infra.local.athena.trino_client import Trino
from infra.local.layout import Layout, open_layout
from infra.local.supervision import Supervisor

TABLE = "athena_benchmark"
POLL_SECONDS = 0.005
KIB_PER_MIB = 1024
CREATE = f"""
create table iceberg.{{database}}.{TABLE} with (partitioning = array['snapshot_date']) as
select cast(x % 6 as integer) segment_id, cast(x as varchar) user_id, date_add('day', x % 3, date '2025-04-01')
    as snapshot_date
from unnest(sequence(1, 10000)) a(x)
"""
QUERY = f"""
select segment_id, count(*) users from {TABLE} where snapshot_date = date '2025-04-01' group by 1 order by 1
"""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=30)
    runs = parser.parse_args(argv).runs
    layout = open_layout()
    host, ports = layout.stack.bind_host, layout.stack.ports
    trino, database = Trino(host, ports.trino), layout.settings.paths.database
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    athena: Any = boto3.client(  # type: ignore[call-overload]
        "athena", endpoint_url=f"http://{host}:{ports.athena}", region_name=layout.environment.aws.region, **keys
    )
    run_in_trino(trino, f"drop table if exists iceberg.{database}.{TABLE}", database)
    run_in_trino(trino, CREATE.format(database=database), database)
    try:
        for sql, name in (("select 1", "select 1"), (QUERY, "segment counts of one date")):
            direct = measure(partial(run_in_trino, trino, sql, database), runs)
            served = measure(partial(run_in_athena, athena, sql, database), runs)
            print(f"{name}: Trino {describe(direct)}; endpoint {describe(served)}")
        known = athena.list_query_executions(MaxResults=1)["QueryExecutionIds"][0]
        state = measure(partial(athena.get_query_execution, QueryExecutionId=known), runs * 5)
        print(f"GetQueryExecution: {describe(state)}")
    finally:
        run_in_trino(trino, f"drop table iceberg.{database}.{TABLE}", database)
    print_memory(layout)


def measure(call: Callable[[], object], runs: int) -> list[float]:
    """Milliseconds of each run, after as many that only warm up."""
    for _ in range(runs):
        call()
    durations = []
    for _ in range(runs):
        started = time.perf_counter()
        call()
        durations.append((time.perf_counter() - started) * 1000)
    return durations


def describe(durations: Sequence[float]) -> str:
    return f"{statistics.median(durations):.0f} ms, p95 {statistics.quantiles(durations, n=20)[-1]:.0f} ms"


def run_in_trino(trino: Trino, sql: str, database: str) -> list[Any]:
    return [row for page in trino.submit(sql, "awsdatacatalog", database, {}).pages() for row in page]


def run_in_athena(athena: Any, sql: str, database: str) -> None:
    """Start, poll, fetch the first page."""
    context = {"Database": database}
    query = athena.start_query_execution(QueryString=sql, QueryExecutionContext=context)["QueryExecutionId"]
    while True:
        status = athena.get_query_execution(QueryExecutionId=query)["QueryExecution"]["Status"]
        if status["State"] in ("SUCCEEDED", "FAILED", "CANCELLED"):
            break
        time.sleep(POLL_SECONDS)
    if status["State"] != "SUCCEEDED":
        raise RuntimeError(f"{sql.strip()}: {status}")
    athena.get_query_results(QueryExecutionId=query)


def print_memory(layout: Layout) -> None:
    pids = Supervisor(layout).pids()
    for name in ("athena", "trino"):
        if name in pids:
            print(f"{name}: {psutil.Process(pids[name]).memory_info().rss / KIB_PER_MIB**2:.0f} MiB resident")


if __name__ == "__main__":
    main()
