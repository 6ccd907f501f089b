"""A Spark Connect server on one machine: one warm JVM with our jars, for any number of sessions."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from infra.local.layout import VENV
from spark_jobs.lake.session import STATIC_SETTINGS

SERVER_CLASS = "org.apache.spark.sql.connect.service.SparkConnectServer"


def connect_command(
    host: str, port: int, master: str, memory: str, java_options: Sequence[str], settings: Mapping[str, str]
) -> list[str]:
    """The command of a server that stays in the foreground; `settings` are the defaults of its sessions."""
    conf = {
        "spark.connect.grpc.binding.address": host,
        "spark.connect.grpc.binding.port": str(port),
        "spark.driver.bindAddress": host,
        "spark.driver.host": host,
        "spark.ui.enabled": "false",
        **STATIC_SETTINGS,
        **settings,
    }
    options = [option for key, value in conf.items() for option in ("--conf", f"{key}={value}")]
    return [
        str(VENV / "bin" / "spark-submit"),
        *("--master", master, "--driver-memory", memory, "--driver-java-options", shlex.join(java_options)),
        *("--class", SERVER_CLASS, *options, "spark-internal"),
    ]
