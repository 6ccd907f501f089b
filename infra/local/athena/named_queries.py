"""The queries of `config/named_queries/`: one file each, its first line a comment that says what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from config import Settings
from config.loader import CONFIG_DIR

if TYPE_CHECKING:
    from mypy_boto3_athena import AthenaClient

FOLDER = CONFIG_DIR / "named_queries"


@dataclass(frozen=True)
class NamedQuery:
    name: str
    description: str
    sql: str


def read_named_queries(settings: Settings) -> dict[str, NamedQuery]:
    """By name, in its order. `{database}` and `{tables.<name>}` in a file are the names of the settings."""
    found = {}
    for file in sorted(FOLDER.glob("*.sql")):
        comment, _, sql = file.read_text(encoding="utf-8").partition("\n")
        text = sql.format(database=settings.paths.database, tables=settings.paths.tables).strip()
        found[file.stem] = NamedQuery(file.stem, comment.removeprefix("--").strip(), text)
    return found


def publish_named_queries(athena: AthenaClient, settings: Settings) -> None:
    """Make Athena's named queries of the primary work group those of the folder; others stay as they are."""
    wanted = read_named_queries(settings)
    existing = {
        query["Name"]: query
        for page in athena.get_paginator("list_named_queries").paginate()
        if page["NamedQueryIds"]
        for query in athena.batch_get_named_query(NamedQueryIds=page["NamedQueryIds"])["NamedQueries"]
    }
    for query in wanted.values():
        known = existing.get(query.name)
        if known and (known["QueryString"], known.get("Description")) == (query.sql, query.description):
            continue
        if known:
            athena.delete_named_query(NamedQueryId=known["NamedQueryId"])
        athena.create_named_query(
            Name=query.name, Description=query.description, Database=settings.paths.database, QueryString=query.sql
        )
