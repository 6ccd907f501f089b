"""Pages of lists: MaxResults and NextToken."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from infra.local.athena.protocol import Answer, InvalidRequestError, Request

T = TypeVar("T")
DEFAULT_PAGE = 50


def encode_token(position: int | str) -> str:
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode()


def decode_token(token: str | None, kind: type[T]) -> T | None:
    """The position that a token of ours holds; InvalidRequestError for every other text."""
    if token is None:
        return None
    try:
        position: Any = json.loads(base64.b64decode(token.encode(), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        position = None
    if type(position) is not kind or (isinstance(position, int) and not 0 <= position < 2**62):
        raise InvalidRequestError("Invalid NextToken: it is not one that this operation gave")
    return position


def page_of(
    items: Sequence[T], request: Request, name: str, key: Callable[[T], str], default: int = DEFAULT_PAGE
) -> Answer:
    """One page of `items`, which are sorted by `key`, as the answer's list `name`.

    The token is the last key, so that an item that comes or goes in between shifts nothing.
    """
    after = decode_token(request.get("NextToken"), str)
    left = [item for item in items if after is None or key(item) > after]
    limit = request.get("MaxResults") or default
    answer: Answer = {name: left[:limit]}
    if len(left) > limit:
        answer["NextToken"] = encode_token(key(left[limit - 1]))
    return answer
