"""Tests of DAGs and their checks: they import Airflow, which must leave no trace outside of the test's folder."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path
from types import ModuleType

import pytest


def import_with_home(name: str, home: Path) -> ModuleType:
    """Import a module that imports Airflow: it creates folders in AIRFLOW_HOME, and redirects the root logger."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_HOME", str(home))
        patch.delenv("LAKEHOUSE_ENV", raising=False)
        patch.delenv("LAKEHOUSE_PIPELINE", raising=False)
        try:
            return importlib.import_module(name)
        finally:
            root.handlers[:], root.level = handlers, level
