from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from infra.local.athena.trino_client import TrinoStatementError, TrinoUnavailableError
from tests.unit.infra.athena.conftest import (
    BUCKET,
    VARCHAR,
    Api,
    ScriptedStatement,
    ScriptedTrino,
    column,
    finished,
    open_api,
)


def cells(answer: dict[str, Any]) -> list[list[str | None]]:
    return [[datum.get("VarCharValue") for datum in row["Data"]] for row in answer["ResultSet"]["Rows"]]


def test_select_leaves_a_csv_and_its_rows_come_in_pages(api: Api) -> None:
    rows = [[1, "a"], [2, None], [3, ""]]
    api.trino.next_statement = finished(columns=[column("n"), column("s", VARCHAR)], rows=[rows[:2], [], rows[2:]])
    execution = api.run("select n, s from t", QueryExecutionContext={"Database": "clickstream"})
    query_id = execution["QueryExecutionId"]

    assert execution["Status"]["State"] == "SUCCEEDED"
    assert "StateChangeReason" not in execution["Status"]
    assert execution["ResultConfiguration"]["OutputLocation"] == f"s3://{BUCKET}/athena/{query_id}.csv"
    assert api.read_object(f"s3://{BUCKET}/athena/{query_id}.csv") == '"n","s"\n"1","a"\n"2",\n"3",""\n'
    first = api.call("GetQueryResults", QueryExecutionId=query_id, MaxResults=2)
    second = api.call("GetQueryResults", QueryExecutionId=query_id, NextToken=first["NextToken"])
    assert cells(first) == [["n", "s"], ["1", "a"]]
    assert cells(second) == [["2", None], ["3", ""]]
    assert "NextToken" not in second
    assert [info["Type"] for info in first["ResultSet"]["ResultSetMetadata"]["ColumnInfo"]] == ["integer", "varchar"]


def test_statistics_are_those_of_trino_and_no_time_is_zero(api: Api) -> None:
    api.trino.next_statement = finished(stats={"physicalInputBytes": 12, "elapsedTimeMillis": 0})
    statistics = api.run()["Statistics"]

    assert statistics["DataScannedInBytes"] == 12
    times = ("EngineExecutionTimeInMillis", "QueryQueueTimeInMillis", "TotalExecutionTimeInMillis")
    assert all(statistics[name] >= 1 for name in times)


def test_sql_that_does_not_parse_is_refused_at_the_start(api: Api) -> None:
    api.trino.next_statement = TrinoStatementError("SYNTAX_ERROR", "USER_ERROR", "line 1:1: mismatched input 'selec'")
    answer = api.fail("StartQueryExecution", QueryString="selec 1")

    assert answer["__type"] == "InvalidRequestException"
    assert answer["AthenaErrorCode"] == "MALFORMED_QUERY"
    assert "line 1:1: mismatched input" in answer["Message"]
    assert api.call("ListQueryExecutions") == {"QueryExecutionIds": []}


def test_failure_carries_the_reason_of_trino(api: Api) -> None:
    message = "line 1:15: Table 'iceberg.clickstream.nix' does not exist"
    api.trino.next_statement = finished(error=TrinoStatementError("TABLE_NOT_FOUND", "USER_ERROR", message))
    status = api.run()["Status"]

    reason = "TABLE_NOT_FOUND: line 1:15: Table 'awsdatacatalog.clickstream.nix' does not exist"
    assert (status["State"], status["StateChangeReason"]) == ("FAILED", reason)
    assert status["AthenaError"] == {
        "ErrorCategory": 2,
        "ErrorType": 1001,
        "Retryable": False,
        "ErrorMessage": reason,
    }


def test_trino_that_dies_fails_its_query_only(api: Api) -> None:
    api.trino.next_statement = finished(error=TrinoUnavailableError("connection refused"))
    status = api.run()["Status"]
    api.trino.next_statement = finished()

    assert status["State"] == "FAILED"
    assert "the query engine (Trino) did not answer: connection refused" in status["StateChangeReason"]
    assert status["AthenaError"]["Retryable"] is True
    assert api.run()["Status"]["State"] == "SUCCEEDED"


def test_stop_cancels_in_trino(api: Api) -> None:
    statement = ScriptedStatement()
    api.trino.next_statement = statement
    query_id = api.call("StartQueryExecution", QueryString="select 1")["QueryExecutionId"]
    api.call("StopQueryExecution", QueryExecutionId=query_id)

    assert api.wait(query_id)["Status"]["State"] == "CANCELLED"
    assert statement.is_cancelled


def test_scan_cutoff_of_the_work_group_cancels(api: Api) -> None:
    configuration = {"ResultConfiguration": {"OutputLocation": f"s3://{BUCKET}/small"}}
    cutoff = {"BytesScannedCutoffPerQuery": 10_000_000}
    api.call("CreateWorkGroup", Name="small", Configuration={**configuration, **cutoff})
    api.trino.next_statement = finished(stats={"physicalInputBytes": 10_000_001})
    status = api.run(WorkGroup="small")["Status"]

    assert status["State"] == "CANCELLED"
    assert status["StateChangeReason"] == "Query cancelled! : Bytes scanned limit was exceeded"


def test_statement_that_writes_has_a_count_and_no_rows(api: Api) -> None:
    api.trino.next_statement = finished(columns=[column("rows")], rows=[[[7]]], update_type="INSERT", update_count=7)
    execution = api.run("insert into t select 1")
    results = api.call("GetQueryResults", QueryExecutionId=execution["QueryExecutionId"])

    assert (execution["StatementType"], execution["SubstatementType"]) == ("DML", "INSERT")
    assert (results["UpdateCount"], results["ResultSet"]["Rows"]) == (7, [])


def test_manifest_lists_what_was_written(api: Api) -> None:
    """Of what stands below the table's location, only what was not there before."""
    storage = {"Location": f"s3://{BUCKET}/t", "Columns": [{"Name": "x", "Type": "int"}]}
    api.glue.create_database(DatabaseInput={"Name": "lake"})
    api.glue.create_table(DatabaseName="lake", TableInput={"Name": "t", "StorageDescriptor": storage})
    api.s3.put_object(Bucket=BUCKET, Key="t/before", Body=b"")

    class Writing(ScriptedStatement):
        def pages(self) -> Any:
            api.s3.put_object(Bucket=BUCKET, Key="t/new", Body=b"")
            yield [[1]]

    api.trino.next_statement = Writing(columns=[column("rows")], update_type="INSERT", update_count=1)
    execution = api.run("insert into lake.t select 1")

    manifest = execution["Statistics"]["DataManifestLocation"]
    assert manifest == f"s3://{BUCKET}/athena/{execution['QueryExecutionId']}-manifest.csv"
    assert api.read_object(manifest) == f"s3://{BUCKET}/t/new\n"


def test_same_token_is_the_same_query(api: Api) -> None:
    token = "t" * 32
    first = api.call("StartQueryExecution", QueryString="select 1", ClientRequestToken=token)
    second = api.call("StartQueryExecution", QueryString="select 1", ClientRequestToken=token)
    other = api.fail("StartQueryExecution", QueryString="select 2", ClientRequestToken=token)

    assert first == second
    assert len(api.trino.submitted) == 1
    assert other["__type"] == "InvalidRequestException"


def test_result_that_is_young_enough_is_used_again(api: Api) -> None:
    reuse = {"ResultReuseByAgeConfiguration": {"Enabled": True, "MaxAgeInMinutes": 60}}
    first = api.run("select 1", ResultReuseConfiguration=reuse)
    second = api.run("select 1", ResultReuseConfiguration=reuse)
    other = api.run("select 1", ResultReuseConfiguration=reuse, QueryExecutionContext={"Database": "elsewhere"})

    assert second["QueryExecutionId"] != first["QueryExecutionId"]
    assert second["Statistics"]["ResultReuseInformation"] == {"ReusedPreviousResult": True}
    assert second["ResultConfiguration"] == first["ResultConfiguration"]
    assert second["Status"]["SubmissionDateTime"] > first["Status"]["SubmissionDateTime"]
    assert other["Statistics"]["ResultReuseInformation"] == {"ReusedPreviousResult": False}


def test_queries_of_a_work_group_are_listed_newest_first_in_pages(api: Api) -> None:
    ids = [api.run()["QueryExecutionId"] for _ in range(3)]
    first = api.call("ListQueryExecutions", MaxResults=2)
    second = api.call("ListQueryExecutions", MaxResults=2, NextToken=first["NextToken"])

    assert [*first["QueryExecutionIds"], *second["QueryExecutionIds"]] == ids[::-1]
    assert "NextToken" not in second


def test_batch_names_what_it_did_not_find(api: Api) -> None:
    query_id = api.run()["QueryExecutionId"]
    answer = api.call("BatchGetQueryExecution", QueryExecutionIds=[query_id, "nix"])

    assert [execution["QueryExecutionId"] for execution in answer["QueryExecutions"]] == [query_id]
    assert [missing["QueryExecutionId"] for missing in answer["UnprocessedQueryExecutionIds"]] == ["nix"]


def test_results_of_a_query_that_runs_or_failed_are_refused(api: Api) -> None:
    api.trino.next_statement = running = ScriptedStatement()
    query_id = api.call("StartQueryExecution", QueryString="select 1")["QueryExecutionId"]
    assert "has not yet finished" in api.fail("GetQueryResults", QueryExecutionId=query_id)["Message"]
    running.error = TrinoStatementError("DIVISION_BY_ZERO", "USER_ERROR", "Division by zero")
    running.release.set()
    api.wait(query_id)

    assert "Final query state: FAILED" in api.fail("GetQueryResults", QueryExecutionId=query_id)["Message"]


def test_missing_output_bucket_is_named(api: Api) -> None:
    status = api.run(ResultConfiguration={"OutputLocation": "s3://no-such-bucket/x"})["Status"]
    assert status["StateChangeReason"] == "Unable to verify/create output bucket no-such-bucket"


def test_state_survives_a_restart_and_what_ran_is_failed(api: Api, tmp_path: Path) -> None:
    done = api.run()["QueryExecutionId"]
    api.trino.next_statement = ScriptedStatement(id="trino-running")
    running = api.call("StartQueryExecution", QueryString="select 2")["QueryExecutionId"]
    while api.store.query(running).state != "RUNNING":  # type: ignore[union-attr]
        time.sleep(0.01)

    trino = ScriptedTrino()
    again, close = open_api(tmp_path, api.s3, api.glue, trino)

    assert again.wait(done)["Status"]["State"] == "SUCCEEDED"
    assert cells(again.call("GetQueryResults", QueryExecutionId=done)) == [["n"], ["1"]]
    status = again.wait(running)["Status"]
    assert (status["State"], trino.killed) == ("FAILED", ["trino-running"])
    assert "was stopped while this query ran" in status["StateChangeReason"]
    close()
    api.trino.next_statement.release.set()
