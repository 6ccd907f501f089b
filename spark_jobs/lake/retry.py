"""The one way to try again what another run has overtaken."""

from __future__ import annotations

import sys

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from spark_jobs.errors import ConcurrentCommitError

MAX_ATTEMPTS = 5


def retry_on_conflict(attempts: int = MAX_ATTEMPTS) -> Retrying:
    """Up to so many attempts at once one after the other; each that fails is told on stderr.

        for attempt in retry_on_conflict():
            with attempt:
                ...

    Raises the last ConcurrentCommitError, and whatever else is raised at once.
    """

    def tell(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, ConcurrentCommitError):
            print(f"{error}; attempt {state.attempt_number} of {attempts}", file=sys.stderr)

    return Retrying(
        stop=stop_after_attempt(attempts),
        retry=retry_if_exception_type(ConcurrentCommitError),
        after=tell,
        reraise=True,
    )
