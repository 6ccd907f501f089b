"""What is said of a client's error, and what a query costs; Athena itself answers in tests/integration/dashboard."""

from __future__ import annotations

import pytest
from awswrangler.exceptions import QueryCancelled, QueryFailed, UnsupportedType
from botocore.exceptions import ClientError, EndpointConnectionError

import config
from dashboard.lake import (
    EmptyLakeError,
    QueryRefusedError,
    ScanLimitError,
    ServiceAwayError,
    estimate_price,
    explain,
)
from infra.local.athena.failures import UNAVAILABLE_REASON

THROTTLED = ClientError({"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}, "GetQueryExecution")
BROKEN = ClientError({"Error": {"Code": "?"}, "ResponseMetadata": {"HTTPStatusCode": 503}}, "GetTables")  # type: ignore[typeddict-item]
DENIED = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "GetTables")
NO_DATABASE = ClientError({"Error": {"Code": "EntityNotFoundException", "Message": "x not found"}}, "GetTables")


@pytest.mark.parametrize(
    ("error", "kind", "remedy"),
    [
        (QueryCancelled("Query cancelled! : Bytes scanned limit was exceeded"), ScanLimitError, "fewer dates"),
        (QueryFailed("COLUMN_NOT_FOUND: line 1:8"), QueryRefusedError, "make logs"),
        (UnsupportedType("Unsupported Athena type: interval"), QueryRefusedError, "CAST it to varchar"),
        (EndpointConnectionError(endpoint_url="http://127.0.0.1:1"), ServiceAwayError, "make up"),
        (NO_DATABASE, EmptyLakeError, "make run"),
        (THROTTLED, ServiceAwayError, "reload"),
        (BROKEN, ServiceAwayError, "reload"),
        (QueryFailed(UNAVAILABLE_REASON.format("refused")), ServiceAwayError, "reload"),
        (DENIED, QueryRefusedError, "make logs"),
    ],
)
def test_an_error_says_what_to_do(error: Exception, kind: type[Exception], remedy: str) -> None:
    told = explain(error, config.load("local"))
    assert type(told) is kind
    assert remedy in told.remedy


@pytest.mark.parametrize(
    ("scanned", "price"),
    [  # 5 USD for a million megabytes, ten at least
        (0, 0.00005),
        (10_000_000, 0.00005),
        (10_000_001, 0.000055),
        (1_000_000_000_000, 5.0),
    ],
)
def test_a_query_is_charged_by_the_megabyte(scanned: int, price: float) -> None:
    assert estimate_price(scanned, 5.0) == pytest.approx(price)
