"""The same date by hand: Kafka -> DuckDB -> scikit-learn -> Parquet, in one process and in memory.

    python -m tests.benchmarks.duckdb_reference --date 2025-04-01

The line to compare with. It has the pipeline's definitions of a valid event, a duplicate and a session, so its counts
must be the pipeline's, but nothing of what makes a lakehouse: no raw layer, no quarantine, no restart from where a run
failed, no sessions over midnight, no windows of 7 and 30 days, and everything has to fit into memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from confluent_kafka import Consumer, KafkaException, TopicPartition
from sklearn.cluster import KMeans  # type: ignore[import-untyped]
from sklearn.preprocessing import StandardScaler  # type: ignore[import-untyped]

import config
from config import Settings
from config.loader import EVENT_SCHEMA_FILE
from data_generator.kafka_sink import connection_options

CLUSTERS, SEED = 5, 42
BATCH_RECORDS = 20_000
BROKER_TIMEOUT_SECONDS = 15
EVENT_TYPES = tuple(json.loads(EVENT_SCHEMA_FILE.read_text(encoding="utf-8"))["properties"]["event_type"]["enum"])

# user_id stays JSON until it is checked: a cast to text would hide that it was a number.
JSON_STRUCTURE = json.dumps(
    dict.fromkeys(
        ("event_id", "event_time", "event_type", "session_id", "page_url", "page_section", "referrer", "search_query",
         "product_id", "category_id", "category_code", "brand"), "VARCHAR")
    | {"user_id": "JSON", "price": "DECIMAL(18,4)", "quantity": "BIGINT", "schema_version": "BIGINT"}
    | {"device": dict.fromkeys(("type", "os", "browser"), "VARCHAR")}
    | {"geo": dict.fromkeys(("country", "city"), "VARCHAR")}
)  # fmt: skip

EVENTS = f"""
CREATE TABLE events AS
WITH parsed AS (
    SELECT unnest(json_transform(text, '{JSON_STRUCTURE}')) FROM payloads WHERE json_valid(text)
), typed AS (
    SELECT * REPLACE (
        try_cast(event_id AS UUID) AS event_id,
        try_cast(event_time AS TIMESTAMP) AS event_time,
        CASE WHEN user_id::VARCHAR LIKE '"_%"' THEN user_id ->> '$' END AS user_id)
    FROM parsed WHERE event_type IN {EVENT_TYPES} AND coalesce(price, 0) >= 0 AND coalesce(quantity, 0) >= 0
)
SELECT DISTINCT ON (event_id) * FROM typed
WHERE event_id IS NOT NULL AND user_id IS NOT NULL AND event_time::DATE = $date::DATE
"""

SESSIONISED = """
CREATE TABLE sessionised AS
WITH gaps AS (
    SELECT *, epoch_ms(event_time) - lag(epoch_ms(event_time)) OVER in_time AS silence_ms
    FROM events WINDOW in_time AS (PARTITION BY user_id ORDER BY event_time, event_id)
)
SELECT *, count_if(coalesce(silence_ms >= $gap_ms, true)) OVER in_time AS session
FROM gaps
WINDOW in_time AS (PARTITION BY user_id ORDER BY event_time, event_id ROWS UNBOUNDED PRECEDING)
"""

SESSIONS = """
CREATE TABLE sessions AS
SELECT user_id, session, min(event_time) AS session_start, max(event_time) AS session_end,
    count(*) AS events,
    count_if(event_type = 'page_view') AS page_views, count_if(event_type = 'search') AS searches,
    count_if(event_type = 'click') AS clicks, count_if(event_type = 'view') AS views,
    count_if(event_type = 'cart') AS carts, count_if(event_type = 'remove_from_cart') AS removals,
    count_if(event_type = 'checkout') AS checkouts, count_if(event_type = 'purchase') AS purchases,
    coalesce(sum(price * coalesce(quantity, 1)) FILTER (event_type = 'purchase'), 0)::DOUBLE AS revenue,
    count(DISTINCT product_id) FILTER (event_type = 'view') AS products_viewed,
    max(event_time) FILTER (event_type = 'purchase') AS last_purchase,
    count_if(hour(event_time) < 6) AS night, count_if(hour(event_time) BETWEEN 6 AND 11) AS morning,
    count_if(hour(event_time) BETWEEN 12 AND 17) AS afternoon, count_if(hour(event_time) >= 18) AS evening,
    count_if(device.type = 'mobile') AS mobile,
    epoch_ms(max(event_time)) - epoch_ms(min(event_time)) AS duration_ms
FROM sessionised GROUP BY user_id, session
"""

# Besides user_id 34 columns.
FEATURES = """
CREATE TABLE features AS
SELECT user_id,
    date_diff('millisecond', max(session_end), $date::DATE + INTERVAL 1 DAY) / 86.4e6 AS days_since_last_event,
    coalesce(date_diff('millisecond', max(last_purchase), $date::DATE + INTERVAL 1 DAY) / 86.4e6, 1)
        AS days_since_last_purchase,
    sum(events) AS events_sum, count(*) AS sessions_sum, sum(page_views) AS page_views_sum,
    sum(searches) AS searches_sum, sum(clicks) AS clicks_sum, sum(views) AS views_sum,
    sum(products_viewed) AS products_viewed_sum, sum(carts) AS carts_sum, sum(removals) AS removals_sum,
    sum(checkouts) AS checkouts_sum, sum(purchases) AS purchases_sum, sum(revenue) AS revenue_sum,
    avg(duration_ms) / 60e3 AS session_minutes_mean, max(duration_ms) / 60e3 AS session_minutes_max,
    avg(events) AS events_per_session_mean, max(events) AS events_per_session_max,
    sum(revenue) / greatest(sum(purchases), 1) AS order_value_mean,
    sum(searches) / sum(events) AS search_rate, sum(clicks) / sum(events) AS click_rate,
    least(sum(carts) / greatest(sum(views), 1), 1) AS cart_rate,
    least(sum(checkouts) / count(*), 1) AS checkout_rate, least(sum(purchases) / count(*), 1) AS purchase_rate,
    least(sum(removals) / greatest(sum(carts), 1), 1) AS removal_rate,
    count_if(carts > 0) AS cart_sessions_sum,
    count_if(carts > 0 AND purchases = 0) / greatest(count_if(carts > 0), 1) AS cart_abandonment_rate,
    count_if(events = 1) / count(*) AS bounce_rate,
    sum(night) / sum(events) AS night_share, sum(morning) / sum(events) AS morning_share,
    sum(afternoon) / sum(events) AS afternoon_share, sum(evening) / sum(events) AS evening_share,
    (isodow($date::DATE) >= 6)::INT AS weekend_share, sum(mobile) / sum(events) AS mobile_share
FROM sessions GROUP BY user_id ORDER BY user_id
"""


def consume_payloads(settings: Settings) -> pa.Table:
    """Every value of the topic that is UTF-8, as the column `text`."""
    topic = settings.pipeline.topic.name
    consumer = Consumer({**connection_options(settings.environment.kafka), "group.id": "reference", "log_level": 0})
    partitions = [TopicPartition(topic, p, 0) for p in range(settings.pipeline.topic.partitions)]
    left = sum(consumer.get_watermark_offsets(p, timeout=BROKER_TIMEOUT_SECONDS)[1] for p in partitions)
    consumer.assign(partitions)
    chunks: list[pa.Array] = []
    while left:
        # never more than there is: it would wait for the rest until the timeout
        messages = consumer.consume(min(BATCH_RECORDS, left), timeout=BROKER_TIMEOUT_SECONDS)
        if not messages:
            raise TimeoutError(f"{left} records of {topic} did not come")
        texts: list[str] = []
        for message in messages:
            if (error := message.error()) is not None:
                raise KafkaException(error)
            try:
                texts.append((message.value() or b"").decode())
            except UnicodeDecodeError:
                continue
        chunks.append(pa.array(texts, pa.string()))
        left -= len(messages)
    consumer.close()
    return pa.table({"text": pa.chunked_array(chunks, pa.string())})


def cluster_users(database: duckdb.DuckDBPyConnection) -> None:
    """features -> segments: log-scaled where not a share, standardised, k-means."""
    columns = database.execute("SELECT * FROM features").fetchnumpy()
    user_ids = columns.pop("user_id")
    matrix = np.column_stack([np.asarray(column, dtype=np.float64) for column in columns.values()])
    is_unbounded = matrix.max(axis=0) > 1
    matrix[:, is_unbounded] = np.log1p(matrix[:, is_unbounded])
    clusters = KMeans(n_clusters=CLUSTERS, random_state=SEED).fit_predict(StandardScaler().fit_transform(matrix))
    segments = pa.table({"user_id": user_ids, "segment_id": clusters})
    database.register("clustered", segments).execute("CREATE TABLE segments AS SELECT * FROM clustered")


def main() -> None:
    parser = argparse.ArgumentParser(prog="duckdb_reference", description=__doc__)
    parser.add_argument("--date", required=True, help="UTC date, YYYY-MM-DD")
    date = parser.parse_args().date
    settings = config.load()
    gap_ms = settings.pipeline.transform.session_gap_minutes * 60_000
    database = duckdb.connect()
    marks = [("", time.monotonic())]

    def mark(step: str) -> None:
        marks.append((step, time.monotonic()))

    database.register("payloads", consume_payloads(settings))
    mark("consume")
    database.execute(EVENTS, {"date": date})
    database.unregister("payloads")
    mark("parse and deduplicate")
    database.execute(SESSIONISED, {"gap_ms": gap_ms}).execute(SESSIONS)
    mark("sessionise")
    database.execute(FEATURES, {"date": date})
    mark("features")
    cluster_users(database)
    mark("cluster")
    with tempfile.TemporaryDirectory(prefix="duckdb-reference-") as folder:
        for table, file in {"sessionised": "events", "sessions": "", "features": "", "segments": ""}.items():
            database.execute(f"COPY {table} TO '{Path(folder) / (file or table)}.parquet' (FORMAT parquet)")
        mark("write")

    counts = {
        name: database.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]
        for name, table in {"events": "events", "sessions": "sessions", "users": "segments"}.items()
    }
    steps = {step: round(end - start, 2) for (_, start), (step, end) in pairwise(marks)}
    seconds = round(marks[-1][1] - marks[0][1], 2)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"counts": counts, "seconds": seconds, "peak_mb": peak_mb, "steps": steps}))


if __name__ == "__main__":
    main()
