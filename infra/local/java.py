"""Finds the Java that Spark and Kafka run on. Standard library only: the set-up needs it before all else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

SUPPORTED_MAJORS = (17, 21)
HOW_TO_GET_JAVA = (
    "install OpenJDK 17 or 21 (Debian/Ubuntu: apt install openjdk-17-jre-headless) or set JAVA_HOME to one"
)


class JavaMissingError(Exception):
    """No supported Java; the message says what was found and how to get one."""


def find_java_home() -> Path:
    """Home of a supported Java: JAVA_HOME when it is one, else the `java` on PATH."""
    seen: list[str] = []
    for origin, executable in _candidates():
        major = major_version(_version_text(executable))
        if major in SUPPORTED_MAJORS:
            return executable.resolve().parent.parent
        seen.append(f"{origin} is Java {major}" if major else f"{origin} ({executable}) does not run")
    found = "; ".join(seen) or "neither JAVA_HOME nor PATH has one"
    raise JavaMissingError(f"Java 17 or 21 is missing: {found}; {HOW_TO_GET_JAVA}")


def major_version(version_text: str) -> int | None:
    """Major version in the output of `java -version`; 8 and older call themselves 1.8."""
    match = re.search(r'version "(?:1\.)?(\d+)', version_text)
    return int(match.group(1)) if match else None


def _candidates() -> list[tuple[str, Path]]:
    candidates: list[tuple[str, Path]] = []
    if home := os.environ.get("JAVA_HOME"):
        candidates.append((f"JAVA_HOME={home}", Path(home) / "bin" / "java"))
    if on_path := shutil.which("java"):
        candidates.append(("java on PATH", Path(on_path)))
    return candidates


def _version_text(executable: Path) -> str:
    try:
        run = subprocess.run([str(executable), "-version"], capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return ""
    return run.stderr + run.stdout
