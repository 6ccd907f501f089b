"""Work groups, saved queries, metadata and tags."""

from __future__ import annotations

import pytest

from tests.unit.infra.athena.conftest import BUCKET, Api


def test_primary_exists_and_enforces_nothing(api: Api) -> None:
    group = api.call("GetWorkGroup", WorkGroup="primary")["WorkGroup"]

    assert group["State"] == "ENABLED"
    assert group["Configuration"]["EnforceWorkGroupConfiguration"] is False
    assert group["Configuration"]["ResultConfiguration"] == {"OutputLocation": f"s3://{BUCKET}/athena/"}
    assert group["Configuration"]["ManagedQueryResultsConfiguration"] == {"Enabled": False}


def test_output_location_of_the_group_wins_where_it_is_enforced(api: Api) -> None:
    own = {"ResultConfiguration": {"OutputLocation": f"s3://{BUCKET}/own"}}
    api.call("CreateWorkGroup", Name="strict", Configuration=own)
    api.call("CreateWorkGroup", Name="loose", Configuration={**own, "EnforceWorkGroupConfiguration": False})
    asked = {"OutputLocation": f"s3://{BUCKET}/asked/"}

    strict = api.run(WorkGroup="strict", ResultConfiguration=asked)["ResultConfiguration"]["OutputLocation"]
    loose = api.run(WorkGroup="loose", ResultConfiguration=asked)["ResultConfiguration"]["OutputLocation"]
    assert strict.startswith(f"s3://{BUCKET}/own/")
    assert loose.startswith(f"s3://{BUCKET}/asked/")


def test_no_output_location_anywhere_is_refused(api: Api) -> None:
    api.call("CreateWorkGroup", Name="empty")
    assert api.fail("StartQueryExecution", QueryString="select 1", WorkGroup="empty")["Message"] == (
        "No output location provided. An output location is required either through the Workgroup result "
        "configuration setting or as an API input."
    )


def test_unknown_and_disabled_groups_are_refused(api: Api) -> None:
    unknown = api.fail("StartQueryExecution", QueryString="select 1", WorkGroup="nix")
    api.call("UpdateWorkGroup", WorkGroup="primary", State="DISABLED")
    disabled = api.fail("StartQueryExecution", QueryString="select 1")

    assert unknown["Message"] == "WorkGroup nix is not found."
    assert disabled["Message"] == "WorkGroup primary is disabled."


def test_update_changes_and_removes_settings(api: Api) -> None:
    api.call("CreateWorkGroup", Name="g", Configuration={"BytesScannedCutoffPerQuery": 10_000_000}, Description="d")
    updates = {
        "RemoveBytesScannedCutoffPerQuery": True,
        "EnforceWorkGroupConfiguration": False,
        "ResultConfigurationUpdates": {"OutputLocation": f"s3://{BUCKET}/g/"},
    }
    api.call("UpdateWorkGroup", WorkGroup="g", ConfigurationUpdates=updates, Description="e")
    group = api.call("GetWorkGroup", WorkGroup="g")["WorkGroup"]

    assert group["Description"] == "e"
    assert "BytesScannedCutoffPerQuery" not in group["Configuration"]
    assert group["Configuration"]["ResultConfiguration"] == {"OutputLocation": f"s3://{BUCKET}/g/"}
    assert group["Configuration"]["EnforceWorkGroupConfiguration"] is False


def test_group_that_holds_something_is_deleted_recursively_only(api: Api) -> None:
    api.call("CreateWorkGroup", Name="g")
    api.call("CreateNamedQuery", Name="q", Database="d", QueryString="select 1", WorkGroup="g")

    assert "RecursiveDeleteOption" in api.fail("DeleteWorkGroup", WorkGroup="g")["Message"]
    api.call("DeleteWorkGroup", WorkGroup="g", RecursiveDeleteOption=True)
    assert api.fail("GetWorkGroup", WorkGroup="g")["Message"] == "WorkGroup g is not found."
    assert [group["Name"] for group in api.call("ListWorkGroups")["WorkGroups"]] == ["primary"]


def test_named_query_is_created_listed_updated_and_deleted(api: Api) -> None:
    identity = api.call("CreateNamedQuery", Name="q", Database="d", QueryString="select 1")["NamedQueryId"]
    api.call("UpdateNamedQuery", NamedQueryId=identity, Name="r", QueryString="select 2")

    assert api.call("GetNamedQuery", NamedQueryId=identity)["NamedQuery"] == {
        "Name": "r",
        "Database": "d",
        "QueryString": "select 2",
        "NamedQueryId": identity,
        "WorkGroup": "primary",
    }
    batch = api.call("BatchGetNamedQuery", NamedQueryIds=[identity, "nix"])
    assert [query["Name"] for query in batch["NamedQueries"]] == ["r"]
    assert [query["NamedQueryId"] for query in batch["UnprocessedNamedQueryIds"]] == ["nix"]
    api.call("DeleteNamedQuery", NamedQueryId=identity)
    assert api.call("ListNamedQueries") == {"NamedQueryIds": []}


def test_prepared_statement_is_created_listed_updated_and_deleted(api: Api) -> None:
    key = {"StatementName": "by_segment", "WorkGroup": "primary"}
    api.call("CreatePreparedStatement", **key, QueryStatement="select ?")
    assert "already created" in api.fail("CreatePreparedStatement", **key, QueryStatement="select ?")["Message"]
    api.call("UpdatePreparedStatement", **key, QueryStatement="select ?, ?")
    statement = api.call("GetPreparedStatement", **key)["PreparedStatement"]
    listed = api.call("ListPreparedStatements", WorkGroup="primary")["PreparedStatements"]

    assert (statement["QueryStatement"], statement["WorkGroupName"]) == ("select ?, ?", "primary")
    assert [summary["StatementName"] for summary in listed] == ["by_segment"]
    api.call("DeletePreparedStatement", **key)
    missing = api.fail("GetPreparedStatement", **key)
    assert (missing["__type"], missing["ResourceName"]) == ("ResourceNotFoundException", "by_segment")


def test_tables_are_listed_by_expression_in_pages(api: Api) -> None:
    api.glue.create_database(DatabaseInput={"Name": "clickstream"})
    for name in ("events", "sessions", "segments"):
        storage = {
            "Columns": [{"Name": "id", "Type": "string", "Comment": "key"}],
            "Location": f"s3://{BUCKET}/{name}",
            "SerdeInfo": {"SerializationLibrary": "parquet"},
        }
        table = {"Name": name, "TableType": "EXTERNAL_TABLE", "StorageDescriptor": storage, "Parameters": {"a": "b"}}
        api.glue.create_table(DatabaseName="clickstream", TableInput=table)
    place = {"CatalogName": "AwsDataCatalog", "DatabaseName": "clickstream"}

    first = api.call("ListTableMetadata", **place, Expression="S.*", MaxResults=1)
    second = api.call("ListTableMetadata", **place, Expression="S.*", MaxResults=1, NextToken=first["NextToken"])
    found = api.call("GetTableMetadata", **place, TableName="EVENTS")["TableMetadata"]
    names = [table["Name"] for page in (first, second) for table in page["TableMetadataList"]]
    assert names == ["segments", "sessions"]
    assert "NextToken" not in second
    assert found["Columns"] == [{"Name": "id", "Type": "string", "Comment": "key"}]
    assert found["Parameters"]["location"] == f"s3://{BUCKET}/events"
    assert found["Parameters"]["serde.serialization.lib"] == "parquet"
    databases = api.call("ListDatabases", CatalogName="awsdatacatalog")["DatabaseList"]
    assert [database["Name"] for database in databases] == ["clickstream"]
    missing = api.fail("GetTableMetadata", **place, TableName="nix")
    assert missing["__type"] == "MetadataException"
    assert "EntityNotFoundException" in missing["Message"]


def test_expression_that_is_no_regular_expression_is_refused(api: Api) -> None:
    place = {"CatalogName": "AwsDataCatalog", "DatabaseName": "clickstream"}
    assert "no regular expression" in api.fail("ListTableMetadata", **place, Expression="(")["Message"]


def test_data_catalog_is_created_and_deleted(api: Api) -> None:
    api.call("CreateDataCatalog", Name="other", Type="GLUE", Description="d")
    names = [summary["CatalogName"] for summary in api.call("ListDataCatalogs")["DataCatalogsSummary"]]

    assert names == ["AwsDataCatalog", "other"]
    assert api.call("GetDataCatalog", Name="other")["DataCatalog"]["Description"] == "d"
    api.call("DeleteDataCatalog", Name="other")
    assert "was not found" in api.fail("GetDataCatalog", Name="other")["Message"]


def test_tags_of_a_work_group_are_added_and_removed(api: Api) -> None:
    api.call("CreateWorkGroup", Name="g", Tags=[{"Key": "team", "Value": "web"}])
    arn = "arn:aws:athena:us-east-1:000000000000:workgroup/g"
    api.call("TagResource", ResourceARN=arn, Tags=[{"Key": "cost", "Value": "1"}])
    api.call("UntagResource", ResourceARN=arn, TagKeys=["team"])

    assert api.call("ListTagsForResource", ResourceARN=arn)["Tags"] == [{"Key": "cost", "Value": "1"}]


@pytest.mark.parametrize("operation", ["StartSession", "GetCalculationExecution"])
def test_operations_of_athena_for_spark_are_unknown(api: Api, operation: str) -> None:
    assert api.fail(operation)["__type"] == "UnknownOperationException"


def test_a_statement_finds_what_the_api_prepared_with_capitals(api: Api) -> None:
    key = {"StatementName": "MyStatement", "WorkGroup": "primary"}
    api.call("CreatePreparedStatement", **key, QueryStatement="select ?")
    assert api.run("EXECUTE MyStatement USING 7")["Status"]["State"] == "SUCCEEDED"
    assert api.trino.submitted == ["select 7"]
    api.run("DEALLOCATE PREPARE MyStatement")
    assert "was not found" in api.fail("GetPreparedStatement", **key)["Message"]
