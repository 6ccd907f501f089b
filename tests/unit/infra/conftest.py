"""A layout of a stack that never starts: rendering needs neither ports nor Java."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import config
from infra.local.credentials import generate
from infra.local.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    settings = config.load("local")
    assert settings.environment.stack is not None
    stack = dataclasses.replace(settings.environment.stack, state_dir=str(tmp_path / "state 100%"))
    return Layout(
        settings=settings,
        stack=stack,
        environment_name="local",
        credentials=generate(),
        java_home=Path("/java"),
    )
