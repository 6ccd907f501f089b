"""Spark's settings on one machine; Spark itself is no service, it starts inside a job."""

from __future__ import annotations

import shlex

from infra.local.class_archive import ARCHIVE, class_path_variables
from infra.local.layout import LOCAL, VENV, Layout


def spark_variables(layout: Layout) -> dict[str, str]:
    """What every Spark program on this machine needs; the catalog is the business of the jobs."""
    spark = layout.environment.spark
    return {
        **class_path_variables(layout.java_home),
        "SPARK_DRIVER_MEMORY": spark.driver_memory,
        "SPARK_LOCAL_IP": layout.stack.bind_host,
        "SPARK_SUBMIT_OPTS": f"{spark.java_options} {shlex.join(java_options(layout))}",
        "PYSPARK_PYTHON": str(VENV / "bin" / "python"),
    }


def java_options(layout: Layout) -> list[str]:
    """Spark's own properties as those of its JVM: where they are given again (--conf), the later value counts."""
    host = layout.stack.bind_host
    properties = {
        "log4j2.configurationFile": str(LOCAL / "spark-log4j2.properties"),
        "spark.driver.bindAddress": host,
        "spark.driver.host": host,
        "spark.ui.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.warehouse.dir": str(layout.state / "spark-warehouse"),
    }
    archive = [f"-XX:SharedArchiveFile={ARCHIVE}"] if ARCHIVE.exists() else []
    # What plans and loads runs a few times in a job: the optimising compiler would take a core from the tasks for it.
    directives = ["-XX:+UnlockDiagnosticVMOptions", f"-XX:CompilerDirectivesFile={LOCAL / 'spark-compiler.json'}"]
    return [*archive, *directives, *(f"-D{name}={value}" for name, value in properties.items())]
