"""ministack, made safe against `kill -9`: `python -m infra.local.aws_endpoint`, inside ministack's own environment.

On its own, ministack writes Glue's state to disk only at an orderly stop. After a crash it would serve old metadata
locations, and the next commit on top of one would lose every commit in between. So here

* every change of the catalog and every object is on disk before its caller hears of it, and what cannot be saved ends
  the process instead of being served;
* before the port opens, the bucket and the databases exist and the catalog agrees with the metadata files on disk: a
  table that it forgot is registered from its newest file, a pointer that fell behind moves (`iceberg_metadata` has the
  rules). A dropped table whose files remain stays dropped: `dropped_tables.json` remembers its UUID.

Only the standard library and ministack can be imported here.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from infra.local.iceberg_metadata import (
    MetadataFile,
    glue_table_input,
    list_versions,
    name_of,
    newest_after,
    newest_of_forgotten,
    read_metadata,
)

logger = logging.getLogger("aws_endpoint")

READS = ("Get", "BatchGet", "List", "Search", "Query", "Check")
DROPS = ("DeleteTable", "BatchDeleteTable", "DeleteDatabase")
Handler = Callable[..., Any]


class Catalog:
    """ministack's Glue, called inside the process, as the default account of the default region."""

    def __init__(self, glue: Any) -> None:
        self._handle: Handler = glue._handle_request_sync
        self._databases = glue._databases
        self._tables = glue._tables

    def call(self, action: str, **request: Any) -> None:
        body = json.dumps(request).encode()
        status, _, answer = self._handle("POST", "/", {"x-amz-target": f"AWSGlue.{action}"}, body, {})
        if status >= 300:
            raise RuntimeError(f"Glue refused {action}: {answer!r}")

    def ensure_database(self, name: str) -> None:
        if name not in self._databases:
            self.call("CreateDatabase", DatabaseInput={"Name": name})

    def iceberg_tables(self) -> list[dict[str, Any]]:
        tables: list[dict[str, Any]] = list(self._tables.values())
        return [table for table in tables if pointer_of(table)]

    def drop_empty_descriptions(self) -> None:
        """ministack gives every table one. Trino takes it for the comment, by which it knows its own views."""
        for table in self._tables.values():
            if table.get("Description") == "":
                del table["Description"]


def main() -> None:
    app: Any = import_module("ministack.app")
    glue: Any = import_module("ministack.services.glue")
    s3: Any = import_module("ministack.services.s3")
    persistence: Any = import_module("ministack.core.persistence")
    data_dir = Path(os.environ["S3_DATA_DIR"]) / "000000000000"
    dropped_file = Path(os.environ["STATE_DIR"]) / "dropped_tables.json"
    bucket, database = os.environ["LAKEHOUSE_BUCKET"], os.environ["LAKEHOUSE_DATABASE"]
    catalog = Catalog(glue)

    def save() -> None:
        state_file = Path(persistence.STATE_DIR) / "glue.json"
        before = state_file.stat().st_ino if state_file.exists() else None
        persistence.save_state("glue", glue.get_state())
        # save_state only logs a failure. It replaces the file, so that a saved one is another inode.
        if not state_file.exists() or state_file.stat().st_ino == before:
            logger.critical("the catalog could not be saved to %s; stopping", state_file)
            os._exit(1)

    load_state: Handler = app._load_persisted_state

    def load_and_reconcile() -> None:
        load_state()
        if bucket not in s3._buckets:
            s3._create_bucket(bucket, b"", {})
        persistence.save_state("s3", s3.get_state())  # an empty bucket has no file that tells of it
        catalog.ensure_database(database)
        catalog.ensure_database("default")  # where Athena's clients look unless they name another
        reconcile(catalog, data_dir, dropped_file)
        catalog.drop_empty_descriptions()
        save()

    s3._persist_object = end_unless_saved(s3._persist_object)
    glue._handle_request_sync = write_through(glue._handle_request_sync, catalog, data_dir, dropped_file, save)
    app._load_persisted_state = load_and_reconcile
    app._loaded_modules.update(glue=glue, s3=s3)
    app.main()


def end_unless_saved(persist: Handler) -> Handler:
    """How an object goes to disk: ministack only logs that it could not, and serves it from memory until it ends."""

    def persist_or_end(bucket: str, key: str, record: Any) -> None:
        persist(bucket, key, record)
        if isinstance(record, dict) and record.get("body") is not None:  # what is on disk leaves the memory
            logger.critical("s3://%s/%s could not be saved; stopping", bucket, key)
            os._exit(1)

    return persist_or_end


def write_through(handle: Handler, catalog: Catalog, data_dir: Path, dropped_file: Path, save: Handler) -> Handler:
    """Glue's handler, one request at a time: nobody sees a change that is not on disk yet."""
    lock = threading.RLock()

    def handle_and_save(method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]) -> Any:
        action = headers.get("x-amz-target", "").rpartition(".")[2]
        is_read = action.startswith(READS) if action else method == "GET"
        with lock:
            if is_read:
                return handle(method, path, headers, body, query)
            before = live_uuids(catalog, data_dir) if action in DROPS else {}
            answer = handle(method, path, headers, body, query)
            if before:
                remember_dropped(dropped_file, set(before) - set(live_uuids(catalog, data_dir)))
            catalog.drop_empty_descriptions()
            save()
            return answer

    return handle_and_save


def reconcile(catalog: Catalog, data_dir: Path, dropped_file: Path) -> None:
    """Make the catalog agree with every table folder of the warehouse: `<database>[.db]/<table>/metadata`."""
    warehouse = data_dir / os.environ["LAKEHOUSE_WAREHOUSE"].partition("://")[2]
    pointers = {folder_of(pointer_of(table), data_dir): table for table in catalog.iceberg_tables()}
    dropped = read_dropped(dropped_file)
    for folder in sorted(warehouse.glob("*/*/metadata")):
        versions = list_versions(folder)
        if table := pointers.get(folder):
            advance(catalog, table, folder, versions)
            continue
        newest = newest_of_forgotten(read_all(folder, versions), dropped)
        if newest is None:
            continue
        database = folder.parent.parent.name.removesuffix(".db")
        catalog.ensure_database(database)
        catalog.call("CreateTable", DatabaseName=database, TableInput=glue_table_input(folder.parent.name, newest))
        logger.warning("registered %s.%s again from %s", database, folder.parent.name, newest.name)


def advance(catalog: Catalog, table: dict[str, Any], folder: Path, versions: dict[str, int]) -> None:
    """Move a pointer that fell behind; a look at the file names is enough when it did not."""
    pointer = pointer_of(table)
    held = versions.get(name_of(pointer))
    later = [name for name, version in versions.items() if held is not None and version > held]
    newest = newest_after(name_of(pointer), read_all(folder, later)) if later else None
    if newest is None:
        return
    changed = glue_table_input(table["Name"], newest, previous=pointer)
    parameters = {**table["Parameters"], **changed["Parameters"]}
    catalog.call("UpdateTable", DatabaseName=table["DatabaseName"], TableInput={**changed, "Parameters": parameters})
    logger.warning("moved %s.%s on to %s", table["DatabaseName"], table["Name"], newest.name)


def read_all(folder: Path, names: Any) -> list[MetadataFile]:
    return [file for name in names if (file := read_metadata(folder / name))]


def pointer_of(table: dict[str, Any]) -> str:
    return str((table.get("Parameters") or {}).get("metadata_location") or "")


def folder_of(location: str, data_dir: Path) -> Path:
    """The folder on disk of an object `s3://bucket/key`."""
    return (data_dir / location.partition("://")[2]).parent


def live_uuids(catalog: Catalog, data_dir: Path) -> dict[str, str]:
    """Table UUID -> pointer of every Iceberg table in the catalog, whatever its name: a rename drops nothing."""
    pointers = [pointer_of(table) for table in catalog.iceberg_tables()]
    files = [(folder_of(pointer, data_dir) / name_of(pointer), pointer) for pointer in pointers]
    read = [(read_metadata(file), pointer) for file, pointer in files if file.exists()]
    return {metadata.table_uuid: pointer for metadata, pointer in read if metadata}


def read_dropped(file: Path) -> set[str]:
    return set(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else set()


def remember_dropped(file: Path, uuids: set[str]) -> None:
    if not uuids:
        return
    temporary = file.with_suffix(".new")
    temporary.write_text(json.dumps(sorted(read_dropped(file) | uuids)), encoding="utf-8")
    temporary.replace(file)


if __name__ == "__main__":
    main()
