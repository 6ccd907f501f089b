"""`lake`: S3, Glue, Athena and the dashboard on ports of their own, with the rows of `small_lake`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import awswrangler as wr
import boto3
import pytest
import streamlit as st

from config.loader import CONFIG_DIR
from dashboard import answers
from tests.altered_settings import write_altered
from tests.running_stack import RunningStack, start_storage

SERVICES = ("aws", "trino", "athena", "dashboard")


@pytest.fixture(scope="package")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    folder = tmp_path_factory.mktemp("dashboard")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAKEHOUSE_PIPELINE", write_altered(folder, CONFIG_DIR / "pipeline.yaml", limit_dashboard))
        with start_storage(folder, SERVICES) as running:
            running.run("python", "-m", "tests.integration.dashboard.small_lake")
            yield running


def limit_dashboard(pipeline: dict[str, Any]) -> None:
    """The least that Athena takes for a limit, the rows are far below. Nothing is asked but by a page."""
    pipeline["dashboard"]["scan_limit_mb"] = 10
    pipeline["dashboard"]["warm_up_seconds"] = 0


@pytest.fixture
def pages(lake: RunningStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningStack]:
    """Pages that run in this process see the lake, and remember nothing of an earlier test."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
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
