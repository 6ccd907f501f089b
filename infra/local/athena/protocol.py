"""Athena's JSON 1.1 protocol: requests checked against the service model that boto3 carries, answers and errors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from typing import Any

from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, ServiceModel, Shape, StringShape, StructureShape
from botocore.validate import ParamValidator

TARGET_PREFIX = "AmazonAthena."
CONTENT_TYPE = "application/x-amz-json-1.1"
_LENGTH_OF = {"string": "length", "list": "size"}

Request = Mapping[str, Any]
Answer = dict[str, Any]


class AthenaError(Exception):
    """An answer that is an error; the message is what the client is told."""

    kind = "InternalServerException"
    status = 500

    def body(self) -> Answer:
        return {"__type": self.kind, "Message": str(self), "message": str(self)}


class InvalidRequestError(AthenaError):
    kind, status = "InvalidRequestException", 400

    def __init__(self, message: str, code: str = "INVALID_INPUT") -> None:
        super().__init__(message)
        self.code = code

    def body(self) -> Answer:
        return {**super().body(), "AthenaErrorCode": self.code}


class MetadataError(AthenaError):
    kind, status = "MetadataException", 400


class UnknownOperationError(AthenaError):
    kind, status = "UnknownOperationException", 400


class SerializationError(AthenaError):
    kind, status = "SerializationException", 400


class TooManyRequestsError(AthenaError):
    kind, status = "TooManyRequestsException", 400


class ResourceNotFoundError(AthenaError):
    kind, status = "ResourceNotFoundException", 400

    def __init__(self, message: str, resource: str) -> None:
        super().__init__(message)
        self.resource = resource

    def body(self) -> Answer:
        return {**super().body(), "ResourceName": self.resource}


def parse_target(target: str) -> str:
    """`StartQueryExecution` of the header `X-Amz-Target: AmazonAthena.StartQueryExecution`."""
    operation = target.removeprefix(TARGET_PREFIX)
    if not target.startswith(TARGET_PREFIX) or operation not in _model().operation_names:
        raise UnknownOperationError(f"{target or 'a request without X-Amz-Target'} is no operation of Athena")
    return operation


def parse_body(operation: str, body: bytes) -> Request:
    """The request, of the types, lengths and patterns that the service model asks for."""
    try:
        request: Any = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise SerializationError(f"the body of {operation} is not JSON: {error}") from None
    if not isinstance(request, dict):
        raise SerializationError(f"the body of {operation} is no JSON object")
    shape = _model().operation_model(operation).input_shape
    known: dict[str, Any] = _without_nulls(request)  # a member that is null counts as absent in JSON 1.1
    if shape is not None:
        faults = [*_type_faults(known, shape), *_value_faults(known, shape, "")]
        if faults:
            raise InvalidRequestError(f"{len(faults)} validation error(s) detected: {'; '.join(faults)}")
    return known


def encode(answer: Answer) -> bytes:
    return json.dumps(answer, default=_encode_other, ensure_ascii=False).encode("utf-8", "replace")


def select_members(values: Mapping[str, Any], shape: str) -> Answer:
    """Those of `values` that the service model's structure `shape` has; an absent one is left out, never null."""
    members = _model().shape_for(shape).members  # type: ignore[attr-defined]
    return {name: values[name] for name in members if values.get(name) is not None}


@cache
def _model() -> ServiceModel:
    return ServiceModel(Loader().load_service_model("athena", "service-2"), "athena")


def _type_faults(request: Request, shape: Shape) -> list[str]:
    report = ParamValidator().validate(dict(request), shape)
    return report.generate_report().splitlines() if report.has_errors() else []


def _value_faults(value: Any, shape: Shape, path: str) -> Iterator[str]:
    """What botocore leaves to the server: the longest length, the largest number, patterns and enumerations."""
    if isinstance(shape, StructureShape) and isinstance(value, dict):
        for name, member in shape.members.items():
            if name in value:
                yield from _value_faults(value[name], member, f"{path}.{name}".lstrip("."))
    elif isinstance(shape, ListShape) and isinstance(value, list):
        yield from _limit_faults(len(value), shape, path)
        for index, item in enumerate(value):
            yield from _value_faults(item, shape.member, f"{path}[{index}]")
    elif isinstance(shape, MapShape) and isinstance(value, dict):
        for key, item in value.items():
            yield from _value_faults(item, shape.value, f"{path}.{key}")
    elif isinstance(shape, StringShape) and isinstance(value, str):
        yield from _string_faults(value, shape, path)
    elif isinstance(value, int):
        yield from _limit_faults(value, shape, path)


def _string_faults(value: str, shape: StringShape, path: str) -> Iterator[str]:
    yield from _limit_faults(len(value), shape, path)
    pattern = shape.metadata.get("pattern")
    if shape.enum and value not in shape.enum:
        yield f"Value '{value[:64]}' at '{path}' must be one of: {', '.join(shape.enum)}"
    elif pattern and "\\uD" not in pattern and not re.fullmatch(pattern, value):
        yield f"Value '{value[:64]}' at '{path}' must satisfy regular expression pattern: {pattern}"


def _limit_faults(size: int, shape: Shape, path: str) -> Iterator[str]:
    largest = shape.metadata.get("max")
    if largest is not None and size > largest:
        measure = _LENGTH_OF.get(shape.type_name)
        yield f"Value at '{path}' must have {measure + ' ' if measure else 'a value '}of at most {largest}"


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _encode_other(value: object) -> Any:
    if isinstance(value, datetime):
        return value.timestamp()
    raise TypeError(f"{type(value).__name__} cannot be sent to a client")
