"""When the pages' answers are asked for ahead of time; that they are those of the pages, tests/integration says."""

from __future__ import annotations

from typing import Any

import pytest

from dashboard import warm_up
from dashboard.lake import ServiceAwayError

EMPTY: dict[str, str] = {}
OLD, NEW = {"sessions": "s3://lake/1.json"}, {"sessions": "s3://lake/2.json"}
AWAY = ServiceAwayError("Glue is away.", "Start it.")


class SeenLake:
    """A lake whose tables are at other places, or which is away, each time one looks."""

    def __init__(self, *seen: Any) -> None:
        self.seen = list(seen)

    def metadata_locations(self) -> dict[str, str]:
        found: dict[str, str] | Exception = self.seen.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


@pytest.mark.parametrize(
    ("seen", "warmed"),
    [
        ([OLD, OLD, OLD], [OLD]),  # at the start at once, then never for what is known
        ([OLD, NEW, NEW, NEW], [OLD, NEW]),  # a change when it has come to rest
        ([OLD, NEW, OLD, NEW], [OLD]),  # never at rest
        ([EMPTY, OLD, OLD], [EMPTY, OLD]),
        ([AWAY, OLD, AWAY, OLD, NEW, AWAY, NEW], [OLD, NEW]),
    ],
)
def test_a_lake_is_warmed_when_it_is_new_and_at_rest(
    monkeypatch: pytest.MonkeyPatch, seen: list[Any], warmed: list[dict[str, str]]
) -> None:
    found: list[Any] = []
    monkeypatch.setattr(warm_up, "warm_up", found.append)
    warm_up.keep_warm(SeenLake(*seen), [None] * len(seen))  # type: ignore[arg-type]
    assert found == warmed


def test_what_could_not_be_asked_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []

    def fail_once(locations: Any) -> None:
        found.append(locations)
        if len(found) == 1:
            raise AWAY

    monkeypatch.setattr(warm_up, "warm_up", fail_once)
    warm_up.keep_warm(SeenLake(OLD, OLD, OLD), [None] * 3)  # type: ignore[arg-type]
    assert found == [OLD, OLD]
