"""Whether the counts of a run add up: produced = landed = clean + quarantined + duplicates."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd  # type: ignore[import-untyped]


def find_faults(runs: pd.DataFrame) -> list[str]:
    """A sentence for each thing that does not hold of rows of pipeline_runs, the newest date first."""
    faults: list[str] = []
    for run in runs.sort_values("event_date", ascending=False).to_dict("records"):
        faults += [f"{run['event_date']}: {fault}" for fault in _faults_of(run)]
    return faults


def _faults_of(run: dict[str, Any]) -> list[str]:
    numbers = ("produced", "requeued", "landed", "quarantined", "duplicates", "clean")
    count = {name: 0 if pd.isna(run[name]) else int(run[name]) for name in numbers}
    faults = []
    parts = count["clean"] + count["quarantined"] + count["duplicates"]
    if count["landed"] != parts:
        faults.append(f"{count['landed']:,} records landed, but clean, quarantined and duplicates are {parts:,}")
    # More than was produced is none: a publication that was interrupted and repeated leaves duplicates.
    if not pd.isna(run["produced"]) and (lost := count["produced"] + count["requeued"] - count["landed"]) > 0:
        faults.append(f"{lost:,} of {count['produced']:,} produced records did not land")
    for name, words in {"forced": "went on by force", "gaps": "landing left out", "warnings": "warned by"}.items():
        if isinstance(text := run[name], str):
            faults.append(f"{words}: {say(text)}")
    return faults


def say(text: str) -> str:
    """A JSON list of texts or of mappings as a line."""
    return "; ".join(say_each(text))


def say_each(text: str) -> list[str]:
    """The items of such a list, each as a line."""
    return [
        ", ".join(f"{key} {value}" for key, value in item.items()) if isinstance(item, dict) else str(item)
        for item in json.loads(text)
    ]
