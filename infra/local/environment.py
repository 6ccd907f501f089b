"""The variables that make ordinary tools speak to the stack: for its own services and for `make env`."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from importlib.metadata import version

from config.catalog import CATALOG, catalog_properties
from config.loader import PROJECT_ROOT
from infra.local.layout import VENV, Layout
from infra.local.spark import spark_variables

# Settings of the caller's shell that would lead a service, or a client of the stack, somewhere else.
FOREIGN_PREFIXES = ("AIRFLOW_", "PYICEBERG_", "PYSPARK_", "SPARK_")
FOREIGN_NAMES = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_GLUE", "PYTHONPATH")


def client_environment(layout: Layout) -> dict[str, str]:
    """What `make env` prints."""
    return {
        "LAKEHOUSE_ENV": layout.environment_name,
        "KAFKA_BOOTSTRAP_SERVERS": layout.environment.kafka.bootstrap_servers,
        **aws_variables(layout),
        **pyiceberg_variables(layout),
        **spark_variables(layout),
        **airflow_variables(layout),
        **path_variables(layout),
    }


def service_environment(layout: Layout, inherited: Mapping[str, str]) -> dict[str, str]:
    """Environment of a service: the caller's, without what would lead it elsewhere, plus the client's."""
    kept = {
        name: value
        for name, value in inherited.items()
        if not name.startswith(FOREIGN_PREFIXES) and name not in FOREIGN_NAMES
    }
    # Airflow's tasks have a socket as their input: at SHLVL < 2 bash takes that for a login over the network, reads
    # ~/.bashrc and with it another PATH.
    return {**kept, **client_environment(layout), "PYTHONUNBUFFERED": "1", "SHLVL": "2"}


def export_lines(variables: Mapping[str, str]) -> list[str]:
    return [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]


def aws_variables(layout: Layout) -> dict[str, str]:
    """The local endpoint checks no signatures; the keys only have to exist."""
    aws = layout.environment.aws
    return {
        **({"AWS_ENDPOINT_URL": aws.endpoint_url} if aws.endpoint_url else {}),
        "AWS_ENDPOINT_URL_ATHENA": f"http://{layout.stack.bind_host}:{layout.stack.ports.athena}",
        "AWS_REGION": aws.region,
        "AWS_DEFAULT_REGION": aws.region,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def pyiceberg_variables(layout: Layout) -> dict[str, str]:
    """A PyIceberg catalog `lakehouse`: `load_catalog("lakehouse")`. It writes a property's dots as two underscores."""
    keys = {f"{service}.{key}": "test" for service in ("glue", "s3") for key in ("access-key-id", "secret-access-key")}
    return {
        f"PYICEBERG_CATALOG__{CATALOG.upper()}__{name.upper().replace('.', '__').replace('-', '_')}": value
        for name, value in (catalog_properties(layout.settings) | keys).items()
    }


def airflow_variables(layout: Layout) -> dict[str, str]:
    """The whole configuration of Airflow; there is no airflow.cfg."""
    host, ports, credentials = layout.stack.bind_host, layout.stack.ports, layout.credentials
    database = f"airflow:{credentials.airflow_database_password}@{host}:{ports.postgres}/airflow"
    url = f"http://{host}:{ports.airflow}"
    athena = {
        "conn_type": "athena",
        "schema": layout.settings.paths.database,
        "extra": {
            "s3_staging_dir": f"{layout.settings.paths.athena_results}/",
            "region_name": layout.environment.aws.region,
        },
    }
    spark = {"conn_type": "spark", "host": layout.environment.spark.master, "extra": {"deploy-mode": "client"}}
    sections = {
        "CORE": {
            "DAGS_FOLDER": str(PROJECT_ROOT / "airflow_dags"),
            "EXECUTOR": "LocalExecutor",
            "EXECUTION_API_SERVER_URL": f"{url}/execution/",
            "PARALLELISM": "4",
            "LOAD_EXAMPLES": "False",
            "DEFAULT_TIMEZONE": "utc",
            "FERNET_KEY": credentials.airflow_fernet_key,
            "SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
            "SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(layout.airflow_home / "passwords.json"),
        },
        "DATABASE": {"SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{database}"},
        "API": {
            "HOST": host,
            "PORT": str(ports.airflow),
            "BASE_URL": url,
            "WORKERS": "1",
            "SECRET_KEY": credentials.airflow_secret_key,
        },
        "API_AUTH": {"JWT_SECRET": credentials.airflow_jwt_secret},
        "DAG_PROCESSOR": {
            "REFRESH_INTERVAL": "10",  # seconds until a new file in airflow_dags/ is seen
            "MIN_FILE_PROCESS_INTERVAL": "60",  # a changed file is read at the next look, an unchanged one so often
            "PARSING_PROCESSES": "1",
        },
        # Seconds until what a killed scheduler was running starts again; Airflow's own 300 are for networks.
        "SCHEDULER": {"TASK_INSTANCE_HEARTBEAT_TIMEOUT": "90", "ORPHANED_TASKS_CHECK_INTERVAL": "30"},
        "USAGE_DATA_COLLECTION": {"ENABLED": "False"},
    }
    return {
        "AIRFLOW_HOME": str(layout.airflow_home),
        **{
            f"AIRFLOW__{section}__{name}": value
            for section, options in sections.items()
            for name, value in options.items()
        },
        "AIRFLOW_CONN_ATHENA_DEFAULT": json.dumps(athena),
        "AIRFLOW_CONN_AWS_DEFAULT": json.dumps({"conn_type": "aws"}),  # credentials and endpoints as boto3 finds them
        "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps(spark),
    }


def path_variables(layout: Layout) -> dict[str, str]:
    """The project's commands come first on PATH; a proxy must not swallow what is on this machine."""
    first = [str(VENV / "bin"), str(layout.java_home / "bin")]
    others = [part for part in os.environ.get("PATH", "").split(os.pathsep) if part and part not in first]
    host = layout.stack.bind_host
    excluded = [name for name in os.environ.get("NO_PROXY", "").split(",") if name and name not in (host, "localhost")]
    no_proxy = ",".join([*excluded, host, "localhost"])
    return {"PATH": os.pathsep.join(first + others), "NO_PROXY": no_proxy, "no_proxy": no_proxy}


def airflow_version() -> str:
    return version("apache-airflow")
