"""Which metadata file is the truth about an Iceberg table, when the catalog cannot be asked.

Every commit writes `<version>-<uuid>.metadata.json` and then moves the catalog's pointer to it. The file's
`metadata-log` names the files that held the pointer before. What can be concluded without a catalog:

* A file named in another file's log was committed: its successor's writer read it from the catalog.
* A file that no other names is the end of a branch: the newest commit, one that lost the race (its writer was killed
  before it could delete the file), or one that was never acknowledged.
* The highest version wins, because a loser's version is at most that of the winner. When two ends share the highest
  version, the one written first wins: a writer moves the pointer right after it has written its file.

File names are compared, not locations: they contain a UUID, and `s3://` and `s3a://` name the same object.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HIVE_TYPES = {
    "boolean": "boolean",
    "int": "int",
    "long": "bigint",
    "float": "float",
    "double": "double",
    "date": "date",
    "time": "string",
    "timestamp": "timestamp",
    "timestamptz": "timestamp",
    "string": "string",
    "uuid": "string",
    "binary": "binary",
}


@dataclass(frozen=True)
class MetadataFile:
    """`predecessors` holds the names of the files in the metadata log."""

    name: str
    version: int
    table_uuid: str
    last_updated_ms: int
    predecessors: frozenset[str]
    table_location: str
    columns: tuple[tuple[str, str], ...]

    @property
    def location(self) -> str:
        return f"{self.table_location}/metadata/{self.name}"


def list_versions(metadata_dir: Path) -> dict[str, int]:
    """Metadata files of a table and their versions, by name, without opening one."""
    versions = {file.name: version_of(file.name) for file in metadata_dir.glob("*.metadata.json")}
    return {name: version for name, version in versions.items() if version is not None}


def version_of(name: str) -> int | None:
    """5 of `00005-<uuid>.metadata.json`; None for names that no catalog writes."""
    head = name.partition("-")[0]
    return int(head) if head.isdigit() else None


def read_metadata(file: Path) -> MetadataFile | None:
    """None for a file that was cut short: a writer that was killed has committed nothing."""
    raw = file.read_bytes()
    try:
        content = json.loads(gzip.decompress(raw) if file.name.endswith(".gz.metadata.json") else raw)
        return MetadataFile(
            name=file.name,
            version=version_of(file.name) or 0,
            table_uuid=content["table-uuid"],
            last_updated_ms=content["last-updated-ms"],
            predecessors=frozenset(name_of(entry["metadata-file"]) for entry in content.get("metadata-log", [])),
            table_location=content["location"].rstrip("/"),
            columns=_columns(content),
        )
    except (ValueError, KeyError, OSError, EOFError):
        return None


def name_of(location: str) -> str:
    return location.rpartition("/")[2]


def newest_of_forgotten(files: Iterable[MetadataFile], dropped_uuids: Iterable[str] = ()) -> MetadataFile | None:
    """The file to register for a table that the catalog does not know; None when the table was dropped on purpose.

    A table dropped and created again leaves files of both lives in one folder: the life written last counts.
    """
    dropped = frozenset(dropped_uuids)
    lives: dict[str, list[MetadataFile]] = {}
    for file in files:
        if file.table_uuid not in dropped:
            lives.setdefault(file.table_uuid, []).append(file)
    newest = [_newest(life) for life in lives.values()]
    return max(newest, key=lambda file: file.last_updated_ms, default=None)


def newest_after(pointer: str, later: Iterable[MetadataFile]) -> MetadataFile | None:
    """The file to which a pointer that fell behind has to move; None when it is up to date.

    `later` holds the files of higher versions. The pointer fell behind only if a descendant of it was committed, that
    is named by another. A lone end right behind the pointer was never acknowledged (the endpoint saves the pointer
    before it answers), and its writer may have told its caller that it failed: it must not become true afterwards.
    """
    descendants: dict[str, MetadataFile] = {}
    for file in sorted(later, key=lambda file: file.version):
        if pointer in file.predecessors or file.predecessors & descendants.keys():
            descendants[file.name] = file
    fell_behind = any(file.predecessors & descendants.keys() for file in descendants.values())
    return _newest(descendants.values()) if fell_behind else None


def glue_table_input(table: str, file: MetadataFile, previous: str | None = None) -> dict[str, Any]:
    """The TableInput that Iceberg's own Glue catalogs write for the metadata file."""
    parameters = {"table_type": "ICEBERG", "metadata_location": file.location}
    if previous:
        parameters["previous_metadata_location"] = previous
    return {
        "Name": table,
        "TableType": "EXTERNAL_TABLE",
        "Parameters": parameters,
        "StorageDescriptor": {
            "Location": file.table_location,
            "Columns": [{"Name": name, "Type": kind} for name, kind in file.columns],
        },
    }


def hive_type(iceberg_type: Any) -> str:
    """Glue's name of a type in Iceberg's JSON: `timestamptz` -> `timestamp`, a list -> `array<...>`."""
    if isinstance(iceberg_type, str):
        if iceberg_type.startswith("decimal"):
            return iceberg_type.replace(" ", "")
        return "binary" if iceberg_type.startswith("fixed") else HIVE_TYPES.get(iceberg_type, "string")
    if iceberg_type["type"] == "list":
        return f"array<{hive_type(iceberg_type['element'])}>"
    if iceberg_type["type"] == "map":
        return f"map<{hive_type(iceberg_type['key'])},{hive_type(iceberg_type['value'])}>"
    fields = ",".join(f"{field['name']}:{hive_type(field['type'])}" for field in iceberg_type["fields"])
    return f"struct<{fields}>"


def _columns(content: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    current = content.get("current-schema-id", 0)
    schemas = content.get("schemas") or [content["schema"]]
    schema = next((schema for schema in schemas if schema.get("schema-id", 0) == current), schemas[-1])
    return tuple((field["name"], hive_type(field["type"])) for field in schema["fields"])


def _newest(files: Iterable[MetadataFile]) -> MetadataFile:
    known = list(files)
    committed = frozenset[str]().union(*(file.predecessors for file in known))
    return max(known, key=lambda file: (file.version, file.name in committed, -file.last_updated_ms))
