"""Somebody else's work on the same Kafka and S3, all the time: what is killed is killed under load."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.running_stack import RunningStack

TOPIC = "load"
TOPIC_OPTIONS = {"retention.bytes": "20000000", "segment.bytes": "5000000"}
RECORDS_PER_ROUND = 100
RECORD = b"x" * 400
OBJECT = b"y" * 256 * 1024
PAUSE_SECONDS = 0.1


@dataclass
class Done:
    """Records that Kafka has taken, and objects that S3 has given back."""

    records: int = 0
    objects: int = 0


@contextmanager
def put_under_load(stack: RunningStack) -> Iterator[Done]:
    """About a thousand records and ten objects a second, as far as the services answer."""
    servers, aws = stack.settings.environment.kafka.bootstrap_servers, stack.settings.environment.aws
    new = NewTopic(TOPIC, num_partitions=3, config=TOPIC_OPTIONS)
    admin = AdminClient({"bootstrap.servers": servers})  # has to outlive the answer
    admin.create_topics([new])[TOPIC].result(timeout=60)
    producer = Producer({"bootstrap.servers": servers, "message.timeout.ms": 5000, "log_level": 0})
    keys = stack.environment["AWS_ACCESS_KEY_ID"], stack.environment["AWS_SECRET_ACCESS_KEY"]
    once = Config(retries={"total_max_attempts": 1}, read_timeout=5)
    s3 = boto3.Session(*keys, region_name=aws.region).client("s3", endpoint_url=aws.endpoint_url, config=once)
    done, is_over = Done(), threading.Event()

    def count(error: object, _message: object) -> None:
        done.records += error is None

    def work() -> None:
        while not is_over.wait(PAUSE_SECONDS):
            try:
                for _ in range(RECORDS_PER_ROUND):
                    producer.produce(TOPIC, RECORD, on_delivery=count)
                producer.poll(0)
                s3.put_object(Bucket=aws.bucket, Key="load/object", Body=OBJECT)
                done.objects += s3.get_object(Bucket=aws.bucket, Key="load/object")["Body"].read() == OBJECT
            except (BufferError, KafkaException, BotoCoreError, ClientError):
                continue  # killed, and soon back

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield done
        assert worker.is_alive()
    finally:
        is_over.set()
        worker.join()
        producer.flush(10)
