"""CREATE EXTERNAL TABLE in Glue, and CREATE TABLE of an Iceberg table for the engine."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local.athena.language import plan_statement
from infra.local.athena.plan import Context, FailedStatementError, StatementError, TrinoStep
from tests.unit.infra.athena.language.conftest import Run, TrinoStatements

TEXT_INPUT = "org.apache.hadoop.mapred.TextInputFormat"
TEXT_OUTPUT = "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat"
LAZY_SIMPLE = "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe"


def get_table(context: Context, name: str) -> Any:
    return context.glue.get_table(DatabaseName="db", Name=name)["Table"]


def test_external_table_is_stored_as_athena_stores_it(context: Context, run: Run) -> None:
    run(
        r"""
        CREATE EXTERNAL TABLE IF NOT EXISTS db.Orders (
          id BIGINT COMMENT 'it\'s the key',
          items ARRAY<STRUCT<name: STRING, price: DECIMAL(10,2)>>
        )
        COMMENT 'two
           lines'
        PARTITIONED BY (dt STRING COMMENT 'day', hour INT)
        CLUSTERED BY (id) SORTED BY (id DESC) INTO 4 BUCKETS
        ROW FORMAT DELIMITED FIELDS TERMINATED BY '\t' ESCAPED BY '\\' COLLECTION ITEMS TERMINATED BY '|'
          MAP KEYS TERMINATED BY ':' LINES TERMINATED BY '\n' NULL DEFINED AS 'nil'
        STORED AS TEXTFILE
        LOCATION 's3://lake/orders/'
        TBLPROPERTIES ("skip.header.line.count"="1", 'projection.enabled' = 'true')
        """
    )
    table = get_table(context, "orders")
    assert table["TableType"] == "EXTERNAL_TABLE"
    assert table["PartitionKeys"] == [
        {"Name": "dt", "Type": "string", "Comment": "day"},
        {"Name": "hour", "Type": "int"},
    ]
    assert table["Parameters"].pop("transient_lastDdlTime").isdecimal()
    assert table["Parameters"] == {
        "EXTERNAL": "TRUE",
        "comment": "two lines",
        "skip.header.line.count": "1",
        "projection.enabled": "true",
    }
    assert table["StorageDescriptor"] == {
        "Columns": [
            {"Name": "id", "Type": "bigint", "Comment": "it's the key"},
            {"Name": "items", "Type": "array<struct<name:string,price:decimal(10,2)>>"},
        ],
        "Location": "s3://lake/orders/",
        "InputFormat": TEXT_INPUT,
        "OutputFormat": TEXT_OUTPUT,
        "Compressed": False,
        "NumberOfBuckets": 4,
        "SerdeInfo": {
            "SerializationLibrary": LAZY_SIMPLE,
            "Parameters": {
                "field.delim": "\t",
                "serialization.format": "\t",
                "escape.delim": "\\",
                "collection.delim": "|",
                "mapkey.delim": ":",
                "line.delim": "\n",
                "serialization.null.format": "nil",
            },
        },
        "BucketColumns": ["id"],
        "SortColumns": [{"Column": "id", "SortOrder": 0}],
        "Parameters": {},
        "StoredAsSubDirectories": False,
    }


@pytest.mark.parametrize(
    ("clauses", "serde", "input_format", "output_format"),
    [
        ("", LAZY_SIMPLE, TEXT_INPUT, TEXT_OUTPUT),
        (
            "STORED AS PARQUET",
            "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
            "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
            "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
        ),
        (
            "STORED AS orc",
            "org.apache.hadoop.hive.ql.io.orc.OrcSerde",
            "org.apache.hadoop.hive.ql.io.orc.OrcInputFormat",
            "org.apache.hadoop.hive.ql.io.orc.OrcOutputFormat",
        ),
        (
            "ROW FORMAT SERDE 'org.apache.hadoop.hive.serde2.avro.AvroSerDe' STORED AS AVRO",
            "org.apache.hadoop.hive.serde2.avro.AvroSerDe",
            "org.apache.hadoop.hive.ql.io.avro.AvroContainerInputFormat",
            "org.apache.hadoop.hive.ql.io.avro.AvroContainerOutputFormat",
        ),
        (
            "ROW FORMAT SERDE 'org.apache.hadoop.hive.serde2.OpenCSVSerde' WITH SERDEPROPERTIES ('quoteChar'='\"')",
            "org.apache.hadoop.hive.serde2.OpenCSVSerde",
            TEXT_INPUT,
            TEXT_OUTPUT,
        ),
        (
            "ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'",
            "org.openx.data.jsonserde.JsonSerDe",
            TEXT_INPUT,
            "org.apache.hadoop.hive.ql.io.IgnoreKeyTextOutputFormat",
        ),
        (
            "ROW FORMAT SERDE 'com.amazonaws.glue.serde.GrokSerDe' STORED AS INPUTFORMAT 'in' OUTPUTFORMAT 'out'",
            "com.amazonaws.glue.serde.GrokSerDe",
            "in",
            "out",
        ),
    ],
)
def test_format_names_its_classes(
    context: Context, run: Run, clauses: str, serde: str, input_format: str, output_format: str
) -> None:
    run(f"CREATE EXTERNAL TABLE t (a int) {clauses} LOCATION 's3://lake/t/'")
    storage = get_table(context, "t")["StorageDescriptor"]
    assert storage["SerdeInfo"]["SerializationLibrary"] == serde
    assert (storage["InputFormat"], storage["OutputFormat"]) == (input_format, output_format)


def test_table_without_delimiters_has_the_serde_property_of_all(context: Context, run: Run) -> None:
    run("CREATE EXTERNAL TABLE t (a int) STORED AS PARQUET LOCATION 's3://lake/t' TBLPROPERTIES ('a'='b')")
    table = get_table(context, "t")
    assert table["StorageDescriptor"]["SerdeInfo"]["Parameters"] == {"serialization.format": "1"}
    assert table["StorageDescriptor"]["NumberOfBuckets"] == -1


def test_existing_table_is_left_alone_or_an_error(run: Run) -> None:
    run("CREATE EXTERNAL TABLE t (a int) LOCATION 's3://lake/t/'")
    run("CREATE EXTERNAL TABLE IF NOT EXISTS t (b int) LOCATION 's3://lake/u/'")
    with pytest.raises(FailedStatementError, match=r"AlreadyExistsException\(message:Table t already exists\)"):
        run("CREATE EXTERNAL TABLE t (a int) LOCATION 's3://lake/t/'")


def test_table_in_a_missing_database_fails(run: Run) -> None:
    with pytest.raises(FailedStatementError, match="Database does not exist: nowhere"):
        run("CREATE EXTERNAL TABLE nowhere.t (a int) LOCATION 's3://lake/t/'")


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("CREATE TABLE t (a int)", "No location was specified for table. An S3 location must be specified"),
        ("CREATE EXTERNAL TABLE t (a int)", "No location was specified for table"),
        (
            "CREATE EXTERNAL TABLE t (a int) LOCATION 's3://lake/t/' TBLPROPERTIES ('table_type'='ICEBERG')",
            "External keyword not supported for table type ICEBERG",
        ),
        (
            "CREATE TABLE t (a int) STORED AS ORC LOCATION 's3://lake/t/' TBLPROPERTIES ('table_type'='ICEBERG')",
            "Iceberg create table statement does not allow STORED AS/BY",
        ),
        ("CREATE TABLE t (a int) LOCATION 's3://lake/t/'", "Only external tables"),
        (
            "CREATE EXTERNAL TABLE t (a thing) LOCATION 's3://lake/t/'",
            "FAILED: ParseException line 1:27 cannot recognize input near 'thing' ')' 'LOCATION' in column type",
        ),
        ("CREATE EXTERNAL TABLE t (a int) STORED AS EXCEL LOCATION 's3://lake/t/'", "mismatched input 'EXCEL'"),
        ("CREATE EXTERNAL TABLE t (a int) LOCATION 's3://lake/t/' OOPS", "extraneous input 'OOPS'"),
    ],
)
def test_wrong_definition_is_refused(context: Context, sql: str, message: str) -> None:
    with pytest.raises(StatementError) as refusal:
        plan_statement(sql, context)
    assert message in str(refusal.value)


def test_iceberg_table_is_created_by_the_engine(context: Context) -> None:
    plan = plan_statement(
        """
        CREATE TABLE IF NOT EXISTS `events` (id bigint, name string COMMENT 'user''s name', ts timestamp)
        COMMENT 'all events'
        PARTITIONED BY (name, day(ts), bucket(16, id), truncate(5, name))
        LOCATION 's3://lake/events/'
        TBLPROPERTIES ('table_type' ='ICEBERG', 'format'='parquet', 'write_compression'='zstd',
                       'vacuum_max_snapshot_age_seconds'='60')
        """,
        context,
    )
    assert plan.steps == (
        TrinoStep(
            'CREATE TABLE IF NOT EXISTS "iceberg"."db"."events" '
            "(\"id\" bigint, \"name\" varchar COMMENT 'user''s name', \"ts\" timestamp(6)) COMMENT 'all events' "
            "WITH (location = 's3://lake/events', "
            "partitioning = ARRAY['name', 'day(ts)', 'bucket(id, 16)', 'truncate(name, 5)'], format = 'PARQUET', "
            "extra_properties = MAP(ARRAY['write.parquet.compression-codec', 'vacuum_max_snapshot_age_seconds'], "
            "ARRAY['zstd', '60']))",
            "iceberg",
        ),
    )


def test_iceberg_table_with_the_least_properties_needs_no_extra_ones(trino: TrinoStatements) -> None:
    sql = "CREATE TABLE t (a int) LOCATION 's3://lake/t/' TBLPROPERTIES ('table_type'='ICEBERG')"
    assert trino(sql) == ['CREATE TABLE "iceberg"."db"."t" ("a" integer) WITH (location = \'s3://lake/t\')']


def test_partitioning_in_backticks_is_read_as_show_create_table_writes_it(trino: TrinoStatements) -> None:
    sql = (
        "CREATE TABLE t (a int, ts timestamp) PARTITIONED BY (`bucket(16, a)`, `day(ts)`, `a`) "
        "LOCATION 's3://lake/t/' TBLPROPERTIES ('table_type'='ICEBERG')"
    )
    assert "partitioning = ARRAY['bucket(a, 16)', 'day(ts)', 'a']" in trino(sql)[0]


def test_serde_properties_may_follow_the_file_format(context: Context, run: Run) -> None:
    run(
        "CREATE EXTERNAL TABLE t (a int) STORED AS PARQUET WITH SERDEPROPERTIES ('parquet.column.index.access'='true') "
        "LOCATION 's3://lake/t/'"
    )
    storage = context.glue.get_table(DatabaseName="db", Name="t")["Table"]["StorageDescriptor"]
    assert storage["SerdeInfo"]["Parameters"]["parquet.column.index.access"] == "true"
