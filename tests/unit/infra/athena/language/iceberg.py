"""An Iceberg table as the catalog and the bucket hold it, without an engine."""

from __future__ import annotations

import json
from typing import Any

from infra.local.athena.plan import Context

SCHEMA: list[dict[str, Any]] = [
    {"id": 1, "name": "id", "required": False, "type": "long", "doc": "the user"},
    {"id": 2, "name": "ts", "required": False, "type": "timestamptz"},
    {"id": 3, "name": "price", "required": False, "type": "decimal(10, 2)"},
    {
        "id": 4,
        "name": "tags",
        "required": False,
        "type": {"type": "map", "key-id": 5, "key": "string", "value-id": 6, "value": "int", "value-required": False},
    },
    {
        "id": 7,
        "name": "device",
        "required": False,
        "type": {
            "type": "struct",
            "fields": [
                {"id": 8, "name": "os", "required": False, "type": "string"},
                {
                    "id": 9,
                    "name": "sizes",
                    "required": False,
                    "type": {"type": "list", "element-id": 10, "element": "float", "element-required": False},
                },
            ],
        },
    },
]
PARTITION_FIELDS = [
    {"field-id": 1000, "name": "ts_day", "transform": "day", "source-id": 2},
    {"field-id": 1001, "name": "id_bucket", "transform": "bucket[16]", "source-id": 1},
    {"field-id": 1002, "name": "price", "transform": "identity", "source-id": 3},
]


def create_iceberg_table(context: Context, name: str = "events", properties: dict[str, str] | None = None) -> None:
    """The entry in Glue and its metadata file."""
    metadata = {
        "format-version": 2,
        "location": f"s3://lake/{name}",
        "current-schema-id": 0,
        "schemas": [{"schema-id": 0, "type": "struct", "fields": SCHEMA}],
        "default-spec-id": 0,
        "partition-specs": [{"spec-id": 0, "fields": PARTITION_FIELDS}],
        "properties": properties or {},
    }
    key = f"{name}/metadata/00000-a.metadata.json"
    context.s3.put_object(Bucket="lake", Key=key, Body=json.dumps(metadata).encode())
    context.glue.create_table(
        DatabaseName="db",
        TableInput={
            "Name": name,
            "TableType": "EXTERNAL_TABLE",
            "Parameters": {"table_type": "ICEBERG", "metadata_location": f"s3://lake/{key}"},
            "StorageDescriptor": {
                "Location": f"s3://lake/{name}",
                "Columns": [{"Name": "id", "Type": "bigint"}, {"Name": "ts", "Type": "timestamp"}],
            },
        },
    )
