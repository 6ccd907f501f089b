"""The event of `config/event.schema.json` in Spark: typed fields, and the checks that a Kafka record must pass.

A record is checked with built-in functions only. The first check that fails names the record's `error_type`;
`checks` is the one place where they stand, in order. They run twice: over the payload parsed into its types, which
is quick and finds every valid record valid, and for what fails there over the texts that stand in the JSON, which is
slow and says which check a record fails.
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

# A payload parsed into its types: a value of another type is null, and `not_json` then holds the payload.
TYPED = "typed"
_TYPED_DDL = ", ".join(
    [f"{field.name} {'STRING' if field.json_type == 'string' else field.spark_type}" for field in FIELDS]
    + ["not_json STRING"]
)
# A payload parsed into the texts of its scalars: a value of the wrong type is seen, not nulled.
TEXTS = "texts"
_TEXTS_DDL = ", ".join(
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


def _looks_untyped(field: Field, parsed: str) -> Column:
    """True where the value may be of another type than the field's; never false where it is. Spares the slow pattern.

    A text that came from no JSON string begins as a number, an object or an array does, or is `true` or `false`.
    Of typed numbers only a decimal one may come from a string.
    """
    if parsed == TYPED and field.json_type in ("integer", "object"):
        return F.lit(False)
    value = F.col(f"{parsed}.{field.name}")
    is_string = F.col("text").rlike(f'"{field.name}"\\s*:\\s*"')
    if field.json_type != "string":
        return value.isNotNull() & is_string
    is_digit_first = (value >= "0") & (value < ":")
    is_structure = reduce(or_, (F.startswith(value, F.lit(sign)) for sign in "-{["))
    may_be_bare = is_digit_first | is_structure | value.isin("true", "false")
    # Without isNotNull an absent field makes the whole check null, and null does not spare the pattern.
    return value.isNotNull() & may_be_bare & ~is_string


@dataclass(frozen=True)
class Check:
    """`fails` is true for a bad record; `detail` says which field and value, as far as known."""

    error_type: str
    fails: Column
    detail: Column


def parse_types(payload: Column) -> Column:
    """Struct `TYPED`; null members where absent, of another type, or where it is not a JSON object."""
    return F.from_json(payload, _TYPED_DDL, JSON_OPTIONS)


def parse_texts(payload: Column) -> Column:
    """Struct `TEXTS`; null members where absent or where it is not a JSON object."""
    return F.from_json(payload, _TEXTS_DDL, JSON_OPTIONS)


def _bad_number(value: Column, spark_type: str) -> Column:
    number = value.try_cast(spark_type)
    return value.isNotNull() & (number.isNull() | (number < 0))


def _is_object(text: str) -> Column:
    """From the first brace to the last: from_json ignores what follows the first value."""
    is_compact = F.startswith(F.col(text), F.lit("{")) & F.endswith(F.col(text), F.lit("}"))
    return is_compact | F.col(text).rlike(r"^\s*\{(?s:.*)\}\s*$")


def checks(parsed: str) -> tuple[Check, ...]:
    """The checks, in order, over the columns `value`, `timestamp` (Kafka's), `text`, `parsed_time` and `parsed`.

    `parsed` is `TYPED`, where a failure says no more than that there is one, or `TEXTS`.
    """
    time = F.col("parsed_time")
    fields = {field.name: F.col(f"{parsed}.{field.name}") for field in FIELDS}
    missing = F.coalesce(*[F.when(fields[name].isNull(), F.lit(name)) for name in REQUIRED])

    def value(name: str) -> Column:
        return F.concat(F.lit(f"{name}: "), F.substring(fields[name], 1, 200))

    return (
        Check("empty_value", F.col("value").isNull() | (F.length("value") == 0), F.lit("the record has no value")),
        Check("not_utf8", ~F.is_valid_utf8("text"), F.lit("the value is not UTF-8")),
        Check(
            "not_json",
            F.col(f"{parsed}.not_json").isNotNull() | ~_is_object("text"),
            F.concat(F.lit("not one JSON object: "), F.substring("text", 1, 200)),
        ),
        Check("missing_field", missing.isNotNull(), missing),
        Check(
            "wrong_type",
            reduce(or_, (_looks_untyped(field, parsed) for field in FIELDS if field.name not in _CHECKED_BY_FORM))
            & F.col("text").rlike(WRONG_TYPE_PATTERN),
            F.regexp_extract("text", WRONG_TYPE_PATTERN, 0),
        ),
        Check("bad_event_id", ~fields["event_id"].rlike(UUID_PATTERN), value("event_id")),
        Check("empty_user_id", fields["user_id"] == "", F.lit("user_id is empty")),
        Check("unknown_event_type", ~fields["event_type"].isin(*EVENT_TYPES), value("event_type")),
        Check("bad_event_time", time.isNull(), value("event_time")),
        Check("impossible_event_time", ~_is_plausible(time), value("event_time")),
        Check("bad_price", _bad_number(fields["price"], "DECIMAL(18,4)"), value("price")),
        Check("bad_quantity", _bad_number(fields["quantity"], "BIGINT"), value("quantity")),
        Check("bad_schema_version", _bad_number(fields["schema_version"], "BIGINT"), value("schema_version")),
    )


def parse_time() -> Column:
    """The payload's event time, or null where it is not one in the agreed form."""
    text = F.col(f"{TYPED}.event_time")
    return F.when(text.rlike(TIME_PATTERN), text.try_cast("timestamp"))


def _is_plausible(time: Column) -> Column:
    """Neither before `EARLIEST_YEAR` nor more than a day after the broker saw the record."""
    return (F.year(time) >= EARLIEST_YEAR) & (time <= F.col("timestamp") + F.expr("INTERVAL 1 DAY"))


def event_date() -> Column:
    """Date of the event; of Kafka's timestamp where the payload has no believable time."""
    time = F.col("parsed_time")
    return F.to_date(F.when(_is_plausible(time), time).otherwise(F.col("timestamp")))


def may_be_bad() -> Column:
    """True for every record that fails a check, and for few others."""
    return reduce(or_, (F.coalesce(check.fails, F.lit(False)) for check in checks(TYPED)))


def first_error() -> Column:
    """Struct<error_type, error_detail> of the first check that fails; null for a valid record."""
    branches = [
        F.when(F.coalesce(c.fails, F.lit(False)), F.struct(F.lit(c.error_type).alias("type"), c.detail.alias("detail")))
        for c in checks(TEXTS)
    ]
    return F.coalesce(*branches)


def typed_event(parsed: str) -> Column:
    """The event as typed columns (`EVENT_DDL`), from `TYPED` or `TEXTS`."""
    members = []
    for field in FIELDS:
        value = F.col(f"{parsed}.{field.name}")
        if field.name == "event_id":
            value = F.lower(value)
        elif field.name == "event_time":
            value = F.col("parsed_time")
        elif field.json_type in ("integer", "number"):
            value = value.try_cast(field.spark_type)
        members.append(value.alias(field.name))
    return F.struct(*members)
