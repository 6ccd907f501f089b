from __future__ import annotations

import configparser
import dataclasses
import json
import shlex
import stat
from pathlib import Path

import pytest

from infra.local.aws import endpoint_environment
from infra.local.credentials import load_or_generate
from infra.local.environment import client_environment, export_lines, service_environment
from infra.local.kafka import server_properties
from infra.local.layout import Layout
from infra.local.services import services
from infra.local.spark import spark_variables
from infra.local.supervision import render


def test_supervisor_knows_every_service_and_expands_nothing(layout: Layout) -> None:
    conf = configparser.RawConfigParser()
    conf.read_string(render(layout, services(layout)))

    programs = [section for section in conf.sections() if section.startswith("program:")]
    assert programs == [f"program:{service.name}" for service in services(layout)]
    assert conf["inet_http_server"]["port"] == "127.0.0.1:9001"
    assert conf["supervisord"]["logfile"] == str(layout.logs / "supervisord.log").replace("%", "%%")


def test_services_depend_only_on_services_before_them(layout: Layout) -> None:
    known: set[str] = set()
    for service in services(layout):
        assert known.issuperset(service.depends_on)
        known.add(service.name)


def test_services_and_supervisor_use_every_port_of_the_configuration_once(layout: Layout) -> None:
    used = {key: port for service in services(layout) for key, port in service.ports.items()}
    assert used == {key: port for key, port in dataclasses.asdict(layout.stack.ports).items() if key != "supervisor"}


def test_kafka_listens_on_this_machine_only(layout: Layout) -> None:
    properties = dict(line.split("=", 1) for line in server_properties(layout).splitlines())
    listeners = [listener for key in ("listeners", "advertised.listeners") for listener in properties[key].split(",")]

    assert all("://127.0.0.1:" in listener for listener in listeners)
    assert properties["log.dirs"] == str(layout.state / "kafka" / "data")


def test_ministack_opens_no_further_port(layout: Layout) -> None:
    environment = endpoint_environment(layout)
    assert environment["BIND_HOST"] == "127.0.0.1"
    assert (environment["IOT_MTLS_ENABLED"], environment["SFTP_ENABLED"]) == ("0", "0")


def test_spark_finds_its_extra_jars_and_runs_in_utc(layout: Layout) -> None:
    variables = spark_variables(layout)
    assert variables["SPARK_DIST_CLASSPATH"].endswith("/.local/jars/spark/*")
    assert "-Dspark.sql.session.timeZone=UTC" in shlex.split(variables["SPARK_SUBMIT_OPTS"])


def test_export_lines_survive_a_shell() -> None:
    variables = {"PLAIN": "a", "HARD": """a b 'c' "d" $E `f` \\ {"g": 1}"""}
    parsed = [shlex.split(line) for line in export_lines(variables)]
    assert parsed == [["export", f"{name}={value}"] for name, value in variables.items()]


def test_spark_connection_of_airflow_is_the_master_of_the_environment(layout: Layout) -> None:
    connection = json.loads(client_environment(layout)["AIRFLOW_CONN_SPARK_DEFAULT"])
    assert connection == {"conn_type": "spark", "host": "local[2]", "extra": {"deploy-mode": "client"}}


def test_services_do_not_inherit_what_leads_elsewhere(layout: Layout) -> None:
    shell = {
        "HOME": "/home/me",
        "AWS_PROFILE": "production",
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW_CONN_OTHER": "x",
        "SPARK_HOME": "/opt/spark",
    }
    environment = service_environment(layout, shell)

    assert environment["HOME"] == "/home/me"
    assert environment["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert not {"AWS_PROFILE", "AIRFLOW_CONN_OTHER", "SPARK_HOME"} & environment.keys()


def test_proxy_does_not_swallow_the_stack(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "intranet,localhost")
    assert client_environment(layout)["NO_PROXY"] == "intranet,127.0.0.1,localhost"


def test_credentials_are_generated_once_and_private(tmp_path: Path) -> None:
    first = load_or_generate(tmp_path)

    assert load_or_generate(tmp_path) == first
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600
