"""The Kafka broker: one KRaft process that is its own controller."""

from __future__ import annotations

import base64
import uuid
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from infra.local.layout import KAFKA_JARS, LOCAL, Layout
from infra.local.service import Service, accepts_connections, run_logged


def kafka_service(layout: Layout) -> Service:
    ports = layout.stack.ports
    return Service(
        name="kafka",
        command=(*_java(layout, heap="512m"), "kafka.Kafka", str(_properties_file(layout))),
        ports={"kafka": ports.kafka, "kafka_controller": ports.kafka_controller},
        prepare=lambda: format_storage(layout),
        is_ready=lambda _: accepts_connections(layout.stack.bind_host, ports.kafka) and _lists_topics(layout),
        after_ready=lambda: create_topic(layout),
    )


def server_properties(layout: Layout) -> str:
    """One node: every internal topic has one replica, and topics exist only when somebody creates them."""
    host, ports = layout.stack.bind_host, layout.stack.ports
    properties = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{host}:{ports.kafka_controller}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{host}:{ports.kafka},CONTROLLER://{host}:{ports.kafka_controller}",
        "advertised.listeners": f"PLAINTEXT://{host}:{ports.kafka}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(_log_dir(layout)),
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        "broker.session.timeout.ms": "5000",  # a restarted broker waits until its former self is given up
        "broker.heartbeat.interval.ms": "1000",
        "offsets.topic.num.partitions": "3",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.num.partitions": "3",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
    }
    return "".join(f"{name}={value}\n" for name, value in properties.items())


def format_storage(layout: Layout) -> None:
    """Write the broker's configuration and, once, the identity of its log folder."""
    properties = _properties_file(layout)
    properties.parent.mkdir(parents=True, exist_ok=True)
    properties.write_text(server_properties(layout), encoding="utf-8")
    if (_log_dir(layout) / "meta.properties").exists():
        return
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    tool = (*_java(layout, heap="128m"), "kafka.tools.StorageTool", "format", "--ignore-formatted")
    run_logged((*tool, f"--cluster-id={cluster_id}", "--config", str(properties)), layout.logs / "kafka-format.log")


def create_topic(layout: Layout) -> None:
    """Create the topic of the events; one that exists stays as it is."""
    topic = layout.settings.pipeline.topic
    admin = _admin(layout)
    if topic.name in admin.list_topics(timeout=10).topics:
        return
    new = NewTopic(topic.name, num_partitions=topic.partitions, replication_factor=1, config=topic.options)
    admin.create_topics([new])[topic.name].result(timeout=30)


def _lists_topics(layout: Layout) -> bool:
    try:
        return bool(_admin(layout).list_topics(timeout=2).brokers)
    except KafkaException:
        return False


def _admin(layout: Layout) -> AdminClient:
    return AdminClient({"bootstrap.servers": layout.environment.kafka.bootstrap_servers, "log_level": 0})


def _java(layout: Layout, heap: str) -> tuple[str, ...]:
    return (
        str(layout.java_home / "bin" / "java"),
        f"-Xmx{heap}",
        "-Djava.awt.headless=true",
        f"-Dlog4j2.configurationFile={LOCAL / 'kafka-log4j2.properties'}",
        "-cp",
        f"{KAFKA_JARS}/*",
    )


def _properties_file(layout: Layout) -> Path:
    return layout.state / "kafka" / "server.properties"


def _log_dir(layout: Layout) -> Path:
    return layout.state / "kafka" / "data"
