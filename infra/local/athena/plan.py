"""What one Athena statement does, as steps: the border between the language and the server.

`plan_statement` in `language` makes a Plan of the text; the executor runs its steps in order and delivers the last
step's rows (or the written files) the way Athena does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_s3 import S3Client


class StatementError(Exception):
    """The text is no statement that Athena takes; the message is what its client is told (InvalidRequestException)."""


class FailedStatementError(Exception):
    """The statement is well formed, but cannot be done (unknown table, ...): the query ends FAILED with this reason.

    `category`: 1 system, 2 user, 3 other; `code`: Athena's error type number.
    """

    def __init__(self, reason: str, category: int = 2, code: int = 1001) -> None:
        super().__init__(reason)
        self.category, self.code = category, code


@dataclass(frozen=True)
class Context:
    """What a statement is planned against.

    `catalog` is "awsdatacatalog" unless the client named another one, `database` is "default" unless named.
    `output_location` is the s3://bucket/prefix/ of the query's results, with a trailing slash. `glue` and `s3` are
    clients on the local endpoint. `prepared` gives the text of a prepared statement by its name and raises
    StatementError for an unknown one; None knows none.
    """

    query_id: str
    catalog: str
    database: str
    output_location: str
    glue: GlueClient
    s3: S3Client
    prepared: Callable[[str], str] | None = None


class Output(Enum):
    """ROWS: <id>.csv with a header. TEXT: <id>.txt, tab-separated, no header. FILES: <id>-manifest.csv of what a CTAS,
    an INSERT or an UNLOAD wrote."""

    ROWS = "csv"
    TEXT = "txt"
    FILES = "manifest"


@dataclass(frozen=True)
class Column:
    """`type` is Athena's name of it: varchar, bigint, decimal(18,4), array(varchar), ..."""

    name: str
    type: str


@dataclass(frozen=True)
class Table:
    """Rows of text, as a Glue step delivers them; None is NULL."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str | None, ...], ...]


@dataclass(frozen=True)
class TrinoStep:
    """One statement for Trino. Catalogs: `awsdatacatalog` (Hive, redirects to Iceberg) and `iceberg` (same Glue).

    `session` holds the session properties to set before it, such as `awsdatacatalog.compression_codec`.
    """

    sql: str
    catalog: Literal["awsdatacatalog", "iceberg"] = "awsdatacatalog"
    session: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class GlueStep:
    """A call on the catalog or on S3. Raises FailedStatementError."""

    run: Callable[[Context], Table]


Step = TrinoStep | GlueStep
# What turns the last step's rows into Athena's text (EXPLAIN, ...); names and values from Trino as text.
Rewrite = Callable[[Sequence[Column], Sequence[Sequence[str | None]]], Table]


@dataclass(frozen=True)
class Plan:
    """`cleanup` runs at the end, however it ended; its errors are logged only. `written_location` goes with FILES: the
    s3:// prefix under which new files are the manifest's, None for no manifest. `prepare` is the prepared statement
    to store (name, text) or to delete (name, None)."""

    statement_type: Literal["DDL", "DML", "UTILITY"]
    substatement_type: str | None
    steps: tuple[Step, ...]
    output: Output
    cleanup: tuple[Step, ...] = ()
    written_location: str | None = None
    rewrite: Rewrite | None = None
    prepare: tuple[str, str | None] | None = None
