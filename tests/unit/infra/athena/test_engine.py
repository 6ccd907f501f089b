"""Trino's configuration and its installation."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.local.athena import install
from infra.local.athena.service import trino_command
from infra.local.athena.trino_config import (
    configuration_files,
    hive_properties,
    iceberg_properties,
    node_properties,
    server_properties,
    write_configuration,
)
from infra.local.environment import client_environment
from infra.local.layout import Layout


def test_trino_listens_on_this_machine_only(layout: Layout) -> None:
    assert node_properties(layout)["node.bind-ip"] == "127.0.0.1"
    assert server_properties(layout)["discovery.uri"] == "http://127.0.0.1:8081"
    assert "-Dnode.bind-ip=127.0.0.1" in trino_command(layout)


def test_catalogs_lead_to_each_other_and_to_the_local_endpoint(layout: Layout) -> None:
    hive, iceberg = hive_properties(layout), iceberg_properties(layout)

    assert hive["hive.iceberg-catalog-name"] == "iceberg"
    assert iceberg["iceberg.hive-catalog-name"] == "awsdatacatalog"
    assert {hive["s3.endpoint"], iceberg["hive.metastore.glue.endpoint-url"]} == {"http://127.0.0.1:4566"}


def test_configuration_is_written_below_the_state_folder(layout: Layout) -> None:
    write_configuration(layout)
    folder = layout.state / "trino" / "etc"

    assert sorted(str(file.relative_to(folder)) for file in folder.rglob("*.properties")) == sorted(
        configuration_files(layout)
    )
    assert "connector.name=hive\n" in (folder / "catalog" / "awsdatacatalog.properties").read_text()


def test_clients_find_the_endpoint(layout: Layout) -> None:
    assert client_environment(layout)["AWS_ENDPOINT_URL_ATHENA"] == "http://127.0.0.1:4567"


@pytest.fixture
def archives(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Three small archives like Trino's, and the checksums to go with them."""
    made = {
        "trino-server-core-476.tar.gz": make_tar({"trino-server-core-476/lib/shared.jar": b"shared"}),
        "trino-hive-476.zip": make_zip({"trino-hive-476/shared.jar": b"shared", "trino-hive-476/hive.jar": b"h"}),
        "trino-iceberg-476.zip": make_zip(
            {"trino-iceberg-476/iceberg.jar": b"i", "trino-iceberg-476/net.snowflake_jdbc-1.jar": b"unneeded"}
        ),
    }
    pinned = tuple(
        install.Artifact(name, len(content), hashlib.sha256(content).hexdigest()) for name, content in made.items()
    )
    monkeypatch.setattr(install, "artifacts", lambda: pinned)
    return made


def make_tar(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def make_zip(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def fetcher(archives: dict[str, bytes], broken: list[str]) -> Callable[[Path], None]:
    """Writes the archives; the first of them that `broken` names is cut short, once."""

    def fetch(cache: Path) -> None:
        for name, content in archives.items():
            file = cache / "trino" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            is_broken = name in broken
            if is_broken:
                broken.remove(name)
            file.write_bytes(content[:10] if is_broken else content)

    return fetch


def test_trino_is_unpacked_without_what_is_not_needed(tmp_path: Path, archives: dict[str, bytes]) -> None:
    home, cache = tmp_path / "trino", tmp_path / "cache"
    install.install_trino(home, cache, fetcher(archives, []))

    files = sorted(str(file.relative_to(home)) for file in home.rglob("*.jar"))
    assert files == ["lib/shared.jar", "plugin/hive/hive.jar", "plugin/hive/shared.jar", "plugin/iceberg/iceberg.jar"]
    assert (home / "lib" / "shared.jar").samefile(home / "plugin" / "hive" / "shared.jar")
    assert not cache.exists()


def test_broken_archive_is_fetched_again(tmp_path: Path, archives: dict[str, bytes]) -> None:
    install.install_trino(tmp_path / "trino", tmp_path / "cache", fetcher(archives, ["trino-hive-476.zip"]))
    assert (tmp_path / "trino" / "plugin" / "hive" / "hive.jar").exists()


def test_archive_that_stays_broken_is_named(tmp_path: Path, archives: dict[str, bytes]) -> None:
    twice = ["trino-hive-476.zip", "trino-hive-476.zip"]
    with pytest.raises(install.BrokenArtifactError, match=r"trino-hive-476\.zip is not the file that was asked for"):
        install.install_trino(tmp_path / "trino", tmp_path / "cache", fetcher(archives, twice))
    assert not (tmp_path / "trino").exists()


def test_bar_shows_what_has_arrived() -> None:
    assert install.bar(400_000_000, 800_000_000) == f"[{'#' * 15}{'.' * 15}] 400 of 800 MB"


def test_pinned_artifacts_have_sizes_and_checksums() -> None:
    assert all(artifact.bytes > 0 and len(artifact.sha256) == 64 for artifact in install.artifacts())
    assert {field.name for field in dataclasses.fields(install.Artifact)} == {"name", "bytes", "sha256"}
