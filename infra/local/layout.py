"""Where one stack keeps what: every path below `.local/` and below its state folder, in one place."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from config import Environment, Settings, load
from config.loader import PROJECT_ROOT, Stack, environment_file
from infra.local.credentials import Credentials, load_or_generate
from infra.local.java import find_java_home

TOOLS = PROJECT_ROOT / ".local"
VENV = TOOLS / "venv"
MINISTACK_VENV = TOOLS / "ministack-venv"
TRINO_VENV = TOOLS / "trino-venv"
TRINO_HOME = TOOLS / "trino"
KAFKA_JARS = TOOLS / "jars" / "kafka"
LOCAL = PROJECT_ROOT / "infra" / "local"


class NoStackError(Exception):
    """The environment has no services of its own on this machine."""


@dataclass(frozen=True)
class Layout:
    """Everything that a service needs to know about the stack that it belongs to."""

    settings: Settings
    stack: Stack
    environment_name: str
    credentials: Credentials
    java_home: Path

    @property
    def environment(self) -> Environment:
        return self.settings.environment

    @property
    def state(self) -> Path:
        return self.stack.state_path

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def airflow_home(self) -> Path:
        return self.state / "airflow"

    @property
    def environment_file(self) -> Path:
        return environment_file(self.environment_name).resolve()


def open_layout() -> Layout:
    """The stack of the environment that `LAKEHOUSE_ENV` chooses; creates its state folder at the first call."""
    settings = load()
    stack = settings.environment.stack
    chosen = os.environ.get("LAKEHOUSE_ENV") or "local"
    file = environment_file(chosen).resolve()
    if stack is None:
        raise NoStackError(f"{file}: stack is null: the services of this environment run elsewhere")
    stack.state_path.mkdir(parents=True, exist_ok=True)
    return Layout(
        settings=settings,
        stack=stack,
        environment_name=str(file) if chosen.endswith((".yaml", ".yml")) else chosen,
        credentials=load_or_generate(stack.state_path),
        java_home=find_java_home(),
    )
