"""`lake`: the stack with the rows of `small_lake` in a Glue database, and a work group of Athena, of their own.

The dashboard on it is a server of these tests: that of the stack shows what the daily runs have made.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import awswrangler as wr
import boto3
import pytest
import streamlit as st

import config
from config.loader import CONFIG_DIR, PROJECT_ROOT
from dashboard import answers
from infra.local import service
from infra.local.athena.named_queries import publish_named_queries
from infra.local.athena.query_command import open_athena
from infra.local.dashboard import make_work_group, streamlit_command
from tests.altered_settings import write_altered
from tests.running_stack import RunningStack, free_ports, inherited_variables, wait_until

NAME = "small_lake"


@pytest.fixture(scope="package")
def lake(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    folder = tmp_path_factory.mktemp("dashboard")
    with pytest.MonkeyPatch.context() as patch:
        paths = write_altered(folder, CONFIG_DIR / "s3_paths.yaml", lambda content: content.update(database=NAME))
        patch.setenv("LAKEHOUSE_PATHS", paths)
        patch.setenv("LAKEHOUSE_PIPELINE", write_altered(folder, CONFIG_DIR / "pipeline.yaml", limit_dashboard))
        settings = config.load()
        running = dataclasses.replace(stack, layout=dataclasses.replace(stack.layout, settings=settings))
        athena = open_athena(settings)
        make_work_group(athena, settings)
        publish_named_queries(athena, settings)
        running.run("python", "-m", "tests.integration.dashboard.small_lake")
        yield running
        publish_named_queries(athena, stack.settings)


def limit_dashboard(pipeline: dict[str, Any]) -> None:
    """The least that Athena takes for a limit, the rows are far below. Nothing is asked but by a page."""
    pipeline["dashboard"]["work_group"] = NAME
    pipeline["dashboard"]["scan_limit_mb"] = 10
    pipeline["dashboard"]["warm_up_seconds"] = 0


@pytest.fixture(scope="package")
def url(lake: RunningStack) -> Iterator[str]:
    """A server as the stack starts it, on the rows of `small_lake`."""
    host, (port,) = lake.layout.stack.bind_host, free_ports(1)
    environment = {**inherited_variables(), **lake.environment}
    with (lake.layout.logs / f"{NAME}.log").open("w") as log:
        server = subprocess.Popen(
            streamlit_command(host, port), env=environment, cwd=PROJECT_ROOT, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        wait_until(lambda: service.answers(f"http://{host}:{port}/_stcore/health"))
        yield f"http://{host}:{port}"
    finally:
        server.terminate()
        server.wait()


@pytest.fixture
def pages(lake: RunningStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningStack]:
    """Pages that run in this process see the lake, and remember nothing of an earlier test."""
    for name in ("AWS_PROFILE", *(name for name in lake.environment if name.startswith("AWS_"))):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    assert os.environ["LAKEHOUSE_ENV"] == str(lake.layout.environment_file)
    asking = ThreadPoolExecutor(4)
    monkeypatch.setattr(answers, "AT_ONCE", asking)
    forget()
    yield lake
    asking.shutdown(cancel_futures=True)  # what a page asked ahead and did not need
    forget()
    wr.config.reset()


def forget() -> None:
    """As after a start of the server."""
    st.cache_data.clear()
    st.cache_resource.clear()


def count_queries(lake: RunningStack) -> int:
    """Statements that the dashboard's work group has executed so far."""
    stack = lake.layout.stack
    session = boto3.Session("test", "test", region_name=lake.settings.environment.aws.region)
    athena = session.client("athena", endpoint_url=f"http://{stack.bind_host}:{stack.ports.athena}")
    group = lake.settings.pipeline.dashboard.work_group
    pages = athena.get_paginator("list_query_executions").paginate(WorkGroup=group)
    return sum(len(page["QueryExecutionIds"]) for page in pages)
