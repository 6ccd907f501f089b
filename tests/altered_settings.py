"""Configuration files of the project with a few values of a test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml


def write_altered(folder: Path, source: Path, alter: Callable[[dict[str, Any]], Any]) -> str:
    """A copy of a configuration file after `alter` has changed its content in place; returns its path."""
    content = yaml.safe_load(source.read_text(encoding="utf-8"))
    alter(content)
    file = folder / source.name
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return str(file)


def work_little(pipeline: dict[str, Any]) -> None:
    """Two candidates from two seeds, not six from four, and no answers before anybody asks: for tests of the rest."""
    pipeline["segmentation"]["num_seeds"] = 2
    pipeline["segmentation"]["choice"]["candidates"] = [3, 4]
    pipeline["dashboard"]["warm_up_seconds"] = 0
