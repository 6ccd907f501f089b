"""Installs everything below `.local/`, and Chromium where it may: `python3.11 -m infra.local.setup`.

Each step keeps a stamp, the hash of what it was made from, so that a second run does nothing. Versions and hashes
stand in the lock files and in `ivy.xml`; indexes, proxies and certificates are those of the machine. Standard library
only.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from infra.local.athena.install import (
    ARTIFACTS_FILE,
    IVY_SETTINGS_FILE,
    BrokenArtifactError,
    install_trino,
)
from infra.local.athena.install import IVY_FILE as TRINO_IVY_FILE
from infra.local.class_archive import ARCHIVE, CLASS_LIST_FILE, ClassArchiveError, write_archive
from infra.local.java import JavaMissingError, find_java_home

ROOT = Path(__file__).resolve().parent.parent.parent
TOOLS = ROOT / ".local"
IVY_FILE = ROOT / "infra" / "local" / "ivy.xml"
UV = TOOLS / "uv-venv" / "bin" / "uv"
PYTHON = (3, 11)
ATTEMPTS = 3
BROWSER, BROWSER_FONTS = "chromium", "fonts-dejavu-core"  # what Debian calls them


class SetupError(Exception):
    """Something is missing or a download failed; the message says what to do."""


@dataclass(frozen=True)
class Step:
    """`result` is what must exist besides a stamp that matches `sources`."""

    name: str
    sources: tuple[Path, ...]
    result: Path
    run: Callable[[], None]

    @property
    def stamp(self) -> Path:
        return TOOLS / "stamps" / self.name.replace(" ", "-")

    @property
    def digest(self) -> str:
        """Of the sources and of the place: the folders hold absolute paths and do not survive a move."""
        contents = [source.read_bytes() for source in self.sources]
        return hashlib.sha256(b"".join([*contents, str(ROOT).encode()])).hexdigest()

    def is_done(self) -> bool:
        return self.result.exists() and self.stamp.exists() and self.stamp.read_text() == self.digest


def main() -> int:
    try:
        check_prerequisites()
        for step in steps():
            if not step.is_done():
                run_step(step)
        install_browser()
    except (SetupError, JavaMissingError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def steps() -> tuple[Step, ...]:
    python = Path("bin") / "python"
    main_venv, s3_venv, jars = TOOLS / "venv", TOOLS / "ministack-venv", TOOLS / "jars"
    setup_lock, dev_lock = ROOT / "requirements-setup.lock", ROOT / "requirements-dev.lock"
    s3_lock, trino_lock = ROOT / "requirements-ministack.lock", ROOT / "requirements-trino.lock"
    trino_venv, trino = TOOLS / "trino-venv", TOOLS / "trino"
    java_home = find_java_home()
    class_path_sources = (CLASS_LIST_FILE, dev_lock, IVY_FILE, java_home / "release")
    return (
        Step("installer", (setup_lock,), UV, lambda: install_uv(setup_lock)),
        Step("python packages", (dev_lock,), main_venv / python, lambda: install(main_venv, dev_lock)),
        Step("s3 and glue", (s3_lock,), s3_venv / python, lambda: install(s3_venv, s3_lock)),
        Step("jars", (IVY_FILE,), jars / "kafka", lambda: fetch_jars(main_venv)),
        Step("java of trino", (trino_lock,), trino_venv / python, lambda: install(trino_venv, trino_lock)),
        Step("trino", (ARTIFACTS_FILE,), trino / "lib", lambda: fetch_trino(main_venv, trino)),
        Step("class archive", class_path_sources, ARCHIVE, lambda: archive_classes(main_venv, java_home)),
    )


def run_step(step: Step) -> None:
    print(f"setup: {step.name:<16}", end=" ", flush=True)
    start = time.monotonic()
    step.stamp.unlink(missing_ok=True)
    step.run()
    step.stamp.parent.mkdir(parents=True, exist_ok=True)
    step.stamp.write_text(step.digest)
    print(f"{time.monotonic() - start:6.1f} s", flush=True)


def check_prerequisites() -> None:
    found = sys.version_info[:2]
    if found != PYTHON:
        raise SetupError(
            f"Python 3.11 is needed, this is {found[0]}.{found[1]} ({sys.executable}): "
            "install python3.11 or name it: make PYTHON=/path/to/python3.11 setup"
        )
    if importlib.util.find_spec("ensurepip") is None:
        raise SetupError("Python's ensurepip is missing: install it (Debian/Ubuntu: apt install python3.11-venv)")
    find_java_home()
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        raise SetupError("setpriv is missing, without which root cannot start PostgreSQL: install util-linux")
    TOOLS.mkdir(exist_ok=True)
    if not os.access(TOOLS, os.W_OK):
        raise SetupError(f"{TOOLS} belongs to another user: give it to yourself or delete it")


def install_uv(lock: Path) -> None:
    """The one thing that pip installs: uv is some ten times faster for the rest."""
    folder = UV.parent.parent
    venv.create(folder, with_pip=True, clear=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, "--require-hashes", "-r", str(lock)], os.environ)


def install(folder: Path, lock: Path) -> None:
    """Make the environment hold exactly what the lock file lists, and see the project's packages."""
    python = folder / "bin" / "python"
    if not _runs(python):
        venv.create(folder, with_pip=False, clear=True)
    # Compiled once: where PYTHONDONTWRITEBYTECODE is set, every process, each Airflow task too, would compile it all.
    command = [str(UV), "pip", "sync", "--quiet", "--require-hashes", "--compile-bytecode", "--python", str(python)]
    run([*command, str(lock)], _uv_environment())
    site_packages = folder / "lib" / f"python{PYTHON[0]}.{PYTHON[1]}" / "site-packages"
    (site_packages / "lakehouse.pth").write_text(f"{ROOT}\n")


def fetch_jars(main_venv: Path) -> None:
    """Ivy's cache stays, so that a change of one version fetches one jar."""
    command = [*_ivy(main_venv, IVY_FILE), "-cache", str(TOOLS / "ivy-cache")]
    command += ["-confs", "spark", "kafka", "-types", "jar", "bundle"]
    # Relative to the working folder: a bracket in the project's path would be read as part of the pattern.
    command += ["-sync", "-retrieve", "jars/[conf]/[artifact]-[revision](-[classifier]).[ext]"]
    run(command, os.environ, attempts=ATTEMPTS)


def archive_classes(main_venv: Path, java_home: Path) -> None:
    try:
        write_archive(main_venv / "bin" / "spark-submit", java_home)
    except ClassArchiveError as error:
        raise SetupError(str(error)) from error


def fetch_trino(main_venv: Path, home: Path) -> None:
    """Its archives, 800 MB, go through a cache of their own, which goes when they are unpacked."""

    def fetch(cache: Path) -> None:
        command = [*_ivy(main_venv, TRINO_IVY_FILE, IVY_SETTINGS_FILE), "-cache", str(cache), "-confs", "trino"]
        command += ["-types", "tar.gz", "zip"]
        command += ["-retrieve", f"{cache.name}/trino/[artifact]-[revision].[ext]"]
        run(command, os.environ, attempts=ATTEMPTS)

    try:
        install_trino(home, TOOLS / "trino-cache", fetch)
    except BrokenArtifactError as error:
        raise SetupError(str(error)) from error


def install_browser() -> None:
    """Debian's Chromium, for the tests of the dashboard, where root may install it; without it they are skipped."""
    if shutil.which(BROWSER):
        return
    print(f"setup: {BROWSER:<16}", end=" ", flush=True)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print("is missing: the browser tests of the dashboard are skipped (Debian/Ubuntu: apt-get install chromium)")
        return
    start = time.monotonic()
    options = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        run(["apt-get", "update", "-qq"], options, attempts=ATTEMPTS)
        run(
            ["apt-get", "install", "-qq", "--no-install-recommends", BROWSER, BROWSER_FONTS], options, attempts=ATTEMPTS
        )
    except SetupError as error:
        print(f"could not be installed, the browser tests of the dashboard are skipped: {error}")
        return
    print(f"{time.monotonic() - start:6.1f} s", flush=True)


def _ivy(main_venv: Path, file: Path, settings: Path | None = None) -> list[str]:
    """The Ivy that PySpark carries; the machine's own settings come first."""
    ivy = next((main_venv / "lib").glob("python*/site-packages/pyspark/jars/ivy-*.jar"))
    chosen = os.environ.get("IVY_SETTINGS") or (str(settings) if settings else None)
    java = [str(find_java_home() / "bin" / "java"), *proxy_properties(os.environ.get("HTTPS_PROXY", ""))]
    options = ["-settings", chosen] if chosen else []
    return [*java, "-cp", str(ivy), "org.apache.ivy.Main", *options, "-ivy", str(file)]


def proxy_properties(proxy: str) -> list[str]:
    """Java does not read HTTPS_PROXY."""
    address = urlsplit(proxy)
    if not address.hostname:
        return []
    return [f"-Dhttps.proxyHost={address.hostname}", f"-Dhttps.proxyPort={address.port or 443}"]


def run(command: Sequence[str], environment: Mapping[str, str], attempts: int = 1) -> None:
    """Run quietly; the end of the output is part of the error. Downloads deserve a second attempt."""
    for left in reversed(range(attempts)):
        done = subprocess.run(
            command,
            env=dict(environment),
            cwd=TOOLS,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            return
        if left == 0:
            output = "\n".join(done.stdout.splitlines()[-25:])
            raise SetupError(f"failed\n{output}\nfailed: {' '.join(command[:6])} ...")


def _uv_environment() -> dict[str, str]:
    """uv has names of its own for what pip may have been told about the machine's index and certificates."""
    told = {"UV_DEFAULT_INDEX": os.environ.get("PIP_INDEX_URL"), "SSL_CERT_FILE": os.environ.get("PIP_CERT")}
    return {**{name: value for name, value in told.items() if value}, **os.environ}


def _runs(python: Path) -> bool:
    """False as well for an environment whose Python has been removed or upgraded away."""
    probe = "import sys; sys.exit(sys.version_info[:2] != (3, 11))"
    try:
        return subprocess.run([str(python), "-c", probe], check=False, capture_output=True).returncode == 0
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
