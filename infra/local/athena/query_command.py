"""`make query`: one statement in Athena, its rows as a table, what it scanned and how long it took."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table

import config
from config import Settings
from infra.local.athena.named_queries import NamedQuery, read_named_queries

if TYPE_CHECKING:
    from mypy_boto3_athena import AthenaClient
    from mypy_boto3_athena.type_defs import QueryExecutionTypeDef

MOST_ROWS = 200
POLL_SECONDS = 0.1
MOST_COLUMNS_FROM_PIPE = 200


class QueryFailedError(Exception):
    """The statement was refused or failed; the message is Athena's reason."""


def open_athena(settings: Settings) -> AthenaClient:
    """Athena of the environment: its stack's endpoint on one machine, AWS's elsewhere."""
    environment = settings.environment
    stack = environment.stack
    return boto3.client(
        "athena",
        endpoint_url=f"http://{stack.bind_host}:{stack.ports.athena}" if stack else None,
        region_name=environment.aws.region,
        aws_access_key_id=environment.any_credentials,
        aws_secret_access_key=environment.any_credentials,
        config=Config(connect_timeout=5, retries={"total_max_attempts": 2, "mode": "standard"}),
    )


def run_statement(athena: AthenaClient, settings: Settings, sql: str) -> QueryExecutionTypeDef:
    """Wait for a statement. Raises QueryFailedError."""
    identity = athena.start_query_execution(
        QueryString=sql,
        QueryExecutionContext={"Database": settings.paths.database},
        ResultConfiguration={"OutputLocation": f"{settings.paths.athena_results}/"},
    )["QueryExecutionId"]
    while True:
        execution = athena.get_query_execution(QueryExecutionId=identity)["QueryExecution"]
        state = execution["Status"]["State"]
        if state == "SUCCEEDED":
            return execution
        if state in ("FAILED", "CANCELLED"):
            raise QueryFailedError(f"{state}: {execution['Status'].get('StateChangeReason', 'no reason given')}")
        time.sleep(POLL_SECONDS)


def print_result(athena: AthenaClient, execution: QueryExecutionTypeDef, console: Console) -> None:
    """The first rows as a table, and what the statement cost."""
    result = athena.get_query_results(QueryExecutionId=execution["QueryExecutionId"], MaxResults=MOST_ROWS + 1)
    columns = [column["Name"] for column in result["ResultSet"]["ResultSetMetadata"]["ColumnInfo"]]
    rows = [[datum.get("VarCharValue", "") for datum in row["Data"]] for row in result["ResultSet"]["Rows"]]
    if rows and rows[0] == columns:
        rows = rows[1:]
    if columns:
        table = Table(*columns)
        for row in rows:
            table.add_row(*row)
        console.print(table, markup=False)
    more = f"; more at {execution['ResultConfiguration']['OutputLocation']}" if "NextToken" in result else ""
    cost = execution["Statistics"]
    seconds = cost["TotalExecutionTimeInMillis"] / 1000
    console.print(f"{len(rows)} rows{more} · {cost['DataScannedInBytes']:,} bytes scanned · {seconds:.2f} s")


def print_named_queries(queries: Sequence[NamedQuery], console: Console) -> None:
    table = Table("name", "what it answers")
    for query in queries:
        table.add_row(query.name, query.description)
    console.print(table)
    console.print('make query NAME=segments_today    or    make query SQL="SELECT ..."')


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make query", description="Run one statement in Athena.")
    statement = parser.add_mutually_exclusive_group()
    statement.add_argument("--sql", help="the statement")
    statement.add_argument("--name", help="a named query")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    settings = config.load()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else MOST_COLUMNS_FROM_PIPE)
    named = read_named_queries(settings)
    if not arguments.sql and not arguments.name:
        print_named_queries(list(named.values()), console)
        return 0
    if arguments.name and arguments.name not in named:
        print(f"no named query {arguments.name!r}; there are: {', '.join(named)}", file=sys.stderr)
        return 2
    athena = open_athena(settings)
    try:
        execution = run_statement(athena, settings, arguments.sql or named[arguments.name].sql)
        print_result(athena, execution, console)
    except ClientError as error:
        print(f"{error.response['Error']['Code']}: {error.response['Error']['Message']}", file=sys.stderr)
        return 1
    except QueryFailedError as error:
        print(error, file=sys.stderr)
        return 1
    except BotoCoreError as error:
        print(f"Athena does not answer: {error}; is the stack up? `make up` starts it", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
