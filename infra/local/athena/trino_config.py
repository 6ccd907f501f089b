"""Trino's configuration on one machine: one node, two catalogs on the same Glue and S3."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from infra.local.layout import TRINO_HOME, Layout

HIVE, ICEBERG = "awsdatacatalog", "iceberg"
LOGGERS = ("io.trino", "io.airlift", "Bootstrap", "org.apache.iceberg", "org.eclipse.jetty", "org.hibernate")
Properties = Mapping[str, str]


def write_configuration(layout: Layout) -> None:
    """Below `<state>/trino/etc`."""
    for name, properties in configuration_files(layout).items():
        file = configuration_folder(layout) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = (f"{key}={value}\n" for key, value in properties.items())
        file.write_text("".join(lines), encoding="utf-8")


def configuration_folder(layout: Layout) -> Path:
    return layout.state / "trino" / "etc"


def configuration_files(layout: Layout) -> dict[str, Properties]:
    return {
        "config.properties": server_properties(layout),
        "log.properties": dict.fromkeys(LOGGERS, "WARN"),
        f"catalog/{HIVE}.properties": hive_properties(layout),
        f"catalog/{ICEBERG}.properties": iceberg_properties(layout),
    }


def node_properties(layout: Layout) -> Properties:
    """Given as system properties: all of the node's listens on this machine only."""
    host = layout.stack.bind_host
    return {
        "node.environment": "local",
        "node.id": "local",
        "node.data-dir": str(layout.state / "trino" / "data"),
        "node.bind-ip": host,
        "node.internal-address": host,
    }


def server_properties(layout: Layout) -> Properties:
    port = layout.stack.ports.trino
    return {
        "coordinator": "true",
        "node-scheduler.include-coordinator": "true",
        "http-server.http.port": str(port),
        "discovery.uri": f"http://{layout.stack.bind_host}:{port}",
        "http-server.log.enabled": "false",
        "web-ui.enabled": "false",
        "plugin.dir": str(TRINO_HOME / "plugin"),
        "catalog.config-dir": str(configuration_folder(layout) / "catalog"),
        # The only node is announced some seconds after the port opens: queries wait for it instead of failing.
        "query-manager.required-workers": "1",
        "query-manager.required-workers-max-wait": "1m",
        "query.max-memory-per-node": "700MB",
        "memory.heap-headroom-per-node": "300MB",
        "query.max-history": "50",  # finished queries are kept by the endpoint, not here
        "query.min-expire-age": "1m",
        "task.concurrency": "2",
    }


def hive_properties(layout: Layout) -> Properties:
    """Athena's defaults: Parquet with gzip, a partition whose folder is gone has no rows, subfolders are read."""
    return {
        "connector.name": "hive",
        "hive.metastore": "glue",
        **_store_properties(layout),
        "hive.iceberg-catalog-name": ICEBERG,
        "hive.partition-projection-enabled": "true",
        "hive.non-managed-table-writes-enabled": "true",
        "hive.recursive-directories": "true",
        "hive.ignore-absent-partitions": "true",
        "hive.max-partitions-per-writers": "100",
        "hive.storage-format": "PARQUET",
        "hive.compression-codec": "GZIP",
    }


def iceberg_properties(layout: Layout) -> Properties:
    return {
        "connector.name": "iceberg",
        "iceberg.catalog.type": "glue",
        **_store_properties(layout),
        "iceberg.hive-catalog-name": HIVE,
        "iceberg.unique-table-location": "true",
        "iceberg.expire-snapshots.min-retention": "0s",
        "iceberg.remove-orphan-files.min-retention": "0s",
        "iceberg.register-table-procedure.enabled": "true",
        "iceberg.allowed-extra-properties": "*",  # Athena's own, such as vacuum_max_snapshot_age_seconds
    }


def _store_properties(layout: Layout) -> Properties:
    """The local endpoint checks no signatures; the keys only have to exist."""
    aws = layout.environment.aws
    endpoint = aws.endpoint_url or ""
    return {
        "hive.metastore.glue.region": aws.region,
        "hive.metastore.glue.endpoint-url": endpoint,
        "hive.metastore.glue.aws-access-key": "test",
        "hive.metastore.glue.aws-secret-key": "test",
        "hive.metastore.glue.default-warehouse-dir": layout.settings.paths.warehouse,
        "fs.native-s3.enabled": "true",
        "s3.endpoint": endpoint,
        "s3.region": aws.region,
        "s3.path-style-access": "true",
        "s3.aws-access-key": "test",
        "s3.aws-secret-key": "test",
    }
