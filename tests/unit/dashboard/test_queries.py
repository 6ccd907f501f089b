"""What holds for every file of `dashboard/sql/`: named columns, a filter on the partition, no text put together."""

from __future__ import annotations

import dataclasses
import re

import pytest
import sqlglot
from sqlglot import exp

import config
from dashboard.queries import FOLDER, read_template, render, tables_of
from spark_jobs.lake.tables import TABLES, USER_FEATURES

QUERIES = sorted(file.stem for file in FOLDER.glob("*.sql"))
PARTITIONS = {table.name: table.partition for table in TABLES if table.partition}
PATHS = config.load("local").paths


def parse(query: str) -> exp.Query:
    tree = sqlglot.parse_one(render(query, PATHS, dict.fromkeys(tables_of(query))), dialect="trino")
    assert isinstance(tree, exp.Query)
    return tree


def scans(tree: exp.Expr) -> list[tuple[exp.Table, exp.Select]]:
    """Every table of the lake that is read, and the SELECT that reads it; metadata tables are none."""
    found = [(table, table.find_ancestor(exp.Select)) for table in tree.find_all(exp.Table)]
    return [(table, select) for table, select in found if select is not None and "$" not in table.name]


def conditions(select: exp.Select) -> list[exp.Expr]:
    """The conjuncts of WHERE and of the joins."""
    where = [select.args["where"].this] if select.args.get("where") else []
    joins = [join.args["on"] for join in select.args.get("joins") or [] if join.args.get("on")]
    both = [*where, *joins]
    return [part for found in both for part in (found.flatten() if isinstance(found, exp.And) else [found])]


def is_bound(condition: exp.Expr, column: str, alias: str) -> bool:
    """Whether a conjunct compares the column with parameters and nothing else."""
    if not isinstance(condition, exp.EQ | exp.Between) or condition.this.name != column:
        return False
    values = [condition.args.get(name) for name in ("expression", "low", "high") if condition.args.get(name)]
    return condition.this.table in ("", alias) and all(isinstance(value, exp.Placeholder) for value in values)


def test_there_are_queries() -> None:
    assert len(QUERIES) > 10


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_says_first_what_it_answers(query: str) -> None:
    assert read_template(query).startswith("-- ")


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_names_its_columns(query: str) -> None:
    stars = [star for star in parse(query).find_all(exp.Star) if not isinstance(star.parent, exp.Count)]
    assert not stars


@pytest.mark.parametrize("query", QUERIES)
def test_every_scan_is_bound_to_partitions_by_parameters(query: str) -> None:
    for table, select in scans(parse(query)):
        if column := PARTITIONS.get(table.name):
            found = [part for part in conditions(select) if is_bound(part, column, table.alias)]
            assert found, f"{query} reads {table.name} without a parameter for {column}"


@pytest.mark.parametrize("query", QUERIES)
def test_every_table_is_read_at_the_snapshot_of_the_key(query: str) -> None:
    snapshots = {table: number for number, table in enumerate(tables_of(query), 1000)}
    text = render(query, PATHS, dict(snapshots))
    names = dataclasses.asdict(PATHS.tables)
    for table, snapshot in snapshots.items():
        plain = f"{PATHS.database}.{names[table]}"
        pinned = f"{plain} FOR VERSION AS OF {snapshot}"
        in_metadata = f'{PATHS.database}."{names[table]}$partitions"'
        assert pinned in text or in_metadata in text
        assert not re.search(rf"{re.escape(plain)}\b(?! FOR VERSION AS OF {snapshot}\b)", text)


def test_a_table_without_a_snapshot_is_read_as_it_is() -> None:
    assert "FROM clickstream.pipeline_runs\n" in render("runs", PATHS, {"pipeline_runs": None})


@pytest.mark.parametrize("query", ["sample", "user_features"])
def test_every_number_that_a_model_may_rest_on_is_read(query: str) -> None:
    numbers = {column.name for column in USER_FEATURES.columns if column.type in ("BIGINT", "DOUBLE")}
    assert numbers <= set(parse(query).named_selects)
