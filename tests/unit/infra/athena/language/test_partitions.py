"""Partitions in Glue."""

from __future__ import annotations

import pytest

from infra.local.athena.plan import Column, Context, FailedStatementError, StatementError, Table
from tests.unit.infra.athena.language.conftest import Run
from tests.unit.infra.athena.language.iceberg import create_iceberg_table


@pytest.fixture
def logs(run: Run) -> None:
    run(
        "CREATE EXTERNAL TABLE logs (a string) PARTITIONED BY (dt string, n int) STORED AS PARQUET "
        "LOCATION 's3://lake/logs/'"
    )


def locations(context: Context) -> dict[tuple[str, ...], str]:
    partitions = context.glue.get_partitions(DatabaseName="db", TableName="logs")["Partitions"]
    return {tuple(entry["Values"]): entry["StorageDescriptor"]["Location"] for entry in partitions}


@pytest.mark.usefixtures("logs")
def test_partitions_are_added_with_and_without_a_location(context: Context, run: Run) -> None:
    run(
        "ALTER TABLE logs ADD PARTITION (dt='2020-01-01', n=1) LOCATION 's3://lake/elsewhere/' "
        "PARTITION (n = 2, dt = DATE '2020-01-02')"
    )
    assert locations(context) == {
        ("2020-01-01", "1"): "s3://lake/elsewhere/",
        ("2020-01-02", "2"): "s3://lake/logs/dt=2020-01-02/n=2",
    }
    partition = context.glue.get_partitions(DatabaseName="db", TableName="logs")["Partitions"][0]
    assert partition["StorageDescriptor"]["SerdeInfo"]["SerializationLibrary"].endswith("ParquetHiveSerDe")


@pytest.mark.usefixtures("logs")
def test_partition_is_added_once(run: Run) -> None:
    run("ALTER TABLE logs ADD PARTITION (dt='x', n=1)")
    run("ALTER TABLE logs ADD IF NOT EXISTS PARTITION (dt='x', n=1) PARTITION (dt='y', n=1)")
    assert run("SHOW PARTITIONS logs").rows == (("dt=x/n=1",), ("dt=y/n=1",))
    with pytest.raises(FailedStatementError, match="AlreadyExistsException"):
        run("ALTER TABLE logs ADD PARTITION (dt='x', n=1)")


@pytest.mark.usefixtures("logs")
def test_partition_needs_every_column(run: Run) -> None:
    with pytest.raises(FailedStatementError, match="partition spec"):
        run("ALTER TABLE logs ADD PARTITION (dt='x')")


@pytest.mark.usefixtures("logs")
def test_partitions_are_listed_as_folders(run: Run) -> None:
    run("ALTER TABLE logs ADD PARTITION (dt='b', n=1) PARTITION (dt='a/c:d', n=-2)")
    assert run("SHOW PARTITIONS logs") == Table(
        (Column("partition", "string"),), (("dt=a%2Fc%3Ad/n=-2",), ("dt=b/n=1",))
    )
    assert run("SHOW PARTITIONS logs PARTITION (n=1)").rows == (("dt=b/n=1",),)


@pytest.mark.usefixtures("logs")
def test_partitions_are_dropped_by_all_or_some_columns(run: Run) -> None:
    run("ALTER TABLE logs ADD PARTITION (dt='a', n=1) PARTITION (dt='a', n=2) PARTITION (dt='b', n=1)")
    run("ALTER TABLE logs DROP PARTITION (dt='a'), PARTITION (dt='a', n=1)")
    assert run("SHOW PARTITIONS logs").rows == (("dt=b/n=1",),)
    run("ALTER TABLE logs DROP IF EXISTS PARTITION (dt='z', n=1)")
    with pytest.raises(FailedStatementError, match="Partition not found"):
        run("ALTER TABLE logs DROP PARTITION (dt='z', n=1)")


@pytest.mark.usefixtures("logs")
def test_partition_is_renamed_and_moved(context: Context, run: Run) -> None:
    run("ALTER TABLE logs ADD PARTITION (dt='a', n=1)")
    run("ALTER TABLE logs PARTITION (dt='a', n=1) RENAME TO PARTITION (dt='b', n=2)")
    assert locations(context) == {("b", "2"): "s3://lake/logs/dt=a/n=1"}
    run("ALTER TABLE logs PARTITION (dt='b', n=2) SET LOCATION 's3://lake/new/'")
    assert locations(context) == {("b", "2"): "s3://lake/new/"}


@pytest.mark.usefixtures("logs")
def test_repair_adds_what_is_in_the_bucket(context: Context, run: Run) -> None:
    for key in ("dt=a/n=1/f", "dt=a%2Fb/n=2/f", "dt=a/other/f", "_tmp/f", "dt=c/f"):
        context.s3.put_object(Bucket="lake", Key=f"logs/{key}", Body=b"x")
    run("ALTER TABLE logs ADD PARTITION (dt='gone', n=3)")
    assert run("MSCK REPAIR TABLE logs").rows == (
        ("Partitions not in metastore:\tlogs:dt=a/n=1\tlogs:dt=a%2Fb/n=2",),
        ("Partitions missing from filesystem:\tlogs:dt=gone/n=3",),
        ("Repair: Added partition to metastore logs:dt=a/n=1",),
        ("Repair: Added partition to metastore logs:dt=a%2Fb/n=2",),
    )
    assert run("SHOW PARTITIONS logs").rows == (("dt=a%2Fb/n=2",), ("dt=a/n=1",), ("dt=gone/n=3",))
    assert run("MSCK REPAIR TABLE logs").rows == (("Partitions missing from filesystem:\tlogs:dt=gone/n=3",),)


@pytest.mark.usefixtures("logs")
def test_repair_registers_folders_where_they_are_and_none_with_capitals(context: Context, run: Run) -> None:
    for key in ("dt=08:15/n=1/f", "DT=b/n=2/f"):
        context.s3.put_object(Bucket="lake", Key=f"logs/{key}", Body=b"x")
    run("MSCK REPAIR TABLE logs")
    assert locations(context) == {("08:15", "1"): "s3://lake/logs/dt=08:15/n=1"}


@pytest.mark.usefixtures("logs")
@pytest.mark.parametrize("action", ["ADD COLUMNS (b int)", "REPLACE COLUMNS (b int)", "SET TBLPROPERTIES ('a'='b')"])
def test_what_would_change_one_partition_does_not_change_the_table(run: Run, action: str) -> None:
    with pytest.raises(StatementError, match="of one partition is not served on one machine"):
        run(f"ALTER TABLE logs PARTITION (dt='a', n=1) {action}")


@pytest.mark.usefixtures("logs")
def test_repair_tells_what_is_missing(run: Run) -> None:
    assert run("MSCK REPAIR TABLE `logs`;").rows == (("Tables missing on filesystem:\tlogs",),)
    assert run("MSCK REPAIR TABLE nothing").rows == (("Tables not in metastore:\tnothing",),)


def test_more_partitions_than_one_call_takes(context: Context, run: Run) -> None:
    run("CREATE EXTERNAL TABLE logs (a string) PARTITIONED BY (n int) LOCATION 's3://lake/logs/'")
    for number in range(130):
        context.s3.put_object(Bucket="lake", Key=f"logs/n={number}/f", Body=b"x")
    run("MSCK REPAIR TABLE logs")
    assert len(run("SHOW PARTITIONS logs").rows) == 130
    run("ALTER TABLE logs DROP " + ", ".join(f"PARTITION (n={number})" for number in range(60)))
    assert len(run("SHOW PARTITIONS logs").rows) == 70


@pytest.mark.parametrize(
    "sql",
    [
        "SHOW PARTITIONS events",
        "MSCK REPAIR TABLE events",
        "ALTER TABLE events ADD PARTITION (a=1)",
        "ALTER TABLE events DROP PARTITION (a=1)",
        "ALTER TABLE events REPLACE COLUMNS (a int)",
        "ALTER TABLE events SET LOCATION 's3://lake/x/'",
    ],
)
def test_iceberg_table_has_no_partitions_in_glue(context: Context, run: Run, sql: str) -> None:
    create_iceberg_table(context)
    context.s3.put_object(Bucket="lake", Key="events/f", Body=b"x")
    with pytest.raises(FailedStatementError, match="Query type not supported by Athena Iceberg") as failure:
        run(sql)
    assert (failure.value.category, failure.value.code) == (2, 1200)


def test_table_without_partition_columns_has_none_to_show(run: Run) -> None:
    run("CREATE EXTERNAL TABLE flat (a string) LOCATION 's3://lake/flat/'")
    with pytest.raises(FailedStatementError, match="Table flat is not a partitioned table"):
        run("SHOW PARTITIONS flat")
