"""Why a query failed: Trino's errors in the words and numbers of Athena."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from infra.local.athena.plan import FailedStatementError
from infra.local.athena.trino_client import TrinoStatementError, TrinoUnavailableError

SYSTEM, USER, OTHER = 1, 2, 3
# https://docs.aws.amazon.com/athena/latest/ug/error-reference.html
EXHAUSTED, INTERNAL, ENGINE, METASTORE, TIMEOUT, USER_ERROR = 0, 100, 200, 204, 206, 1001
METASTORE_ERRORS = ("HIVE_METASTORE_ERROR", "ICEBERG_CATALOG_ERROR")
SCAN_LIMIT_REASON = "Query cancelled! : Bytes scanned limit was exceeded"
RESTART_REASON = "INTERNAL_ERROR: the Athena endpoint was stopped while this query ran: run it again"
UNAVAILABLE_REASON = (
    "ENGINE_UNAVAILABLE: the query engine (Trino) did not answer: {}. The stack starts it again by itself within two "
    "minutes; its log is that of the service `trino`. Run the query again"
)
EXPECTED = (TrinoStatementError, TrinoUnavailableError, FailedStatementError)


@dataclass(frozen=True)
class Failure:
    """StateChangeReason and AthenaError of a query."""

    reason: str
    category: int
    code: int
    is_retryable: bool = False

    @property
    def error(self) -> dict[str, Any]:
        return {
            "ErrorCategory": self.category,
            "ErrorType": self.code,
            "Retryable": self.is_retryable,
            "ErrorMessage": self.reason,
        }


def describe(error: Exception) -> Failure:
    if isinstance(error, TrinoStatementError):
        return _describe_trino(error)
    if isinstance(error, FailedStatementError):
        return Failure(str(error), error.category, error.code)
    if isinstance(error, TrinoUnavailableError):
        return Failure(UNAVAILABLE_REASON.format(_short(str(error))), SYSTEM, ENGINE, is_retryable=True)
    if isinstance(error, ClientError) and error.response["Error"]["Code"] == "NoSuchBucket":
        bucket = error.response["Error"].get("BucketName", "of the output location")
        return Failure(f"Unable to verify/create output bucket {bucket}", USER, USER_ERROR)
    return Failure(f"INTERNAL_ERROR: {type(error).__name__}: {_short(str(error))}", SYSTEM, INTERNAL, is_retryable=True)


def _describe_trino(error: TrinoStatementError) -> Failure:
    reason = f"{error.name}: {athena_names(str(error))}"
    if error.name in METASTORE_ERRORS:
        return Failure(reason, SYSTEM, METASTORE)
    if error.name.endswith("TIME_LIMIT"):
        return Failure(reason, SYSTEM, TIMEOUT)
    if error.kind == "USER_ERROR":
        return Failure(reason, USER, USER_ERROR)
    if error.kind == "INSUFFICIENT_RESOURCES":
        return Failure(f"Query exhausted resources at this scale factor: {reason}", SYSTEM, EXHAUSTED, True)
    # EXTERNAL is what the data or the store did: a damaged file is the user's, as with Athena.
    is_data = error.name.startswith(("HIVE_", "ICEBERG_"))
    return Failure(reason, USER if is_data else SYSTEM, USER_ERROR if is_data else ENGINE)


def athena_names(message: str) -> str:
    """Athena knows one catalog; that Iceberg tables are read through another of Trino's is nobody's business."""
    return re.sub(r"(?<![\w.])iceberg\.(?=\w)", "awsdatacatalog.", message)


def syntax_message(error: TrinoStatementError) -> str:
    """What Athena says of SQL that does not parse, as its clients match it."""
    return f"Queries of this type are not supported or are wrong: Exception parsing query: {error}"


def _short(text: str, limit: int = 300) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[:limit]}..."
