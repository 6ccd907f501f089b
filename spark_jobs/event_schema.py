"""The event of `config/event.schema.json` in Spark: typed fields, and the checks that a Kafka record must pass.

A record is checked with built-in functions only. The first check that fails names the record's `error_type`;
`checks` is the one place where they stand, in order. Every record is parsed once into its types (`TYPED`), which is
quick, but hides a value of another type; who is suspect there is parsed again into a VARIANT, which knows every value's
own JSON type, and judged by that alone. Of a key that stands twice in an object the last value counts, as for
any JSON parser.
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

EARLIEST_YEAR = 2000
MAX_PAYLOAD_BYTES = 256 * 1024
MAX_NESTING_DEPTH = 32
DETAIL_CHARACTERS = 200

_SPARK_TYPES = {"string": "STRING", "integer": "BIGINT", "number": "DECIMAL(18,4)"}
# A number is parsed as a double: with a decimal, one value of 1e999999999 takes all memory.
_PARSED_TYPES = {"string": "STRING", "integer": "BIGINT", "number": "DOUBLE"}
_NUMBER = "^(BIGINT|DECIMAL|DOUBLE)"
_VARIANT_TYPES = {"string": "^STRING", "integer": _NUMBER, "number": _NUMBER}
# Up to here a double has every digit of DECIMAL(18,4); beyond, the exact parse decides.
_LARGEST_EXACT_DOUBLE = 1e11


@dataclass(frozen=True)
class Field:
    """One field of the event: its JSON type, Spark type, and what it means. `path` leads to it from the top."""

    path: str
    json_type: str
    spark_type: str
    comment: str
    is_required: bool
    pattern: str | None
    members: tuple[Field, ...]

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def parsed_type(self) -> str:
        """As what the quick parse reads it."""
        return _PARSED_TYPES.get(self.json_type, self.spark_type)

    @property
    def leaves(self) -> tuple[Field, ...]:
        """Its members, or itself where it has none."""
        return self.members or (self,)


def _read_field(path: str, definition: dict[str, Any], is_required: bool) -> Field:
    kinds = definition["type"] if isinstance(definition["type"], list) else [definition["type"]]
    kind = next(kind for kind in kinds if kind != "null")
    members = tuple(_read_field(f"{path}.{name}", d, False) for name, d in definition.get("properties", {}).items())
    spark_type = f"STRUCT<{_ddl(members)}>" if members else _SPARK_TYPES[kind]
    return Field(
        path=path,
        json_type=kind,
        spark_type="TIMESTAMP" if definition.get("format") == "date-time" else spark_type,
        comment=definition.get("description", ""),
        is_required=is_required,
        # `$` of a JSON Schema is the very end; Java's lets a line break follow.
        pattern=definition["pattern"].removesuffix("$") + r"\z" if "pattern" in definition else None,
        members=members,
    )


def _ddl(fields: tuple[Field, ...]) -> str:
    return ", ".join(f"{field.name}: {field.spark_type}" for field in fields)


def _read_fields() -> tuple[tuple[Field, ...], tuple[str, ...]]:
    schema = json.loads(EVENT_SCHEMA_FILE.read_text(encoding="utf-8"))
    fields = tuple(_read_field(name, d, name in schema["required"]) for name, d in schema["properties"].items())
    return fields, tuple(schema["properties"]["event_type"]["enum"])


FIELDS, EVENT_TYPES = _read_fields()
EVENT_DDL = f"STRUCT<{_ddl(FIELDS)}>"

# The columns that the checks read, beside Kafka's `value` and `timestamp`.
TEXT = "text"  # the value as text
PARSED = "parsed"  # parse_types(text)
TYPED = "typed"  # its one event, null where there is none
TIME = "parsed_time"  # parse_time()
EXACT = "exact"  # parse_exactly(text), of a suspect
VARIANT = "variant"  # its one event

_JSON_OPTIONS = {
    "mode": "PERMISSIVE",
    "columnNameOfCorruptRecord": "not_json",
    "allowSingleQuotes": "false",
    "allowNonNumericNumbers": "false",
}
# Two levels are the frame's. A VARIANT is built by recursion: without a limit of ours a deep value ends the JVM.
_SHALLOW = _JSON_OPTIONS | {"maxNestingDepth": str(MAX_NESTING_DEPTH + 2)}
_ANY_DEPTH = _JSON_OPTIONS | {"maxNestingDepth": str(2**31 - 1)}


def _parse(text: Column, columns: str, options: dict[str, str]) -> Column:
    """Struct<`columns`, is_whole, not_json> of the text as the one element of the array `event` inside a frame.

    from_json ignores what follows the first value of a text; inside the frame it makes the array longer or the whole
    unreadable. `not_json` is not null where something does not fit.
    """
    frame = F.concat(F.lit('{"event":['), text, F.lit('],"is_whole":true}'))
    return F.from_json(frame, f"{columns} is_whole BOOLEAN, not_json STRING", options)


def parse_types(text: Column) -> Column:
    """`PARSED`: a value of a wrong type is null or, where a string is expected, its text."""
    members = ", ".join(f"{field.name}: {field.parsed_type}" for field in FIELDS)
    return _parse(text, f"event ARRAY<STRUCT<{members}>>,", _SHALLOW)


def parse_exactly(text: Column) -> Column:
    """`EXACT`: whatever JSON it is, as a VARIANT."""
    return _parse(text, "event ARRAY<VARIANT>,", _SHALLOW)


def _is_json_of_any_depth(text: Column) -> Column:
    """Reads past the event, and keeps nothing of it."""
    return _parse(text, "", _ANY_DEPTH)["not_json"].isNull()


def only_event(parsed: str) -> Column:
    """The one event of `PARSED` or `EXACT`."""
    return F.get(f"{parsed}.event", F.lit(0))


def _typed(field: Field) -> Column:
    return F.col(f"{TYPED}.{field.path}")


def _text_of(field: Field) -> Column:
    """The value in the VARIANT as text, whatever its type; null where it is absent or null."""
    return F.try_variant_get(VARIANT, f"$.{field.path}", "string")


def _kind_of(field: Field) -> Column:
    """Type of the value in the VARIANT, as schema_of_variant says it."""
    return F.schema_of_variant(F.try_variant_get(VARIANT, f"$.{field.path}", "variant"))


def _is_of_its_type(field: Field) -> Column:
    kind = _kind_of(field)
    expected = F.startswith(kind, F.lit("OBJECT<")) if field.members else kind.rlike(_VARIANT_TYPES[field.json_type])
    return kind.isNull() | (kind == "VOID") | expected


def _may_be_bare(field: Field) -> Column:
    """True for every string field whose value is no string in the JSON, and for few others.

    A text that came from no JSON string begins as a number, an object or an array does, or is `true` or `false`.
    """
    value = _typed(field)
    is_digit_first = (value >= "0") & (value < ":")
    is_structure = reduce(or_, (F.startswith(value, F.lit(sign)) for sign in "-{["))
    may_be_bare = is_digit_first | is_structure | value.isin("true", "false")
    # Without isNotNull an absent field makes the whole check null, and null does not spare the search.
    return value.isNotNull() & may_be_bare & F.col(TEXT).rlike(f'"{field.name}"\\s*:\\s*[^"\\s]')


@dataclass(frozen=True)
class Check:
    """One rule. `suspects` is true for every record that breaks it and few others, from the quick parse; `fails` for
    exactly those, from the VARIANT; `detail` says which field and value."""

    error_type: str
    suspects: Column
    fails: Column
    detail: Column


def _shown(field: Field) -> Column:
    return F.concat(F.lit(f"{field.path}: "), F.substring(_text_of(field), 1, DETAIL_CHARACTERS))


def _first(fields: list[Field], fails: Any, detail: Any) -> tuple[Column, Column]:
    """Whether one of the fields fails, and the detail of the first that does."""
    found = F.coalesce(*[F.when(fails(field), detail(field)) for field in fields])
    return found.isNotNull(), found


def _check_pattern(error_type: str, field: Field) -> Check:
    pattern = str(field.pattern)
    return Check(error_type, ~_typed(field).rlike(pattern), ~_text_of(field).rlike(pattern), _shown(field))


def _check_number(field: Field) -> Check:
    """Not negative, within the column's range, and whole for an integer; more decimals than it has are rounded."""
    typed, text = _typed(field), _text_of(field)
    number = text.try_cast("DECIMAL(38,18)")
    fails = number.isNull() | (text.try_cast("DOUBLE") < 0) | number.try_cast(field.spark_type).isNull()
    if field.json_type == "integer":
        return Check(f"bad_{field.name}", typed < 0, text.isNotNull() & (fails | (number % 1 != 0)), _shown(field))
    # At 0 it may be a negative number too small for a double.
    suspects = (typed <= 0) | (typed >= _LARGEST_EXACT_DOUBLE)
    return Check(f"bad_{field.name}", suspects, text.isNotNull() & fails, _shown(field))


def checks() -> tuple[Check, ...]:
    """The checks, in order."""
    text, time = F.col(TEXT), F.col(TIME)
    fields = {field.name: field for field in FIELDS}
    leaves = [leaf for field in FIELDS for leaf in field.leaves]
    strings = [leaf for leaf in leaves if leaf.json_type == "string"]
    required = [field for field in FIELDS if field.is_required]
    missing, missing_name = _first(required, lambda f: _text_of(f).isNull(), lambda f: F.lit(f.name))
    wrong, wrong_value = _first(
        [*FIELDS, *(leaf for leaf in leaves if leaf not in FIELDS)],
        lambda f: ~_is_of_its_type(f),
        lambda f: F.concat(_shown(f), F.lit(f" is no {f.json_type}")),
    )
    with_nul, nul_name = _first(strings, lambda f: F.contains(_text_of(f), F.lit("\0")), lambda f: F.lit(f.path))

    def always(error_type: str, fails: Column, detail: Column) -> Check:
        """A check that needs no parsing."""
        return Check(error_type, fails, fails, detail)

    def parsed(error_type: str, fails: Column, detail: Column) -> Check:
        """A check of the parse itself: whoever fails it has `not_json`, or not one event."""
        return Check(error_type, F.col(f"{PARSED}.not_json").isNotNull() | F.col(TYPED).isNull(), fails, detail)

    is_too_deep = F.col(f"{EXACT}.not_json").isNotNull() & _is_json_of_any_depth(text)
    is_one_object = (F.size(f"{EXACT}.event") == 1) & F.startswith(F.schema_of_variant(VARIANT), F.lit("OBJECT<"))
    return (
        always("empty_value", F.col("value").isNull() | (F.length("value") == 0), F.lit("the record has no value")),
        always(
            "too_large",
            F.length("value") > MAX_PAYLOAD_BYTES,
            F.concat(F.length("value").cast("string"), F.lit(f" bytes; at most {MAX_PAYLOAD_BYTES} are taken")),
        ),
        always("not_utf8", ~F.is_valid_utf8(text), F.lit("the value is not UTF-8")),
        parsed(
            "nul_byte",
            F.contains(text, F.lit("\0")),
            F.concat(F.lit("a NUL byte at character "), F.instr(text, "\0").cast("string")),
        ),
        parsed("nested_too_deep", is_too_deep, F.lit(f"more than {MAX_NESTING_DEPTH} levels of objects and arrays")),
        Check(
            "not_json",
            F.col(f"{PARSED}.not_json").isNotNull() | F.col(TYPED).isNull() | (F.size(f"{PARSED}.event") != 1),
            F.col(f"{EXACT}.not_json").isNotNull() | ~F.coalesce(is_one_object, F.lit(False)),
            F.concat(F.lit("not one JSON object: "), F.substring(text, 1, DETAIL_CHARACTERS)),
        ),
        Check("missing_field", reduce(or_, (_typed(field).isNull() for field in required)), missing, missing_name),
        Check(
            "wrong_type",
            # A key may be written with escapes: its letters are \\u0061 to \\u007a.
            F.contains(text, F.lit("\\u00")) | reduce(or_, (_may_be_bare(field) for field in strings)),
            wrong,
            wrong_value,
        ),
        _check_pattern("bad_event_id", fields["event_id"]),
        Check(
            "empty_user_id",
            _typed(fields["user_id"]) == "",
            _text_of(fields["user_id"]) == "",
            F.lit("user_id is empty"),
        ),
        Check(
            "unknown_event_type",
            ~_typed(fields["event_type"]).isin(*EVENT_TYPES),
            ~_text_of(fields["event_type"]).isin(*EVENT_TYPES),
            _shown(fields["event_type"]),
        ),
        always("bad_event_time", time.isNull(), _shown(fields["event_time"])),
        always("impossible_event_time", ~_is_plausible(time), _shown(fields["event_time"])),
        Check("nul_character", F.contains(text, F.lit("\\u0000")), with_nul, nul_name),
        *(_check_number(field) for field in FIELDS if field.json_type in ("integer", "number")),
    )


def parse_time() -> Column:
    """The payload's event time, or null where it is not one in the agreed form."""
    field = next(field for field in FIELDS if field.name == "event_time")
    return F.when(_typed(field).rlike(str(field.pattern)), _typed(field).try_cast("timestamp"))


def _is_plausible(time: Column) -> Column:
    """Neither before `EARLIEST_YEAR` nor more than a day after the broker saw the record."""
    return (F.year(time) >= EARLIEST_YEAR) & (time <= F.col("timestamp") + F.expr("INTERVAL 1 DAY"))


def event_date() -> Column:
    """Date of the event; of Kafka's timestamp where the payload has no believable time."""
    time = F.col(TIME)
    return F.to_date(F.when(_is_plausible(time), time).otherwise(F.col("timestamp")))


def may_be_bad() -> Column:
    """True for every record that fails a check, and for few others."""
    return reduce(or_, (F.coalesce(check.suspects, F.lit(False)) for check in checks()))


def first_error() -> Column:
    """Struct<error_type, error_detail> of the first check that fails; null for a valid record."""
    branches = [
        F.when(F.coalesce(c.fails, F.lit(False)), F.struct(F.lit(c.error_type).alias("type"), c.detail.alias("detail")))
        for c in checks()
    ]
    return F.coalesce(*branches)


def typed_event() -> Column:
    """The event as typed columns (`EVENT_DDL`), of a record that nothing is suspected of."""
    return F.struct(*(_as_column(field, _typed(field)) for field in FIELDS))


def exact_event() -> Column:
    """The same of a suspect that has turned out to be valid."""
    members = []
    for field in FIELDS:
        if field.members:
            value = F.try_variant_get(VARIANT, f"$.{field.path}", field.spark_type)
        elif field.json_type == "string":
            value = _text_of(field)
        else:
            value = _text_of(field).try_cast("DECIMAL(38,18)")
        members.append(_as_column(field, value))
    return F.struct(*members)


def _as_column(field: Field, value: Column) -> Column:
    """As the event's column has it: ids in lower case, the time parsed, numbers in their type."""
    if field.name == "event_id":
        value = F.lower(value)
    elif field.name == "event_time":
        value = F.col(TIME)
    elif field.json_type in ("integer", "number"):
        value = value.try_cast(field.spark_type)
    return value.alias(field.name)
