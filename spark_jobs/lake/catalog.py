"""Where tables live: Glue, or a folder. Spark and PyIceberg see the same catalog, each by its own properties.

A folder has a catalog of its own in SQLite, `catalog.db`: Iceberg's JDBC catalog for Spark, PyIceberg's SqlCatalog.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from pyiceberg.catalog import Catalog, load_catalog
from pyspark.sql import SparkSession

from config import Settings
from config.catalog import CATALOG, open_catalog
from spark_jobs.errors import JobError

CATALOG_FILE = "catalog.db"


class CatalogError(JobError):
    """There is no catalog to be had; the message says why and what to do."""


@dataclass(frozen=True)
class Place:
    """One catalog. `name` is Spark's; `options` are those of Iceberg's Spark catalog; `open` gives PyIceberg's."""

    name: str
    options: dict[str, str]
    open: Callable[[], Catalog]

    def register(self, spark: SparkSession) -> None:
        """Make a session know the catalog. The name tells places apart: what a session knows by it never changes."""
        key = f"spark.sql.catalog.{self.name}"
        if spark.conf.get(key, None) is None:
            for option, value in self.options.items():
                spark.conf.set(f"{key}.{option}", value)
            spark.conf.set(key, "org.apache.iceberg.spark.SparkCatalog")


def glue_place(settings: Settings) -> Place:
    """The Glue catalog of the environment; on one machine its name has the endpoint's port."""
    aws = settings.environment.aws
    options = {
        "type": "glue",
        "warehouse": settings.paths.warehouse,
        "io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        "client.region": aws.region,
        "cache-enabled": "false",
    }
    if aws.endpoint_url:
        options |= {"s3.endpoint": aws.endpoint_url, "s3.path-style-access": "true", "glue.endpoint": aws.endpoint_url}
    port = urlsplit(aws.endpoint_url or "").port
    return Place(f"{CATALOG}_{port}" if port else CATALOG, options, partial(open_catalog, settings))


def folder_place(folder: str) -> Place:
    """A catalog in a folder of this machine, which is made where there is none. Raises CatalogError."""
    if "://" in folder and not folder.startswith("file://"):
        raise CatalogError(f"{folder} is no folder of this machine: tables elsewhere belong in the Glue catalog")
    path = Path(folder.removeprefix("file://")).resolve()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CatalogError(f"{path} cannot be made: {error.strerror}; name another folder") from error
    file, warehouse = path / CATALOG_FILE, path.as_uri()
    # The name stands in SQLite beside every table: of the folder, it is the same for every job.
    name = f"folder_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    options = {
        "type": "jdbc",
        "uri": f"jdbc:sqlite:{file}",
        "warehouse": warehouse,
        "jdbc.schema-version": "V1",
        "cache-enabled": "false",
    }
    properties = {"type": "sql", "uri": f"sqlite:///{file}", "warehouse": warehouse, "schema_version": "v1"}
    return Place(name, options, partial(load_catalog, name, **properties))
