"""Makes clickstream events and publishes them to Kafka.

    python data_generator/event_producer.py --date 2025-04-01 --events 100000      a whole date, as fast as it can
    python data_generator/event_producer.py --duration 120 --rate 200              live, event_time = now

A date is a function of its parameters: the same seed and date give the same bytes. `--events` counts the unique events
of the date, late ones included; duplicates and malformed records come on top. The truth (who is which persona, where
sessions begin and end, what was injected) goes to S3 beside the lake; its manifest also keeps a date from being
published twice. Exit code: 0 when everything was delivered (or had been before), 1 when not, 2 for wrong options.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import config
from config import Settings
from data_generator.command_line import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    add_kafka_options,
    add_truth_options,
    file_to_write,
    is_already_published,
    iso_date,
    kafka_of,
    positive_count,
    positive_number,
    report_delivery,
    run_command,
    seed,
    share,
)
from data_generator.date_batch import BatchError, BatchParameters, generate_date_batch, users_for
from data_generator.kafka_sink import DeliveryError, FileSink, KafkaSink, Sink
from data_generator.live_stream import LiveParameters, LiveStream
from data_generator.population import PersonaMove
from data_generator.truth import Manifest, Parameter, TruthStore, date_name

DEFAULT_RATE = 200.0


def build_parser(settings: Settings) -> argparse.ArgumentParser:
    """Options; what is left out comes from config/."""
    generator = settings.pipeline.generator
    parser = argparse.ArgumentParser(
        prog="event_producer.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--date", type=iso_date, help="publish this whole UTC date (YYYY-MM-DD)")
    mode.add_argument("--duration", type=positive_number, metavar="SECONDS", help="publish live for so long")
    parser.add_argument(
        "--events", type=positive_count, help=f"unique events of the date (default: {generator.events_per_date})"
    )
    parser.add_argument("--rate", type=positive_number, help=f"live events a second (default: {DEFAULT_RATE:g})")
    add_kafka_options(parser, settings)
    parser.add_argument("--seed", type=seed, default=generator.seed, help="default: %(default)s")
    parser.add_argument(
        "--users",
        type=positive_count,
        help=f"users of the shop (default: {generator.users}, more where a date has too many events for them)",
    )
    for name, value in (
        ("late", generator.late_rate),
        ("duplicate", generator.duplicate_rate),
        ("malformed", generator.malformed_rate),
    ):
        parser.add_argument(
            f"--{name}-rate", type=share, default=value, metavar="SHARE", help="0 to 1 (default: %(default)s)"
        )
    parser.add_argument(
        "--persona-move",
        type=persona_move,
        metavar="MOVE",
        help="'2025-05-01 window_shopper loyal_buyer 0.1': this share of all users is another persona from then on",
    )
    parser.add_argument("--output", type=file_to_write, metavar="FILE", help="JSON lines to a file, not to Kafka")
    add_truth_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the options, publish, and return the exit code."""
    return run_command("event_producer", lambda: publish(argv), BatchError)


def publish(argv: Sequence[str] | None) -> int:
    """Publish what the options say."""
    settings = config.load()
    parser = build_parser(settings)
    arguments = parser.parse_args(argv)
    if arguments.date and arguments.rate:
        parser.error("--rate goes with --duration, not with --date")
    if arguments.duration and arguments.events:
        parser.error("--events goes with --date, not with --duration")
    if arguments.persona_move and arguments.duration:
        parser.error("--persona-move goes with --date, not with --duration")
    return publish_date(settings, arguments) if arguments.date else publish_live(settings, arguments)


def persona_move(text: str) -> PersonaMove:
    """An option's value. Raises ArgumentTypeError."""
    try:
        return PersonaMove.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def publish_date(settings: Settings, arguments: argparse.Namespace) -> int:
    """Publish a whole date, then write its truth."""
    events = arguments.events or settings.pipeline.generator.events_per_date
    parameters = BatchParameters(
        date=arguments.date,
        seed=arguments.seed,
        events=events,
        users=arguments.users or users_for(events, settings.pipeline.generator.users),
        late_rate=arguments.late_rate,
        duplicate_rate=arguments.duplicate_rate,
        malformed_rate=arguments.malformed_rate,
        persona_move=arguments.persona_move,
    )
    described = describe(parameters, arguments.topic)
    store = _truth_store(settings, arguments)
    published = store.read_manifest(date_name(parameters.date)) if store else None
    if not arguments.force and is_already_published(published, described, str(parameters.date)):
        print(f"{parameters.date}: already published; --force publishes again")
        return EXIT_OK

    started = time.monotonic()
    sink = open_sink(settings, arguments)
    batch = generate_date_batch(parameters)
    for records in batch.records():
        sink.publish(records)
    delivery = sink.close()
    seconds = time.monotonic() - started
    if delivery.undelivered:
        raise DeliveryError(report_delivery(delivery, arguments.bootstrap_servers))

    manifest = Manifest(
        parameters=described,
        produced=delivery.delivered,
        by_event_date=batch.count_by_event_date(),
        by_kind=batch.count_by_kind(),
    )
    if store:
        tables = {
            "users": batch.users_table(),
            "sessions": batch.sessions_table(),
            "injected": batch.injected_table(),
        }
        store.write(date_name(parameters.date), published.plus(manifest) if published else manifest, tables)
    rate = delivery.delivered / seconds
    print(f"{parameters.date}: {report_delivery(delivery, '')} in {seconds:.1f} s ({rate:,.0f}/s)")
    _print_counts(manifest)
    return EXIT_OK


def publish_live(settings: Settings, arguments: argparse.Namespace) -> int:
    """Publish as time goes by, until the duration is over or Ctrl-C, then write the truth."""
    parameters = LiveParameters(
        seed=arguments.seed,
        users=arguments.users or settings.pipeline.generator.users,
        duration_seconds=arguments.duration,
        rate=arguments.rate or DEFAULT_RATE,
        late_rate=arguments.late_rate,
        duplicate_rate=arguments.duplicate_rate,
        malformed_rate=arguments.malformed_rate,
    )
    store = _truth_store(settings, arguments)
    if store:
        store.names()  # an S3 that cannot be reached is told now, not after the run
    sink = open_sink(settings, arguments)
    stream = LiveStream(parameters, clock_ms=lambda: time.time_ns() // 1_000_000, sleep=time.sleep)
    interrupted: list[int] = []

    def stop(signal_number: int, _frame: object) -> None:
        interrupted.append(signal_number)
        stream.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    print(f"live: {parameters.rate:g} events/s for {parameters.duration_seconds:g} s; Ctrl-C ends it", flush=True)
    stream.run(sink)
    delivery = sink.close()
    print(f"live: {report_delivery(delivery, arguments.bootstrap_servers)}")
    manifest = Manifest(
        parameters={**vars(parameters), "topic": arguments.topic},
        produced=delivery.delivered,
        by_event_date=dict(sorted(stream.truth.by_event_date.items())),
        by_kind=dict(stream.truth.by_kind),
    )
    _print_counts(manifest)
    if delivery.undelivered:
        return EXIT_INTERRUPTED if interrupted else EXIT_FAILED
    if store:
        tables = {
            "users": stream.users_table(),
            "sessions": stream.sessions_table(),
            "injected": stream.injected_table(),
        }
        started = datetime.fromtimestamp(stream.started_ms / 1000, tz=UTC)
        store.write(f"live={started:%Y-%m-%dT%H-%M-%S.%f}Z", manifest, tables)
    return EXIT_OK


def open_sink(settings: Settings, arguments: argparse.Namespace) -> Sink:
    """The file of --output, else the Kafka topic."""
    if arguments.output:
        return FileSink(arguments.output)
    kafka = kafka_of(settings, arguments.bootstrap_servers)
    return KafkaSink(kafka, replace(settings.pipeline.topic, name=arguments.topic))


def describe(parameters: BatchParameters, topic: str) -> dict[str, Parameter]:
    """The parameters as the manifest keeps them; two equal descriptions publish the same bytes."""
    move = str(parameters.persona_move) if parameters.persona_move else None
    return {**vars(parameters), "date": parameters.date.isoformat(), "topic": topic, "persona_move": move}


def _truth_store(settings: Settings, arguments: argparse.Namespace) -> TruthStore | None:
    """What goes to a file was not published, so it leaves no truth on S3 either."""
    return None if arguments.no_truth or arguments.output else TruthStore(settings, arguments.topic)


def _print_counts(manifest: Manifest) -> None:
    print("  by kind: " + ", ".join(f"{kind} {count:,}" for kind, count in manifest.by_kind.items()))
    print("  by event date: " + ", ".join(f"{day} {count:,}" for day, count in manifest.by_event_date.items()))


if __name__ == "__main__":
    sys.exit(main())
