"""Publishes a dataset in the format of REES46 (CSV or CSV.gz) to Kafka.

    python data_generator/dataset_replay.py 2019-Oct.csv.gz [--date 2019-10-01]

One record per row: event_id is a UUIDv5 of the row's text (identical rows are duplicates), session_id is user_session,
the Kafka timestamp is the event's time. A row that breaks the format is published as it stands, for landing to
quarantine, and listed on stderr with its line number; its Kafka timestamp is the time of the row before it. Reading is
streaming: memory does not grow with the file. The manifest on S3 keeps a file from being published twice.
Exit code: 0 when everything was delivered (or had been before), 1 when not, 2 for wrong options.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import json
import math
import sys
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, cast
from uuid import UUID, uuid5

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

import config
from config import Settings
from data_generator.command_line import (
    EXIT_OK,
    AlreadyPublishedError,
    add_kafka_options,
    add_truth_options,
    is_already_published,
    iso_date,
    kafka_of,
    report_delivery,
    run_command,
)
from data_generator.event_encoding import SCHEMA_VERSION
from data_generator.kafka_sink import DeliveryError, KafkaSink, Records, Sink
from data_generator.population import EVENT_TYPES
from data_generator.truth import Manifest, Parameter, TruthStore

# Ours, made once; another value would give every row another event id.
EVENT_NAMESPACE = UUID("6f2f9d0e-3f5b-5a57-9a86-7f0e5e0d6c11")
COLUMNS = (
    "event_time",
    "event_type",
    "product_id",
    "category_id",
    "category_code",
    "brand",
    "price",
    "user_id",
    "user_session",
)
TIME_FORMAT = "%Y-%m-%d %H:%M:%S UTC"
CHUNK_RECORDS = 20_000
MOST_LISTED_ROWS = 1000


class ReplayError(Exception):
    """The file is not in REES46's format at all."""


class RowError(ValueError):
    """One row breaks the format; the message says how."""


@dataclass(frozen=True)
class Row:
    """One row of the file as a Kafka record.

    `fault` is why it is malformed, None when it is not; `line` counts from 1, the header; `time_ms` is the event's
    time, for a malformed row that of the row before.
    """

    line: int
    key: bytes | None
    value: bytes
    time_ms: int
    fault: str | None


@dataclass
class ReplayCounts:
    """What a replay published."""

    by_event_date: Counter[str] = field(default_factory=Counter)
    malformed: int = 0
    rows: int = 0


def read_rows(file: Path, progress: Progress | None = None) -> Iterator[Row]:
    """The file's rows as records, in order; empty lines are no rows.

    Raises:
        ReplayError: the header lacks a column.
    """
    with _open(file, progress) as lines:
        header = lines.readline().decode("utf-8-sig", errors="replace").strip().split(",")
        if missing := [column for column in COLUMNS if column not in header]:
            raise ReplayError(f"{file}: not in REES46's format, the header lacks {', '.join(missing)}")
        order = [header.index(column) for column in COLUMNS]
        leading: list[Row] = []
        time_ms: int | None = None
        for line, raw in enumerate(lines, start=2):
            text = raw.rstrip(b"\r\n")
            if not text:
                continue
            try:
                key, value, time_ms = _encode_row(text, order, len(header))
                fault = None
            except RowError as error:
                key, value, fault = None, text, str(error)
            row = Row(line=line, key=key, value=value, time_ms=time_ms or 0, fault=fault)
            if time_ms is None:
                leading.append(row)  # malformed rows at the top take the time of the first good one
                continue
            for waiting in leading:
                yield Row(line=waiting.line, key=None, value=waiting.value, time_ms=time_ms, fault=waiting.fault)
            leading.clear()
            yield row
        yield from leading


def covered_dates(file: Path) -> tuple[date, ...]:
    """The UTC dates that the file has rows of, in order."""
    return tuple(sorted({date.fromisoformat(_date_of(row.time_ms)) for row in read_rows(file)}))


def replay(
    file: Path,
    sink: Sink,
    only_date: date | None = None,
    progress: Progress | None = None,
    console: Console | None = None,
) -> ReplayCounts:
    """Publish the rows of a file, or of one date of it; malformed ones are listed on `console`."""
    counts = ReplayCounts()
    wanted = only_date.isoformat() if only_date else None
    records = Records([], [], [])
    for row in read_rows(file, progress):
        day = _date_of(row.time_ms)
        if wanted is not None and day != wanted:
            continue
        counts.rows += 1
        counts.by_event_date[day] += 1
        if row.fault is not None:
            counts.malformed += 1
            if console is not None and counts.malformed <= MOST_LISTED_ROWS:
                console.print(f"{file.name}:{row.line}: {row.fault}", markup=False, highlight=False, soft_wrap=True)
        records.keys.append(row.key)
        records.values.append(row.value)
        records.timestamps_ms.append(row.time_ms)
        if len(records) == CHUNK_RECORDS:
            sink.publish(records)
            records = Records([], [], [])
    sink.publish(records)
    if console is not None and counts.malformed > MOST_LISTED_ROWS:
        console.print(f"... and {counts.malformed - MOST_LISTED_ROWS:,} more malformed rows")
    return counts


def build_parser(settings: Settings) -> argparse.ArgumentParser:
    """Options; what is left out comes from config/."""
    parser = argparse.ArgumentParser(
        prog="dataset_replay.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="REES46 CSV, or the same with .gz")
    parser.add_argument("--date", type=iso_date, help="only the rows of this UTC date (YYYY-MM-DD)")
    add_kafka_options(parser, settings)
    add_truth_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the options, publish, and return the exit code."""
    return run_command("dataset_replay", lambda: publish(argv), ReplayError, EOFError, zlib.error)


def publish(argv: Sequence[str] | None) -> int:
    """Publish the file that the options name."""
    settings = config.load()
    return publish_file(settings, build_parser(settings).parse_args(argv))


def publish_file(settings: Settings, arguments: argparse.Namespace) -> int:
    """Publish a file or one date of it, then write the manifest."""
    file: Path = arguments.file
    with file.open("rb") as content:
        content_hash = hashlib.file_digest(content, "sha256").hexdigest()
    described: dict[str, Parameter] = {
        "file": file.name,
        "sha256": content_hash,
        "date": arguments.date.isoformat() if arguments.date else None,
        "topic": arguments.topic,
    }
    name = replay_name(file, arguments.date)
    store = None if arguments.no_truth else TruthStore(settings, arguments.topic)
    published = store.read_manifest(name) if store else None
    if store and not arguments.force:
        _refuse_overlap(store, file, arguments.date)
        if is_already_published(published, described, name):
            print(f"{file.name}: already published; --force publishes again")
            return EXIT_OK

    console = Console(stderr=True)
    topic = replace(settings.pipeline.topic, name=arguments.topic)
    sink = KafkaSink(kafka_of(settings, arguments.bootstrap_servers), topic)
    columns = (TextColumn(file.name, markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        counts = replay(file, sink, arguments.date, progress, console)
    delivery = sink.close()
    if delivery.undelivered:
        raise DeliveryError(report_delivery(delivery, arguments.bootstrap_servers))
    manifest = Manifest(
        parameters=described,
        produced=delivery.delivered,
        by_event_date=dict(sorted(counts.by_event_date.items())),
        by_kind={"clean": counts.rows - counts.malformed, "malformed": counts.malformed},
    )
    if store:
        store.write(name, published.plus(manifest) if published else manifest)
    print(f"{file.name}: {report_delivery(delivery, '')}, {counts.malformed:,} of them malformed")
    print("  by event date: " + ", ".join(f"{day} {count:,}" for day, count in manifest.by_event_date.items()))
    return EXIT_OK


def replay_name(file: Path, only_date: date | None = None) -> str:
    """Folder of a replay in the truth."""
    name = f"replay={file.name.removesuffix('.gz').removesuffix('.csv')}"
    return f"{name}/date={only_date.isoformat()}" if only_date else name


def _refuse_overlap(store: TruthStore, file: Path, only_date: date | None) -> None:
    """Some rows would be published twice: a date after the whole file, or the whole file after a date."""
    whole = replay_name(file)
    if only_date is not None and store.read_manifest(whole) is not None:
        raise AlreadyPublishedError(
            f"{file.name}: the whole file was published already; --force publishes the date too"
        )
    if only_date is None and (parts := [name for name in store.names() if name.startswith(f"{whole}/")]):
        dates = ", ".join(sorted(part.removeprefix(f"{whole}/date=") for part in parts))
        raise AlreadyPublishedError(
            f"{file.name}: these dates of it were published already: {dates}; --force publishes all"
        )


def _encode_row(text: bytes, order: Sequence[int], width: int) -> tuple[bytes, bytes, int]:
    """(key, value, event time in milliseconds) of a row."""
    try:
        decoded = text.decode()
    except UnicodeDecodeError as error:
        raise RowError(f"not UTF-8: {error.reason} at byte {error.start}") from error
    # csv costs several times what split does, and hardly a row has a quote.
    fields = _split_quoted(decoded) if '"' in decoded else decoded.split(",")
    if len(fields) != width:
        raise RowError(f"{len(fields)} fields instead of {width}")
    event_time, event_type, product_id, category_id, category_code, brand, price, user_id, user_session = (
        fields[i] for i in order
    )
    iso_time, time_ms = _parse_time(event_time)
    if event_type not in EVENT_TYPES:
        raise RowError(f"unknown event_type {event_type!r}")
    if not user_id:
        raise RowError("no user_id")
    event: dict[str, object] = {
        "event_id": str(uuid5(EVENT_NAMESPACE, decoded)),
        "event_time": iso_time,
        "event_type": event_type,
        "user_id": user_id,
    }
    optional: Mapping[str, str] = {
        "session_id": user_session,
        "product_id": product_id,
        "category_id": category_id,
        "category_code": category_code,
        "brand": brand,
    }
    event.update({name: value for name, value in optional.items() if value})
    if price:
        event["price"] = _parse_price(price)
    event["schema_version"] = SCHEMA_VERSION
    return user_id.encode(), _to_json(event), time_ms


def _split_quoted(text: str) -> list[str]:
    try:
        return next(csv.reader([text], strict=True))
    except csv.Error as error:
        raise RowError(f"broken quotes: {error}") from error


_to_json_text = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def _to_json(event: dict[str, object]) -> bytes:
    return _to_json_text(event).encode()


@lru_cache(maxsize=4096)
def _parse_time(text: str) -> tuple[str, int]:
    """ISO text with milliseconds, and milliseconds since 1970; many rows share a second."""
    try:
        time = datetime.strptime(text, TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError as error:
        raise RowError(f"event_time {text!r} is not like 2019-10-01 00:00:00 UTC") from error
    return f"{time:%Y-%m-%dT%H:%M:%S}.000Z", int(time.timestamp()) * 1000


@lru_cache(maxsize=65536)
def _parse_price(text: str) -> float:
    try:
        price = float(text)
    except ValueError as error:
        raise RowError(f"price {text!r} is not a number") from error
    if not math.isfinite(price) or price < 0:
        raise RowError(f"price {text!r} is negative or not finite")
    return price


@lru_cache(maxsize=4096)
def _date_of(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, tz=UTC).date().isoformat()


@contextmanager
def _open(file: Path, progress: Progress | None) -> Iterator[BinaryIO]:
    """The file's text, unpacked if need be; `progress` follows the bytes read from disk."""
    with file.open("rb") as plain:
        tracked: BinaryIO = plain
        if progress is not None:
            tracked = progress.wrap_file(plain, total=file.stat().st_size, description=file.name)
        if file.suffix == ".gz":
            with gzip.open(tracked, "rb") as unpacked:
                yield cast("BinaryIO", unpacked)
        else:
            yield tracked


if __name__ == "__main__":
    sys.exit(main())
