"""The promises of the stack itself: local only, restarts what dies, forgets nothing."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import boto3
import psutil
import pytest
import requests
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import NoSuchTableError
from tenacity import retry, retry_if_exception, stop_after_delay, wait_fixed

from config.loader import PROJECT_ROOT
from infra.local.iceberg_metadata import name_of
from infra.local.supervision import leftovers
from tests.running_stack import RunningStack, stack_command, wait_until, write_environment

# pyarrow has no types to check.
ROW: Any = pytest.importorskip("pyarrow").table({"event_id": ["one"], "price": [9.99]})


@pytest.fixture
def catalog(stack: RunningStack) -> Catalog:
    prefix = "PYICEBERG_CATALOG__LAKEHOUSE__"
    properties = {
        name.removeprefix(prefix).lower().replace("__", ".").replace("_", "-"): value
        for name, value in stack.environment.items()
        if name.startswith(prefix)
    }
    return load_catalog("lakehouse", **properties)


@pytest.fixture
def table_name(stack: RunningStack, catalog: Catalog) -> Iterator[str]:
    name = f"{stack.settings.paths.database}.stack_test"
    yield name
    catalog.drop_table(name)


def client(stack: RunningStack, service: Literal["glue", "s3"]) -> Any:
    keys = stack.environment["AWS_ACCESS_KEY_ID"], stack.environment["AWS_SECRET_ACCESS_KEY"]
    session = boto3.Session(*keys, region_name=stack.environment["AWS_REGION"])
    return session.client(service, endpoint_url=stack.environment["AWS_ENDPOINT_URL"])


def restart_aws_with(stack: RunningStack, glue_state: str | None) -> None:
    """Stop the endpoint, replace what it remembers of Glue, start it again."""
    file = glue_state_file(stack)
    stack.supervisor.stop_service("aws")
    wait_until(lambda: stack.supervisor.states()["aws"] == "STOPPED")
    file.unlink() if glue_state is None else file.write_text(glue_state)
    stack.supervisor.start_service("aws")
    wait_until(lambda: stack.is_ready("aws"))


def glue_state_file(stack: RunningStack) -> Path:
    return stack.layout.state / "aws" / "state" / "glue.json"


def test_every_process_listens_on_this_machine_only(stack: RunningStack) -> None:
    ours = {process.pid for process in leftovers(stack.layout.state)}
    assert ours >= set(stack.pids().values())
    listening = [
        connection
        for connection in psutil.net_connections(kind="inet")
        if connection.pid in ours and (connection.status == psutil.CONN_LISTEN or not connection.raddr)
    ]
    ports = {connection.laddr.port for connection in listening if connection.laddr}

    assert {c.laddr.ip for c in listening if c.laddr} <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert ports >= set(stack.layout.stack.ports.__dict__.values())


def test_up_twice_changes_nothing(stack: RunningStack) -> None:
    before = stack.pids()
    again = stack.command("up")

    assert again.returncode == 0, again.stderr
    assert "already up" in again.stdout
    assert stack.pids() == before


def test_taken_port_is_named_with_its_owner(tmp_path: Path) -> None:
    file = write_environment(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        lines = [f"    kafka: {port}" if "kafka: 2" in line else line for line in file.read_text().splitlines()]
        file.write_text("\n".join(lines))
        up = stack_command("up", environment_file=file)

    assert up.returncode == 1
    assert f"port {port} of kafka is taken by" in up.stderr
    assert f"(pid {psutil.Process().pid})" in up.stderr
    assert str(file) in up.stderr


def test_events_survive_kill_of_kafka(stack: RunningStack) -> None:
    servers = stack.settings.environment.kafka.bootstrap_servers
    topic = stack.settings.pipeline.topic
    producer = Producer({"bootstrap.servers": servers})
    producer.produce(topic.name, key=b"stack-test", value=b"{}", partition=0, timestamp=1)
    assert producer.flush(30) == 0

    stack.kill_and_wait("kafka")

    consumer = Consumer({"bootstrap.servers": servers, "group.id": "stack-test", "enable.auto.commit": False})
    assert len(consumer.list_topics(topic.name, timeout=30).topics[topic.name].partitions) == topic.partitions
    end = read_end(consumer, TopicPartition(topic.name, 0))
    consumer.assign([TopicPartition(topic.name, 0, end - 1)])
    message = consumer.poll(30)
    consumer.close()
    assert message is not None
    assert (message.key(), message.timestamp()[1]) == (b"stack-test", 1)


def has_no_leader(error: BaseException) -> bool:
    codes = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)
    return isinstance(error, KafkaException) and error.args[0].code() in codes


@retry(retry=retry_if_exception(has_no_leader), stop=stop_after_delay(60), wait=wait_fixed(0.5), reraise=True)
def read_end(consumer: Consumer, partition: TopicPartition) -> int:
    """The offset behind the last record; a broker that has just come back leads its partitions a moment later."""
    _, end = consumer.get_watermark_offsets(partition, timeout=30)
    return int(end)


def test_commits_and_objects_survive_kill_of_aws(stack: RunningStack, catalog: Catalog, table_name: str) -> None:
    bucket = stack.settings.environment.aws.bucket
    table = catalog.create_table(table_name, schema=ROW.schema)
    table.append(ROW)
    table.append(ROW)
    client(stack, "s3").put_object(Bucket=bucket, Key="stack-test/object", Body=b"body")

    stack.kill_and_wait("aws")

    assert catalog.load_table(table_name).metadata_location == table.metadata_location
    assert catalog.load_table(table_name).scan().to_arrow().num_rows == 2
    assert client(stack, "s3").get_object(Bucket=bucket, Key="stack-test/object")["Body"].read() == b"body"
    catalog.load_table(table_name).append(ROW)
    assert catalog.load_table(table_name).scan().to_arrow().num_rows == 3


def test_forgotten_table_is_registered_from_its_newest_metadata(
    stack: RunningStack, catalog: Catalog, table_name: str
) -> None:
    table = catalog.create_table(table_name, schema=ROW.schema)
    table.append(ROW)

    restart_aws_with(stack, None)

    assert catalog.load_table(table_name).metadata_location == table.metadata_location
    database, name = table_name.split(".")
    columns = client(stack, "glue").get_table(DatabaseName=database, Name=name)["Table"]["StorageDescriptor"]["Columns"]
    assert [(column["Name"], column["Type"]) for column in columns] == [("event_id", "string"), ("price", "double")]


def test_pointer_that_fell_behind_moves_to_the_newest_commit(
    stack: RunningStack, catalog: Catalog, table_name: str
) -> None:
    table = catalog.create_table(table_name, schema=ROW.schema)
    stale = glue_state_file(stack).read_text()
    table.append(ROW)
    table.append(ROW)

    restart_aws_with(stack, stale)

    assert name_of(catalog.load_table(table_name).metadata_location) == name_of(table.metadata_location)


def test_dropped_table_stays_dropped(stack: RunningStack, catalog: Catalog, table_name: str) -> None:
    catalog.create_table(table_name, schema=ROW.schema).append(ROW)
    catalog.drop_table(table_name)

    restart_aws_with(stack, None)

    with pytest.raises(NoSuchTableError):
        catalog.load_table(table_name)
    catalog.create_table(table_name, schema=ROW.schema)


def test_env_makes_ordinary_tools_speak_to_the_stack(stack: RunningStack) -> None:
    program = (
        "import boto3, json, pyiceberg.catalog as c; "
        "print(json.dumps([[b['Name'] for b in boto3.client('s3').list_buckets()['Buckets']], "
        "[d[0] for d in c.load_catalog('lakehouse').list_namespaces()]]))"
    )
    stack_module = f"'{PROJECT_ROOT}/.local/venv/bin/python' -m infra.local.stack"
    script = f"""set -eu; eval "$({stack_module} env)"; python -c "{program}" """
    done = stack.run("bash", "-c", script, AWS_ENDPOINT_URL="http://127.0.0.1:1", PATH="/usr/bin:/bin")

    buckets, databases = json.loads(done.stdout)
    assert stack.settings.environment.aws.bucket in buckets
    assert stack.settings.paths.database in databases


def test_airflow_command_sees_the_database_of_the_stack(stack: RunningStack) -> None:
    done = stack.run("airflow", "connections", "get", "spark_default", "-o", "json")

    assert json.loads(done.stdout)[0]["host"] == stack.settings.environment.spark.master


def test_admin_logs_in_with_the_generated_password(stack: RunningStack) -> None:
    url = stack.environment["AIRFLOW__API__BASE_URL"]
    login = {"username": "admin", "password": stack.layout.credentials.airflow_admin_password}
    right = requests.post(f"{url}/auth/token", json=login, timeout=30)
    wrong = requests.post(f"{url}/auth/token", json={**login, "password": "wrong"}, timeout=30)

    assert right.status_code == 201
    token = right.json()["access_token"]
    dags = requests.get(f"{url}/api/v2/dags", headers={"Authorization": f"Bearer {token}"}, timeout=30)
    assert dags.status_code == 200
    assert wrong.status_code == 401


def test_status_shows_every_service_ready(stack: RunningStack) -> None:
    wait_until(lambda: stack.command("status").returncode == 0)


def test_state_survives_kill_of_the_supervisor_and_down_and_up(
    stack: RunningStack, catalog: Catalog, table_name: str
) -> None:
    table = catalog.create_table(table_name, schema=ROW.schema)
    table.append(ROW)
    bucket = stack.settings.environment.aws.bucket
    client(stack, "s3").put_object(Bucket=bucket, Key="stack-test/kept", Body=b"kept")

    psutil.Process(stack.supervisor.pid()).kill()
    recovered = stack.command("up")
    assert recovered.returncode == 0, recovered.stderr
    assert stack.command("down").returncode == 0
    assert leftovers(stack.layout.state) == []
    again = stack.command("up")

    assert again.returncode == 0, again.stderr
    assert catalog.load_table(table_name).metadata_location == table.metadata_location
    assert client(stack, "s3").get_object(Bucket=bucket, Key="stack-test/kept")["Body"].read() == b"kept"
