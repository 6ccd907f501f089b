"""The truth about what was published: beside the lake on S3, never on the topic.

```
<settings.paths.truth>/date=YYYY-MM-DD/                 manifest.json users.parquet sessions.parquet injected.parquet
<settings.paths.truth>/live=<start>/                    the same, of a live run
<settings.paths.truth>/replay=<file stem>[/date=...]/   manifest.json of a replayed dataset
```
A publication to another topic than the pipeline's lies below `topic=<name>/`. A manifest is written after the delivery
of what it counts.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import boto3
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from config import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MANIFEST_FILE = "manifest.json"
TOPIC_FOLDER = "topic="
DATE_FOLDER = "date="
REACH_DAYS = 1  # a generated date has late events of the date before, and sessions that go on into the next one
Parameter = str | int | float | None


class TruthError(Exception):
    """The truth cannot be read or written."""


@dataclass(frozen=True)
class Manifest:
    """What one publication delivered.

    `produced` counts Kafka records, duplicates and malformed ones included; `by_event_date` maps an ISO date to the
    records that landing files under it; `by_kind` counts clean, late, duplicate and malformed records.
    """

    parameters: dict[str, Parameter]
    produced: int
    by_event_date: dict[str, int]
    by_kind: dict[str, int]
    publications: int = 1

    def differences(self, parameters: Mapping[str, Parameter]) -> list[str]:
        """Parameters that differ from ours, each as `name: ours, now theirs`."""
        names = dict.fromkeys([*self.parameters, *parameters])
        return [
            f"{name}: {self.parameters.get(name)}, now {parameters.get(name)}"
            for name in names
            if self.parameters.get(name) != parameters.get(name)
        ]

    def plus(self, later: Manifest) -> Manifest:
        """Both publications together, as the topic holds them.

        The same parameters give the same event ids, so all valid records of the later one are then duplicates.
        """
        kinds = Counter(later.by_kind)
        if not self.differences(later.parameters):
            malformed = kinds.get("malformed", 0)
            kinds = Counter(duplicate=later.produced - malformed, malformed=malformed)
        return replace(
            later,
            produced=self.produced + later.produced,
            by_event_date=_added(self.by_event_date, later.by_event_date),
            by_kind=_added(self.by_kind, kinds),
            publications=self.publications + later.publications,
        )


class TruthStore:
    """The truth of one topic on S3; `name` is the folder of a publication, such as `date=2025-04-01`."""

    def __init__(self, settings: Settings, topic: str) -> None:
        is_ours = topic == settings.pipeline.topic.name
        self._uri = settings.paths.truth if is_ours else f"{settings.paths.truth}/{TOPIC_FOLDER}{topic}"
        self._bucket, _, self._prefix = self._uri.removeprefix("s3://").partition("/")
        self._endpoint = settings.environment.aws.endpoint_url
        credentials = settings.environment.any_credentials
        self._s3: S3Client = boto3.client(
            "s3",
            aws_access_key_id=credentials,
            aws_secret_access_key=credentials,
            endpoint_url=self._endpoint,
            region_name=settings.environment.aws.region,
            config=Config(connect_timeout=5, read_timeout=60, retries={"total_max_attempts": 3, "mode": "standard"}),
        )

    def read_manifest(self, name: str) -> Manifest | None:
        """The manifest of a publication, None when there is none."""
        try:
            body = self._s3.get_object(Bucket=self._bucket, Key=self._key(name, MANIFEST_FILE))["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise self._error("read", name, error) from error
        except BotoCoreError as error:
            raise self._error("read", name, error) from error
        return Manifest(**json.loads(body))

    def names(self) -> list[str]:
        """Every publication that has a manifest."""
        names = [key.removeprefix(f"{self._prefix}/") for key in self._keys() if key.endswith(f"/{MANIFEST_FILE}")]
        return [name.removesuffix(f"/{MANIFEST_FILE}") for name in names if not name.startswith(TOPIC_FOLDER)]

    def write(self, name: str, manifest: Manifest, tables: Mapping[str, pa.Table] | None = None) -> None:
        """Write the tables as `<table>.parquet`, then the manifest: where it stands, the truth is whole."""
        try:
            for table_name, table in (tables or {}).items():
                self._put_table(self._key(name, f"{table_name}.parquet"), table)
            body = json.dumps(asdict(manifest), indent=2).encode()
            self._s3.put_object(Bucket=self._bucket, Key=self._key(name, MANIFEST_FILE), Body=body)
        except (ClientError, BotoCoreError) as error:
            raise self._error("write", name, error) from error

    def forget_user(self, user_id: str) -> int:
        """Write every Parquet file of the truth, also that of other topics, without the user's rows; returns how many.

        Manifests count what was published and stay as they are.
        """
        removed = 0
        for key in self._keys():
            if key.endswith(".parquet"):
                removed += self._forget_in(key, user_id)
        return removed

    def _forget_in(self, key: str, user_id: str) -> int:
        try:
            table = pq.read_table(io.BytesIO(self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()))
            kept = table.filter(pc.field("user_id") != user_id)
            if kept.num_rows < table.num_rows:
                self._put_table(key, kept)
        except (ClientError, BotoCoreError) as error:
            raise self._error("change", key.removeprefix(f"{self._prefix}/"), error) from error
        return int(table.num_rows - kept.num_rows)

    def _keys(self) -> list[str]:
        try:
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=f"{self._prefix}/")
            return [item["Key"] for page in pages for item in page.get("Contents", [])]
        except (ClientError, BotoCoreError) as error:
            raise self._error("list", "", error) from error

    def _put_table(self, key: str, table: pa.Table) -> None:
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        self._s3.put_object(Bucket=self._bucket, Key=key, Body=buffer.getvalue())

    def _key(self, name: str, file: str) -> str:
        return f"{self._prefix}/{name}/{file}"

    def _error(self, verb: str, name: str, error: Exception) -> TruthError:
        where = f"{self._uri}/{name}".rstrip("/") + (f" at {self._endpoint}" if self._endpoint else "")
        return TruthError(f"cannot {verb} the truth {where}: {error} (--no-truth goes without)")


def date_name(event_date: date) -> str:
    """Folder of a generated date."""
    return f"{DATE_FOLDER}{event_date.isoformat()}"


def read_manifest(settings: Settings, event_date: date, topic: str | None = None) -> Manifest | None:
    """What was generated and delivered for a date to a topic (default: the pipeline's); None when nothing was."""
    return TruthStore(settings, topic or settings.pipeline.topic.name).read_manifest(date_name(event_date))


def produced_by_date(settings: Settings, topic: str | None = None, near: date | None = None) -> dict[str, int]:
    """Records delivered to a topic by event date (ISO), over all publications: generated, live and replayed.

    With `near` only the count of that date is whole: of generated dates its neighbours are read, whatever the history.
    """
    store = TruthStore(settings, topic or settings.pipeline.topic.name)
    total: Counter[str] = Counter()
    nearby = {date_name(near + timedelta(days=n)) for n in range(-REACH_DAYS, REACH_DAYS + 1)} if near else set()
    for name in store.names():
        if near and name.startswith(DATE_FOLDER) and name not in nearby:
            continue
        manifest = store.read_manifest(name)
        if manifest is not None:
            total.update(manifest.by_event_date)
    return dict(sorted(total.items()))


def _added(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted((Counter(one) + Counter(other)).items()))
