"""A Glue catalog and a bucket in memory, and helpers that run what a plan does in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import boto3
import pytest
from moto import mock_aws

from infra.local.athena.language import plan_statement
from infra.local.athena.plan import Context, GlueStep, StatementError, Table, TrinoStep

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_s3 import S3Client

BUCKET = "lake"
PREPARED = {"by_id": "SELECT * FROM t WHERE id = ? AND name = ?"}

Run = Callable[[str], Table]
TrinoStatements = Callable[[str], list[str]]


def prepared_text(name: str) -> str:
    if name not in PREPARED:
        raise StatementError(f"PreparedStatement {name} was not found")
    return PREPARED[name]


@pytest.fixture(scope="session")
def clients() -> tuple[GlueClient, S3Client]:
    """Making a client takes longer than most tests."""
    session = boto3.Session("test", "test", region_name="us-east-1")
    return session.client("glue"), session.client("s3")


@pytest.fixture
def context(clients: tuple[GlueClient, S3Client]) -> Iterator[Context]:
    """The database `db` and the bucket `lake`, both empty."""
    glue, s3 = clients
    with mock_aws():
        glue.create_database(DatabaseInput={"Name": "db"})
        s3.create_bucket(Bucket=BUCKET)
        yield Context(
            query_id="11111111-2222-3333-4444-555555555555",
            catalog="awsdatacatalog",
            database="db",
            output_location="s3://lake/results/",
            glue=glue,
            s3=s3,
            prepared=prepared_text,
        )


@pytest.fixture
def run(context: Context) -> Run:
    """Runs a statement that needs no engine and returns its last step's rows."""

    def run_statement(sql: str) -> Table:
        table = Table((), ())
        for step in plan_statement(sql, context).steps:
            assert isinstance(step, GlueStep)
            table = step.run(context)
        return table

    return run_statement


@pytest.fixture
def trino(context: Context) -> TrinoStatements:
    """What a statement sends to the engine."""

    def statements(sql: str) -> list[str]:
        return [step.sql for step in plan_statement(sql, context).steps if isinstance(step, TrinoStep)]

    return statements
