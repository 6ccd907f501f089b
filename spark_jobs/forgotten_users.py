"""Users who were forgotten: their tombstones, and what the jobs do with records that name them.

A tombstone is the SHA-256 of a salt and the user's id, so that the id stands nowhere. The salt is the UUID that Iceberg
gave `forgotten_users` when it was created: every deployment has its own, no two jobs can disagree about it. Who reads
the table can test a guess, as who holds a list of all ids could with any salt that landing is able to read.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from spark_jobs.errors import ConcurrentCommitError
from spark_jobs.lake.lakehouse import Lakehouse
from spark_jobs.lake.tables import FORGOTTEN_USERS

ERROR_TYPE = "forgotten_user"
# What an emptied row of raw_events holds, as SQL; its place in Kafka, its times and its date stay.
EMPTIED = {
    "key": "NULL",
    "payload": "NULL",
    "event": "NULL",
    "error_type": f"'{ERROR_TYPE}'",
    "error_detail": "'the record of a user who was forgotten'",
}
_TEXT = "CAST(payload AS STRING)"
# A JSON string with its quotes, what stands in it, and whatever else JSON may hold between its signs.
_QUOTED = r"""regexp_extract_all(%s, r'"((?:[^"\\]|\\.)*)"', %d)"""
_BARE = r"""regexp_extract_all(%s, r'[^\s"\[\]{}:,]+', 0)"""


@dataclass(frozen=True)
class Tombstones:
    """`hashes` are those of the forgotten users, sorted."""

    salt: str
    hashes: tuple[str, ...]

    def hash_user(self, user_id: str) -> str:
        return hashlib.sha256(f"{self.salt}{user_id}".encode()).hexdigest()

    def names(self, text: str) -> str:
        """SQL, never null: the SQL expression `text` is the id of a forgotten user."""
        hashes = ", ".join(f"'{known}'" for known in self.hashes)
        return f"coalesce(sha2(concat('{self.salt}', {text}), 256) IN ({hashes}), false)" if hashes else "false"

    def names_record(self) -> str:
        """SQL, never null: the row of raw_events is one of a forgotten user.

        That is a record with the user's key, a valid one with the user's event, and a quarantined one with the id
        anywhere in its payload: as a JSON string, also an escaped one, or as a bare word such as a number.
        """
        quoted = f"from_json(concat('[', array_join({_QUOTED % (_TEXT, 0)}, ','), ']'), 'ARRAY<STRING>')"
        words = f"concat({_QUOTED % (_TEXT, 1)}, {_BARE % _TEXT}, coalesce({quoted}, array()))"
        named = f"coalesce(exists({words}, word -> {self.names('word')}), false)"
        return f"({self.names('key')} OR IF(error_type IS NULL, {self.names('event.user_id')}, {named}))"


def read_tombstones(lakehouse: Lakehouse) -> Tombstones:
    """All that are recorded now."""
    loaded = lakehouse.load(FORGOTTEN_USERS)
    rows = loaded.scan(selected_fields=("user_hash",)).to_arrow()
    return Tombstones(str(loaded.metadata.table_uuid), tuple(sorted(set(rows.column("user_hash").to_pylist()))))


def raise_if_changed(lakehouse: Lakehouse, tombstones: Tombstones) -> None:
    """Raise ConcurrentCommitError when a user was forgotten since `tombstones` were read: a run may have seen them."""
    if read_tombstones(lakehouse) != tombstones:
        raise ConcurrentCommitError("a user was forgotten after their rows were read")


def empty_records(rows: DataFrame, tombstones: Tombstones) -> DataFrame:
    """Rows of raw_events, those of forgotten users emptied."""
    if not tombstones.hashes:
        return rows
    is_named = F.expr(tombstones.names_record())
    columns = {name: F.when(is_named, F.expr(value)).otherwise(F.col(name)) for name, value in EMPTIED.items()}
    return rows.withColumns(columns)


def drop_forgotten(rows: DataFrame, tombstones: Tombstones, user_id: str = "user_id") -> DataFrame:
    """The rows whose `user_id` nobody has forgotten."""
    return rows.where(~F.expr(tombstones.names(user_id))) if tombstones.hashes else rows
