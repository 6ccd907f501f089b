"""Breaks a good payload in one of the ways in which payloads break."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Break = Callable[[dict[str, Any], int], bytes]


def _dump(event: dict[str, Any]) -> bytes:
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()


def _not_json(_event: dict[str, Any], _variant: int) -> bytes:
    return b"<html><body>502 Bad Gateway</body></html>"


def _truncated_json(event: dict[str, Any], variant: int) -> bytes:
    # Cut inside event_id, the first field: no reader, however lenient, finds an event_time in what is left.
    return _dump(event)[: 15 + variant % 30]


def _not_utf8(event: dict[str, Any], _variant: int) -> bytes:
    return _dump({**event, "search_query": "BROKEN"}).replace(b"BROKEN", b"caf\xe9 \xff")


def _missing_field(event: dict[str, Any], variant: int) -> bytes:
    missing = ("event_id", "event_time", "event_type", "user_id")[variant % 4]
    return _dump({key: value for key, value in event.items() if key != missing})


def _unknown_event_type(event: dict[str, Any], _variant: int) -> bytes:
    return _dump({**event, "event_type": "hover"})


def _bad_event_time(event: dict[str, Any], variant: int) -> bytes:
    return _dump({**event, "event_time": ("yesterday", "", "12:30", "not a time")[variant % 4]})


def _impossible_date(event: dict[str, Any], variant: int) -> bytes:
    impossible = ("2025-02-30", "2025-13-01", "2025-04-31")[variant % 3]
    return _dump({**event, "event_time": f"{impossible}T08:15:30.125Z"})


def _negative_price(event: dict[str, Any], variant: int) -> bytes:
    return _dump({**event, "price": -1 - variant % 1000 / 100})


def _wrong_type(event: dict[str, Any], _variant: int) -> bytes:
    return _dump({**event, "user_id": int(event["user_id"])})


def _empty_value(_event: dict[str, Any], _variant: int) -> bytes:
    return b""


BREAKS: dict[str, Break] = {
    "not_json": _not_json,
    "truncated_json": _truncated_json,
    "not_utf8": _not_utf8,
    "missing_field": _missing_field,
    "unknown_event_type": _unknown_event_type,
    "bad_event_time": _bad_event_time,
    "impossible_date": _impossible_date,
    "negative_price": _negative_price,
    "wrong_type": _wrong_type,
    "empty_value": _empty_value,
}
MALFORMED_KINDS = tuple(BREAKS)


def break_payload(payload: bytes, kind: str, variant: int) -> bytes:
    """The payload of a good event, broken as `kind` says; `variant` chooses among the ways of that kind."""
    return BREAKS[kind](json.loads(payload), variant)
