"""The Glue catalog for clients in Python: PyIceberg's properties, made from the settings."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from config.loader import Settings

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

CATALOG = "lakehouse"


def catalog_properties(settings: Settings) -> dict[str, str]:
    """What `load_catalog` takes; credentials come from the environment, as boto3 finds them."""
    aws = settings.environment.aws
    properties = {
        "type": "glue",
        "warehouse": settings.paths.warehouse,
        "glue.region": aws.region,
        "s3.region": aws.region,
    }
    if aws.endpoint_url:
        properties |= {"glue.endpoint": aws.endpoint_url, "s3.endpoint": aws.endpoint_url}
    if credentials := settings.environment.any_credentials:
        for service in ("glue", "s3"):
            properties |= {f"{service}.access-key-id": credentials, f"{service}.secret-access-key": credentials}
    return properties


def open_catalog(settings: Settings) -> Catalog:
    """PyIceberg's catalog on the Glue endpoint of the environment."""
    from pyiceberg.catalog import load_catalog  # a second to import, which who only asks for properties is spared

    patience = {"s3.retry-strategy-impl": "config.s3_retries.PatientS3Retries"}
    return load_catalog(CATALOG, **catalog_properties(settings) | patience)


def count_partition_rows(table: Table, snapshot_id: int | None = None) -> dict[dt.date, int]:
    """Rows of each date of a table that is partitioned by one, ascending; reads metadata only.

    Of the newest snapshot of main, or of `snapshot_id`.
    """
    partitions = table.inspect.partitions(snapshot_id=snapshot_id).to_pylist() if table.current_snapshot() else []
    rows = {next(iter(row["partition"].values())): row["record_count"] for row in partitions}
    return dict(sorted((date, count) for date, count in rows.items() if count))
