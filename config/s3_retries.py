"""How long PyIceberg asks an S3 that does not answer: as long as Spark's own clients do, not PyArrow's three times."""

from __future__ import annotations

from pyarrow.fs import AwsStandardS3RetryStrategy  # type: ignore[import-untyped]

ATTEMPTS = 8  # with pauses that double up to 20 seconds: about a minute


class PatientS3Retries(AwsStandardS3RetryStrategy):  # type: ignore[misc]
    """PyIceberg's property s3.retry-strategy-impl names a class that takes no arguments."""

    def __init__(self) -> None:
        super().__init__(max_attempts=ATTEMPTS)
