from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from infra.local.iceberg_metadata import (
    MetadataFile,
    glue_table_input,
    hive_type,
    list_versions,
    newest_after,
    newest_of_forgotten,
    read_metadata,
)

LOCATION = "s3://bucket/warehouse/clickstream.db/events"


def make_file(name: str, *predecessors: str, uuid: str = "life-1", updated_ms: int = 0) -> MetadataFile:
    version = int(name.partition("-")[0])
    return MetadataFile(
        name=name,
        version=version,
        table_uuid=uuid,
        last_updated_ms=updated_ms or version,
        predecessors=frozenset(predecessors),
        table_location=LOCATION,
        columns=(("event_id", "string"),),
    )


FIRST = make_file("00000-a")
SECOND = make_file("00001-b", "00000-a")
THIRD = make_file("00002-c", "00000-a", "00001-b")


def test_forgotten_table_gets_its_highest_version() -> None:
    assert newest_of_forgotten([SECOND, THIRD, FIRST]) == THIRD


def test_versions_are_numbers_not_text() -> None:
    tenth = make_file("100000-x", "99999-y")
    assert newest_of_forgotten([make_file("99999-y"), tenth]) == tenth


def test_loser_of_a_race_does_not_win_even_when_written_last() -> None:
    loser = make_file("00001-loser", "00000-a", updated_ms=999)
    assert newest_of_forgotten([FIRST, loser, SECOND, THIRD]) == THIRD


def test_of_two_ends_the_one_written_first_wins() -> None:
    late = make_file("00002-late", "00000-a", "00001-b", updated_ms=999)
    assert newest_of_forgotten([FIRST, SECOND, late, THIRD]) == THIRD


def test_dropped_table_is_not_registered_again() -> None:
    assert newest_of_forgotten([FIRST, SECOND], dropped_uuids=["life-1"]) is None


def test_table_created_again_in_the_same_folder_counts_by_its_last_life() -> None:
    reborn = make_file("00000-z", uuid="life-2", updated_ms=1000)
    assert newest_of_forgotten([FIRST, SECOND, THIRD, reborn]) == reborn


def test_folder_without_metadata_gives_nothing() -> None:
    assert newest_of_forgotten([]) is None


def test_pointer_two_commits_behind_moves_to_the_newest() -> None:
    assert newest_after("00000-a", [SECOND, THIRD]) == THIRD


def test_unacknowledged_commit_right_behind_the_pointer_stays_undone() -> None:
    assert newest_after("00001-b", [THIRD]) is None


def test_files_of_another_life_do_not_move_the_pointer() -> None:
    stranger = [make_file("00003-x", uuid="life-2"), make_file("00004-y", "00003-x", uuid="life-2")]
    assert newest_after("00001-b", stranger) is None


def test_descent_is_followed_when_the_log_has_been_trimmed() -> None:
    trimmed = make_file("00003-d", "00002-c")
    assert newest_after("00000-a", [SECOND, THIRD, trimmed]) == trimmed


def iceberg_json(**overrides: Any) -> dict[str, Any]:
    schema = {
        "schema-id": 1,
        "fields": [
            {"name": "event_id", "type": "string"},
            {"name": "event_time", "type": "timestamptz"},
            {"name": "tags", "type": {"type": "list", "element": "long"}},
        ],
    }
    return {
        "table-uuid": "life-1",
        "last-updated-ms": 7,
        "location": LOCATION + "/",
        "metadata-log": [{"metadata-file": f"{LOCATION}/metadata/00000-a.metadata.json"}],
        "current-schema-id": 1,
        "schemas": [{"schema-id": 0, "fields": []}, schema],
        **overrides,
    }


@pytest.mark.parametrize("name", ["00001-b.metadata.json", "00001-b.gz.metadata.json"])
def test_metadata_file_is_read(tmp_path: Path, name: str) -> None:
    raw = json.dumps(iceberg_json()).encode()
    (tmp_path / name).write_bytes(gzip.compress(raw) if ".gz." in name else raw)

    assert read_metadata(tmp_path / name) == MetadataFile(
        name=name,
        version=1,
        table_uuid="life-1",
        last_updated_ms=7,
        predecessors=frozenset({"00000-a.metadata.json"}),
        table_location=LOCATION,
        columns=(("event_id", "string"), ("event_time", "timestamp"), ("tags", "array<bigint>")),
    )


def test_file_cut_short_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "00001-b.metadata.json").write_text('{"table-uuid": "li')
    assert read_metadata(tmp_path / "00001-b.metadata.json") is None


def test_only_metadata_files_with_a_version_are_listed(tmp_path: Path) -> None:
    for name in ("00007-a.metadata.json", "00007-a.metadata.json.meta.json", "snap-1.avro", "v1.metadata.json"):
        (tmp_path / name).touch()
    assert list_versions(tmp_path) == {"00007-a.metadata.json": 7}


def test_table_input_is_what_iceberg_clients_expect() -> None:
    assert glue_table_input("events", SECOND, previous="s3://b/old") == {
        "Name": "events",
        "TableType": "EXTERNAL_TABLE",
        "Parameters": {
            "table_type": "ICEBERG",
            "metadata_location": f"{LOCATION}/metadata/00001-b",
            "previous_metadata_location": "s3://b/old",
        },
        "StorageDescriptor": {"Location": LOCATION, "Columns": [{"Name": "event_id", "Type": "string"}]},
    }


@pytest.mark.parametrize(
    ("iceberg", "hive"),
    [
        ("long", "bigint"),
        ("decimal(10, 2)", "decimal(10,2)"),
        ("fixed[16]", "binary"),
        ({"type": "map", "key": "string", "value": "double"}, "map<string,double>"),
        ({"type": "struct", "fields": [{"name": "os", "type": "string"}]}, "struct<os:string>"),
    ],
)
def test_types_get_their_name_in_glue(iceberg: Any, hive: str) -> None:
    assert hive_type(iceberg) == hive
