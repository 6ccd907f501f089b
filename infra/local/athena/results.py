"""The objects that a query leaves in S3: its result, the metadata beside it, the manifest of the files it wrote.

<output location>/<id>.csv            rows of a SELECT, with a header
<output location>/<id>.txt            text of DDL and UTILITY
<output location>/<id>.csv.metadata   columns of either; clients only delete it
<output location>/<id>-manifest.csv   URIs of the files that CTAS, INSERT or UNLOAD wrote
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from infra.local.athena.plan import Output
from infra.local.athena.query import Query
from infra.local.athena.result_text import Fields, ReadRow, csv_line, read_csv, read_text, text_line
from infra.local.athena.s3_uri import split_uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

READ_BYTES = 1 << 18
SMALL_BYTES = 1 << 20
SEQUENTIAL = TransferConfig(use_threads=False)  # ten parts of 8 MB at once would be most of the memory


@dataclass(frozen=True)
class Page:
    """`next_offset` is where the following page begins in the object; None at its end."""

    rows: list[Fields]
    next_offset: int | None


class MissingResultError(Exception):
    """The result object is not in S3 any more."""


def object_uri(output_location: str, query_id: str, output: Output) -> str:
    """The OutputLocation that clients read; that of written files names no object, its manifest stands beside it."""
    suffix = "" if output is Output.FILES else f".{output.value}"
    return f"{output_location}{query_id}{suffix}"


def manifest_uri(query: Query) -> str:
    return f"{query.output_location}-manifest.csv"


class Results:
    """Reads and writes result objects. Rows pass through a file in `spool`, never as a whole through memory."""

    def __init__(self, s3: S3Client, spool: Path) -> None:
        self._s3 = s3
        self._spool = spool
        spool.mkdir(parents=True, exist_ok=True)

    def write_rows(self, query: Query, output: Output, names: Sequence[str], pages: Iterable[Iterable[Fields]]) -> int:
        """Write the result object; the number of rows. The object appears when it is complete, or not at all."""
        line = csv_line if output is Output.ROWS else text_line
        count = 0
        with tempfile.SpooledTemporaryFile(SMALL_BYTES, "w+b", dir=str(self._spool)) as file:
            if output is Output.ROWS and names:
                file.write(csv_line(names).encode("utf-8"))
            for page in pages:
                rows = [line(row) for row in page]
                file.write("".join(rows).encode("utf-8", "replace"))
                count += len(rows)
            self._upload(file, query.output_location)
        return count

    def write_empty(self, query: Query) -> None:
        """The object of a statement that changes rows and returns none."""
        bucket, key = split_uri(query.output_location)
        self._s3.put_object(Bucket=bucket, Key=key, Body=b"")

    def write_metadata(self, query: Query) -> None:
        bucket, key = split_uri(f"{query.output_location}.metadata")
        self._s3.put_object(Bucket=bucket, Key=key, Body=json.dumps({"ColumnInfo": query.columns}).encode())

    def write_manifest(self, query: Query, uris: Iterable[str]) -> str:
        """One URI a line; the URI of the manifest."""
        uri = manifest_uri(query)
        bucket, key = split_uri(uri)
        self._s3.put_object(Bucket=bucket, Key=key, Body="".join(f"{file}\n" for file in uris).encode())
        return uri

    def list_files(self, location: str) -> set[str]:
        """URIs of the objects below an s3:// prefix."""
        bucket, prefix = split_uri(location if location.endswith("/") else f"{location}/")
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = (found["Key"] for page in pages for found in page.get("Contents", []))
        return {f"s3://{bucket}/{key}" for key in keys if not key.endswith("/")}

    def exists(self, uri: str) -> bool:
        bucket, key = split_uri(uri)
        try:
            self._s3.head_object(Bucket=bucket, Key=key)
        except ClientError:
            return False
        return True

    def read_page(self, query: Query, offset: int, limit: int) -> Page:
        """At most `limit` rows from a byte offset on, the header of a CSV among them. Raises MissingResultError."""
        rows: list[Fields] = []
        end = offset
        for row in self._read(query, offset):
            if len(rows) == limit:
                return Page(rows, end)
            rows.append(row.fields)
            end = row.end
        return Page(rows, None)

    def _read(self, query: Query, offset: int) -> Iterator[ReadRow]:
        chunks = self._chunks(query.output_location, offset)
        if query.output_location.endswith(f".{Output.ROWS.value}"):
            return read_csv(chunks, offset)
        return read_text(chunks, offset, len(query.columns))

    def _chunks(self, uri: str, offset: int) -> Iterator[bytes]:
        bucket, key = split_uri(uri)
        position = offset
        while True:
            wanted = f"bytes={position}-{position + READ_BYTES - 1}"
            try:
                answer = self._s3.get_object(Bucket=bucket, Key=key, Range=wanted)
            except ClientError as error:
                if error.response["Error"]["Code"] in ("InvalidRange", "416"):
                    return
                raise MissingResultError(f"{uri}: {error.response['Error']['Code']}") from error
            chunk = answer["Body"].read()
            yield chunk
            position += len(chunk)
            if len(chunk) < READ_BYTES:
                return

    def _upload(self, file: IO[bytes], uri: str) -> None:
        size = file.tell()
        file.seek(0)
        bucket, key = split_uri(uri)
        content_type = "text/csv" if uri.endswith(".csv") else "text/plain"
        if size < SMALL_BYTES:
            self._s3.put_object(Bucket=bucket, Key=key, Body=file.read(), ContentType=content_type)
        else:
            self._s3.upload_fileobj(file, bucket, key, ExtraArgs={"ContentType": content_type}, Config=SEQUENTIAL)
