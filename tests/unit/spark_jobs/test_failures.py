"""One line instead of a stack trace: texts of real failures, as Spark, Spark Connect, boto3 and PyArrow say them."""

from __future__ import annotations

import importlib

import pytest

import config
from spark_jobs.errors import AuditError, ConcurrentCommitError
from spark_jobs.lake.failures import explain, explain_failures

S3_REFUSES = """An error occurred while calling o77.append.
: org.apache.spark.SparkException: [WRITING_JOB_ABORTED] Writing job aborted. SQLSTATE: 40000
\tat org.apache.spark.sql.errors.QueryExecutionErrors$.writingJobAbortedError(QueryExecutionErrors.scala:803)
Caused by: software.amazon.awssdk.services.s3.model.S3Exception: Please reduce your request rate. (Service: S3, Status Code: 503, Request ID: null)
\tat software.amazon.awssdk.services.s3.model.S3Exception$BuilderImpl.build(S3Exception.java:104)
"""  # noqa: E501
GLUE_IS_AWAY = """An error occurred while calling z:org.apache.iceberg.spark.Spark3Util.loadIcebergTable.
: software.amazon.awssdk.core.exception.SdkClientException: Unable to execute HTTP request: Connection refused
\tat software.amazon.awssdk.services.glue.DefaultGlueClient.getTable(DefaultGlueClient.java:12)
"""
KAFKA_IS_AWAY = """An error occurred while calling o77.append.
Caused by: org.apache.kafka.common.errors.TimeoutException: Timeout of 60000ms expired before the offsets were found
"""
DISK_IS_FULL = """Job aborted due to stage failure: Task 0 in stage 4.0 failed 1 times
: java.io.IOException: No space left on device
\tat org.apache.hadoop.fs.s3a.S3AFileSystem.close(S3AFileSystem.java:1)
"""
CONNECT_SAYS_S3 = """(org.apache.spark.SparkException) Job aborted due to stage failure: Task 0 in stage 5.0 failed 1 times
software.amazon.awssdk.core.exception.SdkClientException: Unable to execute HTTP request: Connect to 127.0.0.1:4566 failed
"""  # noqa: E501
PYARROW_SAYS_S3 = (
    "When reading information for key 'warehouse/x.json' in bucket 'b': AWS Error NETWORK_CONNECTION during HeadObject "
    "operation: curlCode: 7, Couldn't connect to server"
)
BOTO3_SAYS_GLUE = "An error occurred (InternalServiceException) when calling the GetTable operation (4 retries)"
BOTO3_FINDS_NOBODY = 'Could not connect to the endpoint URL: "http://127.0.0.1:4566/"'
NO_SPARK = """<_InactiveRpcError of RPC that terminated with:
\tstatus = StatusCode.UNAVAILABLE
\tdetails = "failed to connect to all addresses"
>"""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (S3_REFUSES, "S3 at http://127.0.0.1:4566 failed: S3Exception: Please reduce your request rate. (Service: S3,"),
        (GLUE_IS_AWAY, "S3 at http://127.0.0.1:4566 failed: SdkClientException: Unable to execute HTTP request: Conn"),
        (
            CONNECT_SAYS_S3,
            "S3 at http://127.0.0.1:4566 failed: SdkClientException: Unable to execute HTTP request: Conn",
        ),
        (PYARROW_SAYS_S3, "S3 at http://127.0.0.1:4566 failed: When reading information for key 'warehouse/x.json'"),
        (BOTO3_SAYS_GLUE, "Glue at http://127.0.0.1:4566 failed: An error occurred (InternalServiceException) when"),
        (BOTO3_FINDS_NOBODY, "S3 at http://127.0.0.1:4566 failed: Could not connect to the endpoint URL"),
        (NO_SPARK, "Spark Connect failed: status = StatusCode.UNAVAILABLE. The tables are whole; start the server"),
        (KAFKA_IS_AWAY, "Kafka at 127.0.0.1:9092 failed: TimeoutException: Timeout of 60000ms expired before the off"),
        (DISK_IS_FULL, "the disk failed: IOException: No space left on device. The tables are whole; make room in the"),
    ],
    ids=["S3", "S3 or Glue", "Connect", "PyArrow", "boto3", "boto3 alone", "no Spark", "Kafka", "disk"],
)
def test_a_failure_of_what_a_job_runs_on_is_one_line_that_names_it(
    text: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPARK_REMOTE", raising=False)  # other tests of this process work in a warm Spark
    explained = explain(RuntimeError(text), config.load("local"))
    assert explained is not None
    assert explained.startswith(line)
    assert "run it again" in explained
    assert "\n" not in explained


def test_what_happened_first_counts() -> None:
    error = RuntimeError(KAFKA_IS_AWAY)
    error.__context__ = RuntimeError(S3_REFUSES)
    assert str(explain(error, config.load("local"))).startswith("S3 at")


def test_a_job_ends_with_1_and_the_line_and_an_error_of_its_own_keeps_its_trace(
    capsys: pytest.CaptureFixture[str],
) -> None:
    @explain_failures
    def main(argv: list[str] | None = None) -> int:
        raise RuntimeError(KAFKA_IS_AWAY if argv else "a mistake of ours")

    assert main(["--some-option"]) == 1
    assert capsys.readouterr().err.startswith("test_failures: Kafka at 127.0.0.1:9092 failed: ")
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        main([])


@pytest.mark.parametrize(
    ("job", "options"),
    [
        ("land_raw_events", ""),
        ("transform_clickstream", "--start-date 2025-04-01"),
        ("user_segmentation_ml", "--start-date 2025-04-01"),
        ("maintain_tables", ""),
        ("rollback_table", "--table events --date 2025-04-01"),
        ("forget_user", "--user 0000700123"),
        ("requeue_quarantined", "--where true"),
    ],
)
def test_every_job_ends_so(
    job: str, options: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module(f"spark_jobs.{job}")

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError(S3_REFUSES)

    monkeypatch.setattr(module, "open_lakehouse", refuse)
    assert module.main(options.split()) == 1
    assert capsys.readouterr().err.startswith(f"{job}: S3 at http://127.0.0.1:4566 failed: S3Exception: ")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (AuditError("3 rows"), "not published: 3 rows; --force publishes it"),
        (ConcurrentCommitError("events has changed"), "events has changed; run it again"),
    ],
    ids=["audit", "other runs"],
)
def test_a_job_that_may_not_publish_says_what_lets_it(
    error: Exception, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @explain_failures
    def main() -> int:
        raise error

    assert main() == 1
    assert capsys.readouterr().err == f"test_failures: {line}\n"
