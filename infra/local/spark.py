"""Spark's configuration on one machine; Spark itself is no service, it starts inside a job."""

from __future__ import annotations

from infra.local.layout import SPARK_JARS, Layout

LOG4J = """\
status = warn
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{yyyy-MM-dd HH:mm:ss} %-5p %c{1}: %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
# Harmless on a laptop, and printed by every job.
logger.native.name = org.apache.hadoop.util.NativeCodeLoader
logger.native.level = error
"""


def spark_defaults(layout: Layout) -> str:
    """What every Spark program on this machine needs; the catalog is the business of the jobs."""
    host = layout.stack.bind_host
    properties = {
        "spark.driver.extraClassPath": f"{SPARK_JARS}/*",
        "spark.driver.memory": layout.environment.spark.driver_memory,
        "spark.driver.extraJavaOptions": layout.environment.spark.java_options,
        "spark.driver.bindAddress": host,
        "spark.driver.host": host,
        "spark.ui.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.warehouse.dir": str(layout.state / "spark-warehouse"),
    }
    return "".join(f"{name} {value}\n" for name, value in properties.items())


def write_spark_conf(layout: Layout) -> None:
    layout.spark_conf.mkdir(parents=True, exist_ok=True)
    (layout.spark_conf / "spark-defaults.conf").write_text(spark_defaults(layout), encoding="utf-8")
    (layout.spark_conf / "log4j2.properties").write_text(LOG4J, encoding="utf-8")
