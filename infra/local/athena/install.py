"""Puts Trino below `.local/trino`: core, Hive and Iceberg connectors, without what no query here reaches.

Standard library only: the set-up calls it.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import shutil
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ARTIFACTS_FILE = Path(__file__).parent / "artifacts.json"
IVY_FILE = Path(__file__).parent / "ivy.xml"
IVY_SETTINGS_FILE = Path(__file__).parent / "ivysettings.xml"
CONNECTORS = ("hive", "iceberg")
BAR_WIDTH = 30
MB = 1_000_000


class BrokenArtifactError(Exception):
    """What was fetched is not what was asked for; the message names the file and both checksums."""


@dataclass(frozen=True)
class Artifact:
    name: str
    bytes: int
    sha256: str


def artifacts() -> tuple[Artifact, ...]:
    return tuple(Artifact(**artifact) for artifact in _read()["artifacts"])


def unneeded_jars() -> tuple[str, ...]:
    """Patterns of file names."""
    return tuple(_read()["unneeded_jars"])


def install_trino(home: Path, cache: Path, fetch: Callable[[Path], None]) -> None:
    """Make `home` hold `lib` and `plugin`. `fetch` puts the artifacts into `<cache>/trino`; what is whole there stays
    for the next attempt, what is broken is fetched again. The archives go when `home` is complete.
    """
    with _progress(cache, sum(artifact.bytes for artifact in artifacts())):
        fetch_verified(cache, fetch)
    new = home.with_name(f"{home.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    unpack(cache / "trino", new)
    shutil.rmtree(home, ignore_errors=True)
    new.rename(home)
    shutil.rmtree(cache)


def fetch_verified(cache: Path, fetch: Callable[[Path], None], attempts: int = 2) -> None:
    """Raises BrokenArtifactError when an artifact is still broken after the last attempt."""
    for left in reversed(range(attempts)):
        fetch(cache)
        broken = [fault for artifact in artifacts() if (fault := _fault(cache / "trino", artifact))]
        if not broken:
            return
        if left == 0:
            raise BrokenArtifactError("\n".join(broken))
        shutil.rmtree(cache)


def unpack(folder: Path, home: Path) -> None:
    """`lib` of the core and the connectors; a jar that several of them carry is one file on disk."""
    whole = home / "unpacked"
    whole.mkdir(parents=True)
    for artifact in artifacts():
        _extract(folder / artifact.name, whole)
    next(whole.glob("trino-server-core-*")).joinpath("lib").rename(home / "lib")
    (home / "plugin").mkdir()
    for connector in CONNECTORS:
        next(whole.glob(f"trino-{connector}-*")).rename(home / "plugin" / connector)
    shutil.rmtree(whole)
    for jar in (home / "plugin").glob("*/*.jar"):
        if any(fnmatch.fnmatch(jar.name, pattern) for pattern in unneeded_jars()):
            jar.unlink()
    link_duplicates(home)


def link_duplicates(home: Path) -> None:
    """Jars of one name and one content become hard links."""
    first: dict[tuple[str, bytes], Path] = {}
    for jar in sorted(home.rglob("*.jar")):
        known = first.setdefault((jar.name, _digest(jar).digest()), jar)
        if known is not jar and not known.samefile(jar):
            jar.unlink()
            os.link(known, jar)


def bar(done: int, total: int) -> str:
    """`[#####...] 123 of 799 MB`."""
    filled = BAR_WIDTH * min(done, total) // total
    return f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {min(done, total) // MB} of {total // MB} MB"


@contextmanager
def _progress(folder: Path, total: int) -> Iterator[None]:
    """On a terminal, show how much has arrived below `folder`."""
    if not sys.stdout.isatty():
        yield
        return
    finished = threading.Event()

    def show() -> None:
        while not finished.wait(0.5):
            sizes = [file.stat().st_size for file in folder.glob("io.trino/*/*/*") if file.exists()]
            text = bar(sum(sizes), total)
            print(text, end="\b" * len(text), flush=True)
        blank = len(bar(total, total))
        print(" " * blank, end="\b" * blank, flush=True)

    shower = threading.Thread(target=show, daemon=True)
    shower.start()
    try:
        yield
    finally:
        finished.set()
        shower.join()


def _fault(folder: Path, artifact: Artifact) -> str | None:
    file = folder / artifact.name
    if not file.exists():
        return f"{artifact.name} did not arrive"
    found = _digest(file).hexdigest()
    if found == artifact.sha256:
        return None
    return (
        f"{artifact.name} is not the file that was asked for: its sha256 is {found}, {ARTIFACTS_FILE.name} says "
        f"{artifact.sha256}. It is deleted and fetched again by the next `make setup`"
    )


def _extract(archive: Path, folder: Path) -> None:
    """An archive whose checksum is known: no member of it needs to be mistrusted."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(folder)  # noqa: S202
        return
    with tarfile.open(archive) as opened_tar:
        opened_tar.extractall(folder)  # noqa: S202


def _digest(file: Path) -> hashlib._Hash:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256")


def _read() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(ARTIFACTS_FILE.read_text(encoding="utf-8"))
    return content
