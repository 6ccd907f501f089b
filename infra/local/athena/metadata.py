"""Databases and tables of the Glue catalog, and the data catalogs that name it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from infra.local.athena.paging import page_of
from infra.local.athena.protocol import Answer, InvalidRequestError, MetadataError, Request, select_members
from infra.local.athena.query import ENGINE_VERSION
from infra.local.athena.store import Store
from infra.local.athena.tags import Tags, resource_arn

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient

KIND = "data_catalog"
DEFAULT_CATALOG = "AwsDataCatalog"


@dataclass(frozen=True)
class Metadata:
    """`glue` stands behind every data catalog of the type GLUE."""

    store: Store
    glue: GlueClient
    tags: Tags

    def ensure_default_catalog(self) -> None:
        if self.store.get(KIND, DEFAULT_CATALOG) is None:
            self.store.put(KIND, DEFAULT_CATALOG, {"Name": DEFAULT_CATALOG, "Type": "GLUE", "Parameters": {}})

    def list_databases(self, request: Request) -> Answer:
        self._require_glue(request["CatalogName"])
        pages = self._ask(lambda: list(self.glue.get_paginator("get_databases").paginate()))
        databases = [_database(database) for page in pages for database in page["DatabaseList"]]
        databases.sort(key=lambda database: str(database["Name"]))
        return page_of(databases, request, "DatabaseList", lambda database: str(database["Name"]))

    def get_database(self, request: Request) -> Answer:
        self._require_glue(request["CatalogName"])
        found = self._ask(lambda: self.glue.get_database(Name=request["DatabaseName"].lower()))
        return {"Database": _database(found["Database"])}

    def list_table_metadata(self, request: Request) -> Answer:
        """`Expression` is a regular expression for the whole name, whatever its case."""
        self._require_glue(request["CatalogName"])
        database, pattern = request["DatabaseName"].lower(), _pattern(request.get("Expression"))
        pages = self._ask(lambda: list(self.glue.get_paginator("get_tables").paginate(DatabaseName=database)))
        tables = [table for page in pages for table in page["TableList"] if pattern.fullmatch(table["Name"])]
        described = sorted((_table(table) for table in tables), key=lambda table: str(table["Name"]))
        return page_of(described, request, "TableMetadataList", lambda table: str(table["Name"]))

    def get_table_metadata(self, request: Request) -> Answer:
        self._require_glue(request["CatalogName"])
        database, name = request["DatabaseName"].lower(), request["TableName"].lower()
        found = self._ask(lambda: self.glue.get_table(DatabaseName=database, Name=name))
        return {"TableMetadata": _table(found["Table"])}

    def create_data_catalog(self, request: Request) -> Answer:
        name = request["Name"]
        if self._find(name) is not None:
            raise InvalidRequestError(f"DataCatalog {name} already exists")
        catalog = {"Parameters": {}, **{key: value for key, value in request.items() if key != "Tags"}}
        self.store.put(KIND, name, catalog)
        self.tags.add(resource_arn("datacatalog", name), request.get("Tags", []))
        return {"DataCatalog": select_members({**catalog, "Status": "CREATE_COMPLETE"}, "DataCatalog")}

    def get_data_catalog(self, request: Request) -> Answer:
        catalog = {**self._require(request["Name"]), "Status": "CREATE_COMPLETE"}
        return {"DataCatalog": select_members(catalog, "DataCatalog")}

    def list_data_catalogs(self, request: Request) -> Answer:
        summaries = [
            {"CatalogName": catalog["Name"], "Type": catalog["Type"], "Status": "CREATE_COMPLETE"}
            for catalog in self.store.documents(KIND)
        ]
        return page_of(summaries, request, "DataCatalogsSummary", lambda summary: str(summary["CatalogName"]))

    def update_data_catalog(self, request: Request) -> Answer:
        catalog = self._require(request["Name"])
        self.store.put(KIND, catalog["Name"], {**catalog, **request, "Name": catalog["Name"]})
        return {}

    def delete_data_catalog(self, request: Request) -> Answer:
        catalog = self._require(request["Name"])
        if catalog["Name"] == DEFAULT_CATALOG:
            raise InvalidRequestError(f"{DEFAULT_CATALOG} cannot be deleted")
        self.store.delete(KIND, catalog["Name"])
        self.tags.forget(resource_arn("datacatalog", catalog["Name"]))
        return {"DataCatalog": select_members({**catalog, "Status": "DELETE_COMPLETE"}, "DataCatalog")}

    def list_engine_versions(self, request: Request) -> Answer:
        effective = ENGINE_VERSION["EffectiveEngineVersion"]
        versions = [
            {"SelectedEngineVersion": selected, "EffectiveEngineVersion": effective} for selected in ("AUTO", effective)
        ]
        return page_of(versions, request, "EngineVersions", lambda version: version["SelectedEngineVersion"])

    def _find(self, name: str) -> dict[str, Any] | None:
        if name.lower() == DEFAULT_CATALOG.lower():
            name = DEFAULT_CATALOG
        return self.store.get(KIND, name)

    def _require(self, name: str) -> dict[str, Any]:
        catalog = self._find(name)
        if catalog is None:
            raise InvalidRequestError(f"DataCatalog {name} was not found")
        return catalog

    def _require_glue(self, name: str) -> None:
        catalog = self._require(name)
        if catalog["Type"] != "GLUE":
            raise MetadataError(f"DataCatalog {name} is of type {catalog['Type']}: only GLUE can be read here")

    def _ask(self, call: Any) -> Any:
        """Glue's answer; its refusal is Athena's MetadataException."""
        try:
            return call()
        except ClientError as error:
            detail = error.response["Error"]
            raise MetadataError(f"{detail['Code']}: {detail.get('Message', '')}") from error
        except BotoCoreError as error:
            raise MetadataError(f"Glue does not answer: {error}") from error


def _pattern(expression: str | None) -> re.Pattern[str]:
    try:
        return re.compile(expression or ".*", re.IGNORECASE)
    except (re.error, RecursionError, OverflowError) as error:
        raise InvalidRequestError(f"Expression {expression!r} is no regular expression: {error}") from None


def _database(database: Mapping[str, Any]) -> Answer:
    return select_members(database, "Database")


def _table(table: Mapping[str, Any]) -> Answer:
    """Athena's TableMetadata: what clients look for in Glue's storage descriptor stands among its Parameters."""
    storage = table.get("StorageDescriptor") or {}
    serde = storage.get("SerdeInfo") or {}
    parameters = {
        **(table.get("Parameters") or {}),
        **{f"serde.param.{name}": value for name, value in (serde.get("Parameters") or {}).items()},
        "location": (storage.get("Location") or "").rstrip("/") or None,
        "inputformat": storage.get("InputFormat"),
        "outputformat": storage.get("OutputFormat"),
        "serde.serialization.lib": serde.get("SerializationLibrary"),
    }
    if table.get("Description"):
        parameters.setdefault("comment", table["Description"])
    values = {
        "Name": table["Name"],
        "CreateTime": table.get("CreateTime"),
        "LastAccessTime": table.get("LastAccessTime") or table.get("CreateTime"),
        "TableType": table.get("TableType"),
        "Columns": [select_members(column, "Column") for column in storage.get("Columns") or []],
        "PartitionKeys": [select_members(column, "Column") for column in table.get("PartitionKeys") or []],
        "Parameters": {name: value for name, value in parameters.items() if value is not None},
    }
    return select_members(values, "TableMetadata")
