"""What the two commands of this folder share: option types, the manifest's guard, and the words at the end."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

from config import ConfigError, Settings
from config.loader import Kafka
from data_generator.kafka_sink import Delivery, DeliveryError
from data_generator.truth import Manifest, Parameter, TruthError

EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130


class AlreadyPublishedError(Exception):
    """Something else was published under the same name."""


FAILURES: tuple[type[Exception], ...] = (ConfigError, DeliveryError, TruthError, AlreadyPublishedError, OSError)


def iso_date(text: str) -> date:
    """A date written YYYY-MM-DD."""
    try:
        parsed = date.fromisoformat(text)
    except ValueError:
        parsed = None
    if parsed is None or parsed.isoformat() != text:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date like 2025-04-01")
    return parsed


def share(text: str) -> float:
    """A number from 0 to 1."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 1")
    return value


def positive_number(text: str) -> float:
    """A finite number above 0."""
    value = _number(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
    return value


def positive_count(text: str) -> int:
    """A whole number above 0."""
    value = seed(text)
    if value == 0:
        raise argparse.ArgumentTypeError("0 is not above 0")
    return value


def seed(text: str) -> int:
    """A whole number, 0 or above."""
    try:
        value = int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from error
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is below 0")
    return value


def add_kafka_options(parser: argparse.ArgumentParser, settings: Settings) -> None:
    """--bootstrap-servers and --topic."""
    bootstrap = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", settings.environment.kafka.bootstrap_servers)
    parser.add_argument(
        "--bootstrap-servers", default=bootstrap, metavar="HOST:PORT[,...]", help="Kafka (default: %(default)s)"
    )
    parser.add_argument("--topic", default=settings.pipeline.topic.name, help="default: %(default)s")


def add_truth_options(parser: argparse.ArgumentParser) -> None:
    """--force and --no-truth."""
    parser.add_argument("--force", action="store_true", help="publish although the manifest says it was done")
    parser.add_argument("--no-truth", action="store_true", help="neither read nor write the truth on S3")


def kafka_of(settings: Settings, bootstrap_servers: str) -> Kafka:
    """The environment's Kafka at another address."""
    return replace(settings.environment.kafka, bootstrap_servers=bootstrap_servers)


def is_already_published(manifest: Manifest | None, parameters: Mapping[str, Parameter], what: str) -> bool:
    """Whether exactly this was published before.

    Raises:
        AlreadyPublishedError: something was, with other parameters; the message names them.
    """
    if manifest is None:
        return False
    if differences := manifest.differences(parameters):
        raise AlreadyPublishedError(
            f"{what} was published with other parameters ({'; '.join(differences)}); --force publishes these too"
        )
    return True


def run_command(program: str, command: Callable[[], int], *failures: type[Exception]) -> int:
    """The exit code of `command`; one of `failures`, or of those that both commands know, is a line on stderr."""
    try:
        return command()
    except FAILURES + failures as error:
        print(f"{program}: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print(f"{program}: interrupted; what it published is not complete and has no manifest", file=sys.stderr)
        return EXIT_INTERRUPTED


def report_delivery(delivery: Delivery, address: str) -> str:
    """One line for people."""
    if not delivery.undelivered:
        return f"{delivery.delivered:,} records delivered"
    hint = (
        "; are the events in the future? Kafka refuses timestamps ahead of its clock" if _is_refused(delivery) else ""
    )
    return (
        f"{delivery.undelivered:,} records were not delivered to {address} ({delivery.delivered:,} were): "
        f"{delivery.reason or 'no answer in time'}{hint}"
    )


def file_to_write(text: str) -> Path:
    """A path whose folder exists."""
    file = Path(text)
    if not file.parent.is_dir() or file.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} cannot be written: no such folder, or a folder itself")
    return file


def _is_refused(delivery: Delivery) -> bool:
    return "failed to validate record" in (delivery.reason or "")


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from error
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number")
    return value
