"""The lakehouse's tables: grain, columns, partition. One definition serves CREATE TABLE, DESCRIBE and every job."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from spark_jobs.event_schema import EVENT_DDL, FIELDS

WINDOWS_DAYS = (1, 7, 30)
LONGEST_WINDOW_DAYS = max(WINDOWS_DAYS)


@dataclass(frozen=True)
class Column:
    """`type` is Spark SQL's; `comment` is what DESCRIBE shows."""

    name: str
    type: str
    comment: str
    is_nullable: bool = False

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Least and greatest value that may stand there: a rate or share lies in 0..1, no other number is negative."""
        if re.search(r"_(rate|share)(_|$)", self.name):
            return 0, 1
        is_number = self.type in ("INT", "BIGINT", "DOUBLE") or self.type.startswith("DECIMAL")
        return (0, math.inf) if is_number else None


@dataclass(frozen=True)
class Table:
    """One Iceberg table; `name` is its key in config/s3_paths.yaml, `partition` an identity partition or None."""

    name: str
    comment: str
    partition: str | None
    columns: tuple[Column, ...]

    @property
    def column_names(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def partition_column(self) -> str:
        """Raises ValueError for a table without partitions."""
        if self.partition is None:
            raise ValueError(f"{self.name} is not partitioned")
        return self.partition

    @property
    def ddl(self) -> str:
        """The schema as Spark reads it."""
        return ", ".join(f"`{column.name}` {column.type}" for column in self.columns)


NULLABLE = True


def _columns(*rows: tuple[str, str, str] | tuple[str, str, str, bool]) -> tuple[Column, ...]:
    return tuple(Column(*row) for row in rows)


RAW_EVENTS = Table(
    "raw_events",
    "one row per Kafka record, valid or not; each snapshot carries the Kafka offsets at which it ends",
    "event_date",
    _columns(
        ("topic", "STRING", "Kafka topic"),
        ("partition", "INT", "Kafka partition"),
        ("offset", "BIGINT", "Kafka offset"),
        ("timestamp", "TIMESTAMP", "Kafka timestamp of the record"),
        ("key", "STRING", "Kafka key: the user_id"),
        ("payload", "BINARY", "the value, byte for byte; null for a forgotten user"),
        (
            "error_type",
            "STRING",
            "null when valid, else the first check that failed, or forgotten_user: the record is quarantined",
        ),
        ("error_detail", "STRING", "which field or value failed"),
        ("requeued_from", "STRING", "topic/partition/offset of the quarantined record that this one publishes again"),
        ("ingested_at", "TIMESTAMP", "when the landing run read the record"),
        ("event", EVENT_DDL, "the payload in typed columns; null when quarantined"),
        ("event_date", "DATE", "UTC date of the event; of the Kafka timestamp when the payload has no believable time"),
    ),
)

EVENTS = Table(
    "events",
    "one row per valid event: of the records with one event_id, at most allowed_lateness_days apart, the one with the "
    "lowest Kafka partition and offset",
    "event_date",
    _columns(
        *((field.name, field.spark_type, field.comment, not field.is_required) for field in FIELDS),
        ("session_start", "TIMESTAMP", "time of the first event of the derived session"),
        ("session_key", "STRING", "derived session: user_id, a hyphen, its first event in epoch milliseconds"),
        (
            "milliseconds_since_previous",
            "BIGINT",
            "since the event before in the session, null for its first",
            NULLABLE,
        ),
        ("event_date", "DATE", "UTC date of event_time"),
    ),
)

SESSIONS = Table(
    "sessions",
    "one row per session: events of a user without a silence of session_gap_minutes, also past midnight",
    "session_date",
    _columns(
        ("session_key", "STRING", "user_id, a hyphen, the first event in epoch milliseconds"),
        ("user_id", "STRING", "visitor"),
        ("session_start", "TIMESTAMP", "time of the first event"),
        ("session_end", "TIMESTAMP", "time of the last event"),
        ("duration_seconds", "DOUBLE", "session_end - session_start"),
        ("events", "BIGINT", "events of every type"),
        ("page_views", "BIGINT", "events of type page_view"),
        ("searches", "BIGINT", "events of type search"),
        ("clicks", "BIGINT", "events of type click"),
        ("views", "BIGINT", "events of type view: a product was looked at"),
        ("carts", "BIGINT", "events of type cart"),
        ("removals", "BIGINT", "events of type remove_from_cart"),
        ("checkouts", "BIGINT", "events of type checkout"),
        ("purchases", "BIGINT", "events of type purchase"),
        ("revenue", "DECIMAL(38,4)", "sum of price x quantity of the purchases"),
        ("products_viewed", "BIGINT", "distinct products looked at"),
        ("device_type", "STRING", "device of the first event that names one", NULLABLE),
        ("session_date", "DATE", "UTC date of session_start"),
    ),
)

# Sums over one date of one user. All are additive over dates, so that a window of any length is a sum of rows.
DAILY_SUMS = _columns(
    ("events", "BIGINT", "events of every type"),
    ("sessions", "BIGINT", "sessions that began on the date"),
    ("session_milliseconds", "BIGINT", "time since the event before in the session, summed over the events"),
    ("page_views", "BIGINT", "events of type page_view"),
    ("searches", "BIGINT", "events of type search"),
    ("clicks", "BIGINT", "events of type click"),
    ("views", "BIGINT", "events of type view"),
    ("products_viewed", "BIGINT", "distinct products looked at in a session, summed over sessions"),
    ("carts", "BIGINT", "events of type cart"),
    ("removals", "BIGINT", "events of type remove_from_cart"),
    ("checkouts", "BIGINT", "events of type checkout"),
    ("purchases", "BIGINT", "events of type purchase"),
    ("revenue", "DECIMAL(38,4)", "sum of price x quantity of the purchases"),
    ("cart_sessions", "BIGINT", "sessions with a cart event on the date"),
    ("abandoned_cart_sessions", "BIGINT", "sessions with a cart event and no purchase on the date"),
    ("night_events", "BIGINT", "events from 00:00 to 05:59 UTC"),
    ("morning_events", "BIGINT", "events from 06:00 to 11:59 UTC"),
    ("afternoon_events", "BIGINT", "events from 12:00 to 17:59 UTC"),
    ("evening_events", "BIGINT", "events from 18:00 to 23:59 UTC"),
    ("mobile_events", "BIGINT", "events from a mobile device"),
    ("desktop_events", "BIGINT", "events from a desktop computer"),
    ("tablet_events", "BIGINT", "events from a tablet"),
    ("cart_units", "BIGINT", "quantity of the cart events, 1 where they say none"),
    ("priced_views", "BIGINT", "events of type view with a price"),
    (
        "price_level_thousandths",
        "BIGINT",
        "per priced view the share of the category's views on the date that cost less, thousandths, summed",
    ),
)

USER_DAILY_ACTIVITY = Table(
    "user_daily_activity",
    "one row per user active on a date: the additive sums from which the windows of user_features are made",
    "event_date",
    (
        *_columns(("user_id", "STRING", "visitor")),
        *DAILY_SUMS,
        *_columns(
            ("last_event_time", "TIMESTAMP", "last event of the date"),
            ("last_purchase_time", "TIMESTAMP", "last purchase of the date, null without one", NULLABLE),
            (
                "session_parts",
                "ARRAY<BIGINT>",
                "milliseconds of each session, by time; -1 - n where the first goes on from the date before",
            ),
            ("categories", "ARRAY<STRING>", "distinct categories of the products looked at, ascending"),
            ("event_date", "DATE", "UTC date"),
        ),
    ),
)

WINDOWED_SUMS = (
    "events", "sessions", "page_views", "searches", "clicks", "views", "products_viewed",
    "carts", "removals", "checkouts", "purchases", "revenue", "cart_sessions",
)  # fmt: skip
_SUM_COMMENTS = {column.name: column.comment for column in DAILY_SUMS}

USER_FEATURES = Table(
    "user_features",
    "one row per user with an event in the 30 days that end with the snapshot date; no feature sees a later date",
    "snapshot_date",
    (
        *_columns(
            ("user_id", "STRING", "visitor"),
            ("days_since_last_event", "DOUBLE", "recency: from the last event to the end of the snapshot date, days"),
            (
                "days_since_last_purchase",
                "DOUBLE",
                "from the last purchase within 30 days to the end, null without one",
                NULLABLE,
            ),
            (
                "days_since_first_event_30d",
                "BIGINT",
                "from the first of the 30 dates with an event to the snapshot date",
            ),
            ("active_days_count_30d", "BIGINT", "dates with an event"),
        ),
        *(
            Column(
                f"{name}_sum_{days}d",
                "DOUBLE" if name == "revenue" else "BIGINT",
                f"{_SUM_COMMENTS[name]}; {days} days",
            )
            for days in WINDOWS_DAYS
            for name in WINDOWED_SUMS
        ),
        *_columns(
            ("activity_trend_7d_30d", "DOUBLE", "events a day in 7 days per events a day in 30: 1 is steady"),
            ("session_minutes_mean_30d", "DOUBLE", "mean length of a session, minutes"),
            (
                "session_minutes_p90_30d",
                "DOUBLE",
                "length that nine of ten sessions do not exceed (nearest rank), minutes",
            ),
            (
                "seconds_per_event_mean_30d",
                "DOUBLE",
                "mean pause between two events of a session, seconds; 0 without one",
            ),
            ("events_per_session_mean_30d", "DOUBLE", "mean events of a session"),
            ("pages_per_session_mean_30d", "DOUBLE", "mean page views of a session"),
            ("products_per_session_mean_30d", "DOUBLE", "mean distinct products looked at in a session"),
            ("categories_count_30d", "BIGINT", "distinct categories of the products looked at"),
            ("order_value_mean_30d", "DOUBLE", "revenue of a purchase, 0 without one"),
            ("units_per_cart_mean_30d", "DOUBLE", "units put into the cart at a time, 0 without a cart event"),
            (
                "price_level_mean_30d",
                "DOUBLE",
                "mean place of the views in their category by price: 0 cheapest, 1 dearest; null without a price",
                NULLABLE,
            ),
            ("page_view_rate_30d", "DOUBLE", "page views per event"),
            ("search_rate_30d", "DOUBLE", "searches per event"),
            ("cart_rate_30d", "DOUBLE", "carts per product view, at most 1"),
            ("checkout_rate_30d", "DOUBLE", "checkouts per session, at most 1"),
            ("purchase_rate_30d", "DOUBLE", "conversion: purchases per session, at most 1"),
            ("removal_rate_30d", "DOUBLE", "removals per cart, at most 1"),
            ("cart_conversion_rate_30d", "DOUBLE", "purchases per cart, at most 1"),
            ("cart_abandonment_rate_30d", "DOUBLE", "sessions with a cart and no purchase per session with a cart"),
            ("night_share_30d", "DOUBLE", "share of the events from 00:00 to 05:59 UTC"),
            ("morning_share_30d", "DOUBLE", "share of the events from 06:00 to 11:59 UTC"),
            ("afternoon_share_30d", "DOUBLE", "share of the events from 12:00 to 17:59 UTC"),
            ("evening_share_30d", "DOUBLE", "share of the events from 18:00 to 23:59 UTC"),
            ("weekend_share_30d", "DOUBLE", "share of the events on Saturday and Sunday"),
            ("mobile_share_30d", "DOUBLE", "share of the events from a mobile device"),
            ("desktop_share_30d", "DOUBLE", "share of the events from a desktop computer"),
            ("tablet_share_30d", "DOUBLE", "share of the events from a tablet"),
            ("snapshot_date", "DATE", "the last date that the features see"),
        ),
    ),
)

USER_SEGMENTS = Table(
    "user_segments",
    "one row per user of user_features on the snapshot date",
    "snapshot_date",
    _columns(
        ("user_id", "STRING", "visitor"),
        ("segment_id", "INT", "segment, from 1, the same under every model; 0: too little history, or no model yet"),
        ("segment_name", "STRING", "name of the segment"),
        ("distance_to_centroid", "DOUBLE", "Euclidean, in prepared features; null for segment 0", NULLABLE),
        ("previous_segment_id", "INT", "segment on the date before, null for a user who had none", NULLABLE),
        ("segment_since", "DATE", "first of the consecutive snapshot dates in this segment"),
        ("model_id", "STRING", "model_runs.model_id that scored the date, null before the first model", NULLABLE),
        ("snapshot_date", "DATE", "the scored date"),
    ),
)

SEGMENT_PROFILES = Table(
    "segment_profiles",
    "one row per segment on the snapshot date",
    "snapshot_date",
    _columns(
        ("segment_id", "INT", "segment; 0: users with too little history"),
        ("segment_name", "STRING", "name of the segment"),
        ("story", "STRING", "two sentences in plain words"),
        ("users", "BIGINT", "users in the segment"),
        ("users_share", "DOUBLE", "share of all users"),
        ("centroid", "MAP<STRING, DOUBLE>", "mean of every feature, in its own unit"),
        ("deviations", "MAP<STRING, DOUBLE>",
         "mean of every feature less the mean of all users, in standard deviations of all users"),
        ("distinctive_features", "ARRAY<STRUCT<feature: STRING, standard_deviations: DOUBLE>>",
         "the three features that differ most from all users, in standard deviations"),
        ("model_id", "STRING", "model_runs.model_id, null before the first model", NULLABLE),
        ("snapshot_date", "DATE", "the scored date"),
    ),
)  # fmt: skip

SEGMENT_TRANSITIONS = Table(
    "segment_transitions",
    "one row per from-segment x to-segment that at least one user took from the date before to the snapshot date",
    "snapshot_date",
    _columns(
        ("from_segment_id", "INT", "segment on the date before, null: was not a user", NULLABLE),
        ("to_segment_id", "INT", "segment on the snapshot date, null: is no user any more", NULLABLE),
        ("users", "BIGINT", "users who took it"),
        ("snapshot_date", "DATE", "the later date"),
    ),
)

_CANDIDATE = (
    "k: INT, silhouette: DOUBLE, inertia: DOUBLE, inertia_gain: DOUBLE, stability: DOUBLE, smallest_share: DOUBLE"
)
MODEL_RUNS = Table(
    "model_runs",
    "one row per trained model",
    None,
    _columns(
        ("model_id", "STRING", "model: training date, k and a hash of features and settings"),
        ("trained_on", "DATE", "snapshot date of the training features"),
        ("training_reason", "STRING", "why it was trained: first, settings, schedule, asked, or drift and which"),
        ("data_from", "DATE", "first date that the features see"),
        ("users", "BIGINT", "users trained on"),
        ("settings_hash", "STRING", "hash of everything configured that the clusters depend on"),
        ("k", "INT", "clusters"),
        ("candidates", f"ARRAY<STRUCT<{_CANDIDATE}>>", "scores of every k tried"),
        ("k_reason", "STRING", "why this k"),
        ("features", "ARRAY<STRING>", "columns of user_features that the clusters rest on"),
        ("inputs", "ARRAY<STRING>", "these, and the counts that their rates rest on"),
        ("dropped_features", "MAP<STRING, STRING>", "features that were left out, and why"),
        ("min_sessions", "INT", "users with fewer sessions in 30 days are segment 0"),
        ("segments", "ARRAY<STRUCT<cluster: INT, segment_id: INT, segment_name: STRING>>",
         "which segment each cluster of K-Means is"),
        ("vanished_segments", "ARRAY<STRUCT<segment_id: INT, segment_name: STRING>>",
         "segments of the model before that no cluster is any more"),
        ("compared_with", "STRING", "model_id whose segments were continued, null for the first", NULLABLE),
        ("silhouette_gain", "DOUBLE", "over compared_with, on the training users in this model's space", NULLABLE),
        ("baseline", "STRING", "JSON: distribution of features, segments and distances in training, to find drift"),
        ("artifact", "STRING", "URI of the saved PipelineModel and its metadata"),
        ("decision", "STRING", "champion, kept (not better), waiting (for a person) or rejected (by a person)"),
        ("decision_reason", "STRING", "why, in words"),
        ("champion_from", "DATE", "first snapshot that it scores, until the next champion; null unless champion",
         NULLABLE),
    ),
)  # fmt: skip

PIPELINE_RUNS = Table(
    "pipeline_runs",
    "one row per date that had a run; a later run that rebuilds the date counts it again",
    "event_date",
    _columns(
        ("run_id", "STRING", "Airflow's run"),
        ("produced", "BIGINT", "records that the source says it published for the date, null when it says nothing"),
        ("requeued", "BIGINT", "rows of raw_events that publish a quarantined record again; produced lacks them"),
        ("landed", "BIGINT", "rows of raw_events"),
        ("quarantined", "BIGINT", "rows of raw_events with an error_type"),
        ("duplicates", "BIGINT", "valid rows of raw_events that are no row of events"),
        ("clean", "BIGINT", "rows of events"),
        ("sessions", "BIGINT", "rows of sessions"),
        ("users", "BIGINT", "users active on the date"),
        ("segmented_users", "BIGINT", "rows of user_segments"),
        ("too_late", "BIGINT", "records that this run landed for dates older than allowed_lateness_days"),
        ("start_offsets", "STRING", "JSON: partition -> first offset that the runs of the date landed"),
        ("end_offsets", "STRING", "JSON: partition -> offset after the last one that the runs of the date landed"),
        ("forced", "STRING", "JSON: what the run's checks and audits found and force overrode, null when nothing"),
        ("warnings", "STRING", "JSON: names of the checks that found the date implausible, null when none did"),
        (
            "gaps",
            "STRING",
            "JSON: offsets that landing could leave out, in runs of the date or by hand before; null without",
        ),
        ("remarks", "ARRAY<STRING>", "what was done to the date by hand, such as a rollback, in its order", NULLABLE),
        ("job_seconds", "MAP<STRING, DOUBLE>", "wall seconds of each Spark job of the run"),
        ("recorded_at", "TIMESTAMP", "when the row was written"),
        ("event_date", "DATE", "UTC date that the run processed"),
    ),
)

FAILED_RUNS = Table(
    "failed_runs",
    "one row per run of a date that failed; a later run that succeeds leaves it",
    "event_date",
    _columns(
        ("run_id", "STRING", "Airflow's run"),
        ("failed_tasks", "ARRAY<STRING>", "tasks that failed, ascending"),
        ("failed_at", "TIMESTAMP", "when the row was written"),
        ("event_date", "DATE", "UTC date that the run processed"),
    ),
)

FORGOTTEN_USERS = Table(
    "forgotten_users",
    "one row per user who was forgotten; no job lets a record of theirs in again",
    None,
    _columns(
        ("user_hash", "STRING", "SHA-256, hexadecimal, of the table's UUID followed by the user_id"),
        ("forgotten_at", "TIMESTAMP", "when the user was forgotten first"),
    ),
)

TABLES = (
    RAW_EVENTS, EVENTS, SESSIONS, USER_DAILY_ACTIVITY, USER_FEATURES,
    USER_SEGMENTS, SEGMENT_PROFILES, SEGMENT_TRANSITIONS, MODEL_RUNS, PIPELINE_RUNS,
    FAILED_RUNS, FORGOTTEN_USERS,
)  # fmt: skip
