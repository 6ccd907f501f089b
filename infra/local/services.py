"""The services of the stack. A further one is one more line here and its key in `stack.ports`."""

from __future__ import annotations

from infra.local.airflow import airflow_services
from infra.local.athena.service import athena_services
from infra.local.aws import aws_service
from infra.local.dashboard import dashboard_service
from infra.local.kafka import kafka_service
from infra.local.layout import Layout
from infra.local.postgres import postgres_service
from infra.local.service import Service


def services(layout: Layout) -> tuple[Service, ...]:
    """In the order in which they are started and shown."""
    return (
        kafka_service(layout),
        aws_service(layout),
        postgres_service(layout),
        *airflow_services(layout),
        *athena_services(layout),
        dashboard_service(layout),
    )
