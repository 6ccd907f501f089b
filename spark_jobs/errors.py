"""How a job ends that could not do its work: the base of every error that a person is told in one line."""

from __future__ import annotations


class JobError(Exception):
    """A job cannot do its work; the message names the thing and the remedy. `failures.explain_failures` catches it."""

    def to_line(self) -> str:
        """What stands after the job's name."""
        return str(self)


class ConcurrentCommitError(JobError):
    """Somebody else committed to the table first; read again and retry."""

    def to_line(self) -> str:
        return f"{self}; run it again"


class AuditError(JobError):
    """A draft does not pass; the message has every finding with its numbers."""

    def to_line(self) -> str:
        return f"not published: {self}; --force publishes it"
