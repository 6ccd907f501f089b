"""Which plan a statement has, by its first words."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import Tokenizer, TokenType

from infra.local.athena.language import (
    create_table,
    create_table_as,
    databases,
    describe,
    maintenance,
    partitions,
    prepared,
    queries,
    show_create,
    show_tables,
    unload,
    views,
)
from infra.local.athena.language.alter_table import plan_alter_table
from infra.local.athena.language.drop_table import plan_drop_table
from infra.local.athena.language.tokens import Cursor, HiveTokenizer, TrinoTokenizer, leading_words, tokenize
from infra.local.athena.plan import Context, Plan, StatementError

MAXIMUM_BYTES = 262_144
# fmt: off
FIRST_WORDS = (
    "ALTER", "ANALYZE", "CALL", "COMMENT", "COMMIT", "CREATE", "DEALLOCATE", "DELETE", "DENY", "DESC", "DESCRIBE",
    "DROP", "EXECUTE", "EXPLAIN", "GRANT", "INSERT", "MERGE", "PREPARE", "REFRESH", "RESET", "REVOKE", "ROLLBACK",
    "SET", "SHOW", "START", "TRUNCATE", "UNLOAD", "UPDATE", "USE",
)
# fmt: on


def plan_statement(sql: str, context: Context) -> Plan:
    """The steps that do what Athena does for this text.

    Reads Glue where the plan depends on what a table is; never raises for a missing table, except where Athena refuses
    the call itself (DESCRIBE, SHOW COLUMNS). Raises StatementError.
    """
    if len(sql.encode(errors="surrogatepass")) > MAXIMUM_BYTES:
        raise StatementError(
            "1 validation error detected: Value at 'queryString' failed to satisfy constraint: "
            f"Member must have length less than or equal to {MAXIMUM_BYTES}"
        )
    words = leading_words(sql, 4)
    tokenizer = HiveTokenizer if _is_hive(sql, words) else TrinoTokenizer
    try:
        return _planner(sql, words)(_single_statement(sql, tokenizer), context)
    except RecursionError as error:
        raise StatementError("The statement is nested too deeply") from error


def _planner(sql: str, words: tuple[str, ...]) -> Callable[[str, Context], Plan]:
    if words[:2] == ("CREATE", "TABLE"):
        return create_table.plan_create_table if _is_hive(sql, words) else create_table_as.plan_create_table_as
    for count in (3, 2, 1):
        planner = PLANNERS.get(words[:count])
        if planner is not None:
            return planner
    if words and words[0] in FIRST_WORDS:
        return queries.plan_utility
    raise Cursor(sql, TrinoTokenizer).mismatch(*FIRST_WORDS, "<query>")


def _is_hive(sql: str, words: tuple[str, ...]) -> bool:
    """Whether Hive's parser reads the statement, whose strings have escapes."""
    if words[:2] == ("CREATE", "TABLE"):
        try:
            return not create_table_as.is_create_table_as(tokenize(sql, TrinoTokenizer))
        except StatementError:
            return True
    return words[:1] in HIVE_WORDS or words[:2] in HIVE_WORDS


def _single_statement(sql: str, tokenizer: type[Tokenizer]) -> str:
    """The text without what surrounds it: blanks, comments and final semicolons.

    Raises StatementError for several statements.
    """
    tokens = tokenize(sql, tokenizer)
    while tokens and tokens[-1].token_type is TokenType.SEMICOLON:
        tokens.pop()
    if any(token.token_type is TokenType.SEMICOLON for token in tokens):
        raise StatementError(f"Only one sql statement is allowed. Got: {sql}")
    return sql[: tokens[-1].end + 1].strip() if tokens else ""


def _plan_execute(sql: str, context: Context) -> Plan:
    return prepared.plan_execute(sql, context, plan_statement)


PLANNERS: dict[tuple[str, ...], Callable[[str, Context], Plan]] = {
    ("(",): queries.plan_select,
    ("SELECT",): queries.plan_select,
    ("WITH",): queries.plan_select,
    ("VALUES",): queries.plan_select,
    ("TABLE",): queries.plan_select,
    ("INSERT",): queries.plan_insert,
    ("UPDATE",): queries.plan_update,
    ("DELETE",): queries.plan_delete,
    ("MERGE",): queries.plan_merge,
    ("EXPLAIN",): queries.plan_explain,
    ("UNLOAD",): unload.plan_unload,
    ("OPTIMIZE",): maintenance.plan_optimize,
    ("VACUUM",): maintenance.plan_vacuum,
    ("PREPARE",): prepared.plan_prepare,
    ("EXECUTE",): _plan_execute,
    ("DEALLOCATE",): prepared.plan_deallocate,
    ("CREATE", "EXTERNAL"): create_table.plan_create_table,
    ("CREATE", "VIEW"): views.plan_create_view,
    ("CREATE", "OR"): views.plan_create_view,
    ("CREATE", "DATABASE"): databases.plan_create_database,
    ("CREATE", "SCHEMA"): databases.plan_create_database,
    ("DROP", "TABLE"): plan_drop_table,
    ("DROP", "VIEW"): views.plan_drop_view,
    ("DROP", "DATABASE"): databases.plan_drop_database,
    ("DROP", "SCHEMA"): databases.plan_drop_database,
    ("ALTER", "TABLE"): plan_alter_table,
    ("ALTER", "DATABASE"): databases.plan_alter_database,
    ("ALTER", "SCHEMA"): databases.plan_alter_database,
    ("MSCK",): partitions.plan_repair,
    ("DESCRIBE",): describe.plan_describe,
    ("DESC",): describe.plan_describe,
    ("SHOW", "DATABASES"): databases.plan_show_databases,
    ("SHOW", "SCHEMAS"): databases.plan_show_databases,
    ("SHOW", "TABLES"): show_tables.plan_show_tables,
    ("SHOW", "VIEWS"): show_tables.plan_show_views,
    ("SHOW", "COLUMNS"): show_tables.plan_show_columns,
    ("SHOW", "TBLPROPERTIES"): show_tables.plan_show_properties,
    ("SHOW", "PARTITIONS"): partitions.plan_show_partitions,
    ("SHOW", "CREATE", "TABLE"): show_create.plan_show_create_table,
    ("SHOW", "CREATE", "VIEW"): show_create.plan_show_create_view,
    ("SHOW", "FUNCTIONS"): queries.plan_show_functions,
}
HIVE_WORDS = frozenset(
    words
    for words in PLANNERS
    if words[0] in ("ALTER", "DESC", "DESCRIBE", "MSCK", "OPTIMIZE", "VACUUM")
    or (words[0] == "SHOW" and words[1] not in ("CREATE", "FUNCTIONS"))
    or (words[0] in ("CREATE", "DROP") and words[1] in ("EXTERNAL", "DATABASE", "SCHEMA"))
    or words == ("DROP", "TABLE")
)
