"""The event of `config/event.schema.json` in Spark: typed fields, and the checks that a Kafka record must pass.

A record is checked with built-in functions only. The first check that fails names the record's `error_type`;
`CHECKS` is the one place where they stand, in order.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

from pyspark.sql import Column
from pyspark.sql import functions as F

from config.loader import EVENT_SCHEMA_FILE

_SPARK_TYPES = {"string": "STRING", "integer": "BIGINT", "number": "DECIMAL(18,4)"}
_FIRST_BYTE = {"string": '"', "integer": "-0-9", "number": "-0-9", "object": "{"}

UUID_PATTERN = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
TIME_PATTERN = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?(Z|\+00:00)$"
EARLIEST_YEAR = 2000
JSON_OPTIONS = {
    "mode": "PERMISSIVE",
    "columnNameOfCorruptRecord": "not_json",
    "allowSingleQuotes": "false",
    "allowNonNumericNumbers": "false",
}


@dataclass(frozen=True)
class Field:
    """One field of the event: its JSON type, Spark type, and what it means."""

    name: str
    json_type: str
    spark_type: str
    comment: str
    is_required: bool


def _json_type(definition: dict[str, Any]) -> str:
    kinds = definition["type"] if isinstance(definition["type"], list) else [definition["type"]]
    return str(next(kind for kind in kinds if kind != "null"))


def _spark_type(name: str, definition: dict[str, Any]) -> str:
    kind = _json_type(definition)
    if kind == "object":
        members = ", ".join(f"{key}: {_spark_type(key, value)}" for key, value in definition["properties"].items())
        return f"STRUCT<{members}>"
    return "TIMESTAMP" if name == "event_time" else _SPARK_TYPES[kind]


def _read_fields() -> tuple[tuple[Field, ...], tuple[str, ...]]:
    schema = json.loads(EVENT_SCHEMA_FILE.read_text(encoding="utf-8"))
    fields = tuple(
        Field(name, _json_type(d), _spark_type(name, d), d["description"], name in schema["required"])
        for name, d in schema["properties"].items()
    )
    return fields, tuple(schema["properties"]["event_type"]["enum"])


FIELDS, EVENT_TYPES = _read_fields()
REQUIRED = tuple(field.name for field in FIELDS if field.is_required)
EVENT_DDL = "STRUCT<" + ", ".join(f"{field.name}: {field.spark_type}" for field in FIELDS) + ">"

# Scalars are first read as the text that stands in the JSON, so that a value of the wrong type is seen, not nulled.
_TEXT_DDL = ", ".join(
    [f"{field.name} {field.spark_type if field.json_type == 'object' else 'STRING'}" for field in FIELDS]
    + ["not_json STRING"]
)


def _wrong_type_pattern() -> str:
    """Matches `"field": x` where x can start neither the field's type nor null.

    Exact, because a quote inside a JSON string is always escaped: `"field"` between bare quotes is a key.
    """
    by_first_byte: dict[str, list[str]] = {}
    for field in FIELDS:
        by_first_byte.setdefault(_FIRST_BYTE[field.json_type], []).append(field.name)
    branches = (f'"(?:{"|".join(names)})"\\s*:\\s*[^{first}n\\s]' for first, names in by_first_byte.items())
    return r"(?<!\\)(?:" + "|".join(branches) + ")"


WRONG_TYPE_PATTERN = _wrong_type_pattern()


# A value of these fields that is no string fails a check of its own.
_CHECKED_BY_FORM = ("event_id", "event_time", "event_type")


def _looks_untyped(field: Field) -> Column:
    """True where the value may be of another type than the field's; never false where it is. Spares the slow pattern.

    A text that came from no JSON string begins as a number, an object or an array does, or is `true` or `false`.
    """
    value = F.col(f"parsed.{field.name}")
    if field.json_type != "string":
        return value.isNotNull() & (_has(f'{field.name}":"') | _has(f'{field.name}": "'))
    may_be_bare = F.substring(value, 1, 1).isin(*"-0123456789{[") | value.isin("true", "false")
    # Without isNotNull an absent field makes the whole check null, and null does not spare the pattern.
    return value.isNotNull() & may_be_bare & ~(_has(f'"{field.name}":"') | _has(f'"{field.name}": "'))


def _has(part: str) -> Column:
    return F.contains("text", F.lit(part))


@dataclass(frozen=True)
class Check:
    """`fails` is true for a bad record; `detail` says which field and value, as far as known."""

    error_type: str
    fails: Column
    detail: Column


def parse_payload(payload: Column) -> Column:
    """Struct of the texts that stand in the JSON; null members where absent or where it is not a JSON object."""
    return F.from_json(payload, _TEXT_DDL, JSON_OPTIONS)


def _value(name: str) -> Column:
    return F.concat(F.lit(f"{name}: "), F.substring(F.col(f"parsed.{name}"), 1, 200))


def _bad_number(name: str, spark_type: str) -> Column:
    number = F.col(f"parsed.{name}").try_cast(spark_type)
    return F.col(f"parsed.{name}").isNotNull() & (number.isNull() | (number < 0))


def _is_object(text: str) -> Column:
    """From the first brace to the last: from_json ignores what follows the first value."""
    is_compact = F.startswith(F.col(text), F.lit("{")) & F.endswith(F.col(text), F.lit("}"))
    return is_compact | F.col(text).rlike(r"^\s*\{(?s:.*)\}\s*$")


def checks() -> tuple[Check, ...]:
    """The checks, in order, over the columns `value`, `timestamp` (Kafka's), `text`, `parsed` and `parsed_time`."""
    time = F.col("parsed_time")
    missing = F.coalesce(*[F.when(F.col(f"parsed.{name}").isNull(), F.lit(name)) for name in REQUIRED])
    return (
        Check("empty_value", F.col("value").isNull() | (F.length("value") == 0), F.lit("the record has no value")),
        Check("not_utf8", ~F.is_valid_utf8("text"), F.lit("the value is not UTF-8")),
        Check(
            "not_json",
            F.col("parsed.not_json").isNotNull() | ~_is_object("text"),
            F.concat(F.lit("not one JSON object: "), F.substring("text", 1, 200)),
        ),
        Check("missing_field", missing.isNotNull(), missing),
        Check(
            "wrong_type",
            reduce(or_, (_looks_untyped(field) for field in FIELDS if field.name not in _CHECKED_BY_FORM))
            & F.col("text").rlike(WRONG_TYPE_PATTERN),
            F.regexp_extract("text", WRONG_TYPE_PATTERN, 0),
        ),
        Check("bad_event_id", ~F.col("parsed.event_id").rlike(UUID_PATTERN), _value("event_id")),
        Check("empty_user_id", F.col("parsed.user_id") == "", F.lit("user_id is empty")),
        Check("unknown_event_type", ~F.col("parsed.event_type").isin(*EVENT_TYPES), _value("event_type")),
        Check("bad_event_time", time.isNull(), _value("event_time")),
        Check("impossible_event_time", ~_is_plausible(time), _value("event_time")),
        Check("bad_price", _bad_number("price", "DECIMAL(18,4)"), _value("price")),
        Check("bad_quantity", _bad_number("quantity", "BIGINT"), _value("quantity")),
        Check("bad_schema_version", _bad_number("schema_version", "BIGINT"), _value("schema_version")),
    )


def parse_time() -> Column:
    """The payload's event time, or null where it is not one in the agreed form."""
    text = F.col("parsed.event_time")
    return F.when(text.rlike(TIME_PATTERN), text.try_cast("timestamp"))


def _is_plausible(time: Column) -> Column:
    """Neither before `EARLIEST_YEAR` nor more than a day after the broker saw the record."""
    return (F.year(time) >= EARLIEST_YEAR) & (time <= F.col("timestamp") + F.expr("INTERVAL 1 DAY"))


def event_date() -> Column:
    """Date of the event; of Kafka's timestamp where the payload has no believable time."""
    time = F.col("parsed_time")
    return F.to_date(F.when(_is_plausible(time), time).otherwise(F.col("timestamp")))


def first_error() -> Column:
    """Struct<error_type, error_detail> of the first check that fails; null for a valid record."""
    branches = [
        F.when(F.coalesce(c.fails, F.lit(False)), F.struct(F.lit(c.error_type).alias("type"), c.detail.alias("detail")))
        for c in checks()
    ]
    return F.coalesce(*branches)


def typed_event() -> Column:
    """The event as typed columns (`EVENT_DDL`)."""
    members = []
    for field in FIELDS:
        text = F.col(f"parsed.{field.name}")
        if field.name == "event_id":
            value = F.lower(text)
        elif field.name == "event_time":
            value = F.col("parsed_time")
        else:
            value = (
                text if field.spark_type == "STRING" or field.json_type == "object" else text.try_cast(field.spark_type)
            )
        members.append(value.alias(field.name))
    return F.struct(*members)
