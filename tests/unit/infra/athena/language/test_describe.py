"""DESCRIBE, SHOW COLUMNS and SHOW CREATE as Athena prints them."""

from __future__ import annotations

import json
from base64 import b64encode

import pytest

from infra.local.athena.language import plan_statement
from infra.local.athena.plan import Column, Context, FailedStatementError, StatementError
from tests.unit.infra.athena.language.conftest import Run
from tests.unit.infra.athena.language.iceberg import create_iceberg_table

BLANK = " " * 20


def text(run: Run, sql: str) -> str:
    """The result file."""
    return "\n".join("\t".join(value or "" for value in row) for row in run(sql).rows)


def create_view(context: Context) -> None:
    definition = {
        "originalSql": "SELECT\n  1 n\n, 'a' s\n",
        "columns": [{"name": "n", "type": "integer"}, {"name": "s", "type": "varchar(1)"}],
    }
    stored = f"/* Presto View: {b64encode(json.dumps(definition).encode()).decode()} */"
    context.glue.create_table(
        DatabaseName="db", TableInput={"Name": "v", "TableType": "VIRTUAL_VIEW", "ViewOriginalText": stored}
    )


# The service's own answer for this table: 7 rows of 291 bytes.
def test_partitioned_hive_table_is_described_with_padding(run: Run) -> None:
    run("CREATE EXTERNAL TABLE t (n int) PARTITIONED BY (p string) LOCATION 's3://lake/t/'")
    described = text(run, "DESCRIBE t")
    assert described.split("\n") == [
        f"{'n':20}\t{'int':20}\t{BLANK}",
        f"{'p':20}\t{'string':20}\t{BLANK}",
        "\t \t ",
        "# Partition Information\t \t ",
        "# col_name            \tdata_type           \tcomment             ",
        "\t \t ",
        f"{'p':20}\t{'string':20}\t{BLANK}",
    ]
    assert len(described.encode()) == 291
    assert text(run, "DESC `db`.`t`;") == described


def test_long_names_are_not_cut_and_a_comment_ends_at_a_tab(run: Run) -> None:
    run(
        "CREATE EXTERNAL TABLE t (a_name_of_21_letters struct<aa:int,bb:int> COMMENT 'abc', `列名` int COMMENT 'é') "
        "LOCATION 's3://lake/t/'"
    )
    assert text(run, "DESCRIBE t").split("\n") == [
        f"a_name_of_21_letters\tstruct<aa:int,bb:int>\tabc{' ' * 17}",
        f"列名{' ' * 18}\t{'int':20}\té{' ' * 19}",
    ]
    assert text(run, "SHOW COLUMNS IN t") == f"a_name_of_21_letters\n列名{' ' * 18}"
    assert text(run, "DESCRIBE t `列名`") == f"列名{' ' * 18}\t{'int':20}\té{' ' * 19}"


def test_iceberg_table_is_described_with_its_partition_spec(context: Context, run: Run) -> None:
    create_iceberg_table(context)
    assert text(run, "DESCRIBE events").split("\n") == [
        "# Table schema:\t\t",
        "# col_name\tdata_type\tcomment",
        "id\tbigint\tthe user",
        "ts\ttimestamp\t",
        "price\tdecimal(10, 2)\t",
        "tags\tmap<string, int>\t",
        "device\tstruct<os: string, sizes: array<float>>\t",
        "\t\t",
        "# Partition spec:\t\t",
        "# field_name\tfield_transform\tcolumn_name",
        "ts_day\tday\tts",
        "id_bucket\tbucket[16]\tid",
        "price\tidentity\tprice",
    ]
    assert text(run, "SHOW COLUMNS FROM events") == "id\nts\nprice\ntags\ndevice"


def test_view_is_described_with_the_engines_types(context: Context, run: Run) -> None:
    create_view(context)
    for sql in ("DESCRIBE v", "SHOW COLUMNS FROM v IN db"):
        assert plan_statement(sql, context).substatement_type == "DESC_VIEW"
        assert run(sql).columns == (Column("column", "varchar"), Column("type", "varchar"))
        assert text(run, sql) == "n\tinteger\ns\tvarchar(1)"


@pytest.mark.parametrize("sql", ["DESCRIBE nobody", "SHOW COLUMNS IN nobody", "DESC nowhere.t"])
def test_missing_table_is_refused_at_the_start(context: Context, sql: str) -> None:
    with pytest.raises(StatementError, match="Entity Not Found"):
        plan_statement(sql, context)


def test_formatted_description_tells_where_the_table_is(run: Run) -> None:
    run("CREATE EXTERNAL TABLE t (n int) PARTITIONED BY (p int) STORED AS ORC LOCATION 's3://lake/t/'")
    run("ALTER TABLE t ADD PARTITION (p=1) LOCATION 's3://lake/one/'")
    lines = [line.split("\t") for line in text(run, "DESCRIBE FORMATTED t").split("\n")]
    values = {line[0].strip(): line[1].strip() for line in lines if len(line) > 1}
    assert values["Location:"] == "s3://lake/t/"
    assert values["SerDe Library:"] == "org.apache.hadoop.hive.ql.io.orc.OrcSerde"
    assert "s3://lake/one/" in text(run, "DESCRIBE EXTENDED t PARTITION (p=1)")
    with pytest.raises(FailedStatementError, match="Partition not found"):
        run("DESCRIBE t PARTITION (p=2)")


def test_hive_table_is_shown_as_the_statement_that_makes_it(run: Run) -> None:
    run(
        r"CREATE EXTERNAL TABLE t (id int, name string COMMENT 'it\'s') COMMENT 'people' "
        r"PARTITIONED BY (dt string, n int) CLUSTERED BY (id) INTO 2 BUCKETS "
        r"ROW FORMAT DELIMITED FIELDS TERMINATED BY '\t' LOCATION 's3://lake/t/' TBLPROPERTIES ('b'='2', 'a'='1')"
    )
    run("ALTER TABLE t SET TBLPROPERTIES ('transient_lastDdlTime'='1700000000')")
    table = run("SHOW CREATE TABLE t")
    assert table.columns == (Column("createtab_stmt", "string"),)
    assert [row[0] for row in table.rows] == [
        "CREATE EXTERNAL TABLE `t`(",
        "  `id` int, ",
        r"  `name` string COMMENT 'it\'s')",
        "COMMENT 'people'",
        "PARTITIONED BY ( ",
        "  `dt` string, ",
        "  `n` int)",
        "CLUSTERED BY ( ",
        "  id)",
        "INTO 2 BUCKETS",
        "ROW FORMAT SERDE ",
        "  'org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe' ",
        "WITH SERDEPROPERTIES ( ",
        r"  'field.delim'='\t', ",
        r"  'serialization.format'='\t') ",
        "STORED AS INPUTFORMAT ",
        "  'org.apache.hadoop.mapred.TextInputFormat' ",
        "OUTPUTFORMAT ",
        "  'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat'",
        "LOCATION",
        "  's3://lake/t/'",
        "TBLPROPERTIES (",
        "  'a'='1', ",
        "  'b'='2', ",
        "  'transient_lastDdlTime'='1700000000')",
    ]


def test_shown_hive_table_can_be_made_again(context: Context, run: Run) -> None:
    run(
        r"CREATE EXTERNAL TABLE t (a map<string,int> COMMENT 'x\\y') PARTITIONED BY (p int) CLUSTERED BY (b) SORTED BY "
        r"(b ASC) INTO 2 BUCKETS ROW FORMAT DELIMITED FIELDS TERMINATED BY '\001' LOCATION 's3://lake/t/'"
    )
    first = stored_definition(context)
    statement = text(run, "SHOW CREATE TABLE t")
    run("DROP TABLE t")
    run(statement)
    assert stored_definition(context) == first


def stored_definition(context: Context) -> dict[str, object]:
    table = context.glue.get_table(DatabaseName="db", Name="t")["Table"]
    return {key: value for key, value in table.items() if key in ("StorageDescriptor", "PartitionKeys", "Parameters")}


def test_iceberg_table_is_shown_in_athenas_words(context: Context, run: Run) -> None:
    create_iceberg_table(context, properties={"write.parquet.compression-codec": "zstd", "vacuum_x": "1", "other": "2"})
    assert text(run, "SHOW CREATE TABLE events").split("\n") == [
        "CREATE TABLE db.events (",
        "  id bigint COMMENT 'the user',",
        "  ts timestamp,",
        "  price decimal(10,2),",
        "  tags map<string,int>,",
        "  device struct<os:string,sizes:array<float>>)",
        "PARTITIONED BY (`day(ts)`, `bucket(16, id)`, `price`)",
        "LOCATION 's3://lake/events'",
        "TBLPROPERTIES (",
        "  'table_type'='iceberg',",
        "  'format'='parquet',",
        "  'write_compression'='zstd',",
        "  'vacuum_x'='1'",
        ");",
    ]


def test_view_is_shown_line_by_line(context: Context, run: Run) -> None:
    create_view(context)
    table = run('SHOW CREATE VIEW "db"."v";')
    assert table.columns == (Column("create view", "varchar"),)
    assert table.rows == (("CREATE VIEW db.v AS",), ("SELECT",), ("  1 n",), (", 'a' s",))
    with pytest.raises(FailedStatementError, match="is a view"):
        run("SHOW CREATE TABLE v")


def test_missing_view_fails(run: Run) -> None:
    with pytest.raises(FailedStatementError, match=r"Table not found db\.v"):
        run("SHOW CREATE VIEW v")
