"""Broken requests: every answer is one of Athena's errors or a success, never a traceback."""

from __future__ import annotations

import json
import random
import string
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape

from tests.unit.infra.athena.conftest import Api

REQUESTS = 4000
SEED = 20260401
ERRORS = {
    "InvalidRequestException",
    "MetadataException",
    "ResourceNotFoundException",
    "SerializationException",
    "TooManyRequestsException",
    "UnknownOperationException",
}
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 2**63, 1.5, "", " ", "\x00", "🛒", "'; drop table t; --", "a" * 3000, "primary", "select 1",
    "s3://", "s3://results/x", "http://results", "(", "..", "[]", [], [None], {}, {"a": {}}, [[]], "\ud800",
)  # fmt: skip


def test_broken_requests_get_errors_of_athena(api: Api) -> None:
    random_source = random.Random(SEED)
    model = ServiceModel(Loader().load_service_model("athena", "service-2"), "athena")
    seen: dict[str, int] = {}
    for _ in range(REQUESTS):
        operation = random_source.choice(model.operation_names)
        shape = model.operation_model(operation).input_shape
        target, body = break_request(random_source, operation, make_value(random_source, shape, 0) if shape else {})
        status, answer = api.send(target, body)
        kind = "success" if status == 200 else answer["__type"]
        seen[kind] = seen.get(kind, 0) + 1

        assert kind == "success" or (status == 400 and kind in ERRORS and answer["message"]), (target, body, answer)
    assert seen["success"] > REQUESTS / 100
    assert seen.keys() >= {"InvalidRequestException", "UnknownOperationException", "SerializationException"}


def make_value(random_source: random.Random, shape: Shape, depth: int) -> Any:
    """A value of the shape, every now and then something else."""
    if depth > 6 or random_source.random() < 0.04:
        return random_source.choice(ODD)
    kind: Any = shape
    if shape.type_name == "structure":
        required = set(kind.required_members)
        return {
            name: make_value(random_source, member, depth + 1)
            for name, member in kind.members.items()
            if name in required or random_source.random() < 0.3
        }
    if shape.type_name == "list":
        return [make_value(random_source, kind.member, depth + 1) for _ in range(random_source.randint(0, 3))]
    if shape.type_name == "map":
        return {"key": make_value(random_source, kind.value, depth + 1)}
    if shape.type_name == "string":
        known = ("primary", "AwsDataCatalog", "default", "select 1", "x", "s3://results/x", "a" * 36)
        letters = "".join(random_source.choices(string.printable, k=random_source.randint(0, 40)))
        return random_source.choice([*kind.enum, *known, letters])
    return random_source.choice([True, False] if shape.type_name == "boolean" else [0, 1, 5, 50, 1000, 10**7])


def break_request(random_source: random.Random, operation: str, request: Any) -> tuple[str, bytes]:
    target = f"AmazonAthena.{operation}"
    body = json.dumps(request).encode()
    chance = random_source.random()
    if chance < 0.03:
        return random_source.choice(["", "AmazonAthena.", "AmazonAthena.Nix", "AWSGlue.GetTable", operation]), body
    if chance < 0.08:
        return target, body[: random_source.randint(0, len(body))]
    if chance < 0.12:
        return target, random_source.randbytes(random_source.randint(0, 200))
    if chance < 0.14:
        return target, b"[" * 100_000
    return target, body


def test_body_that_is_too_long_is_refused(api: Api) -> None:
    status, answer = api.send("AmazonAthena.StartQueryExecution", b" " * (5 << 20))
    assert (status, answer["__type"]) == (400, "SerializationException")
