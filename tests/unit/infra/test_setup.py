from __future__ import annotations

import os
from pathlib import Path

import pytest

from infra.local import setup
from infra.local.java import JavaMissingError, find_java_home, major_version


@pytest.mark.parametrize(
    ("text", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "21" 2023-09-19', 21),
        ('java version "1.8.0_292"', 8),
        ('openjdk version "25-ea" 2025-09-16', 25),
        ('Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version "17.0.1"', 17),
        ("command not found", None),
    ],
)
def test_major_version_of_java(text: str, major: int | None) -> None:
    assert major_version(text) == major


def make_java(folder: Path, version: str) -> Path:
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    java.chmod(0o755)
    return folder


def test_java_home_comes_before_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, other = make_java(tmp_path / "home", "21.0.1"), make_java(tmp_path / "other", "17.0.1")
    monkeypatch.setenv("JAVA_HOME", str(home))
    monkeypatch.setenv("PATH", f"{other / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert find_java_home() == home


def test_unusable_java_home_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = make_java(tmp_path / "good", "17.0.1")
    monkeypatch.setenv("JAVA_HOME", str(make_java(tmp_path / "old", "1.8.0_292")))
    monkeypatch.setenv("PATH", f"{good / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert find_java_home() == good


def test_missing_java_says_what_was_found_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(make_java(tmp_path / "new", "25")))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(JavaMissingError, match=r"Java 17 or 21 is missing: JAVA_HOME=.* is Java 25; install OpenJDK"):
        find_java_home()


def test_step_is_done_until_its_source_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "TOOLS", tmp_path)
    lock, result = tmp_path / "lock", tmp_path / "result"
    lock.write_text("one")
    step = setup.Step("python packages", (lock,), result, result.touch)

    assert not step.is_done()
    setup.run_step(step)
    assert step.is_done()
    lock.write_text("two")
    assert not step.is_done()


def test_failed_step_is_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "TOOLS", tmp_path)
    (tmp_path / "lock").write_text("one")
    command = ["sh", "-c", "echo the reason; exit 3"]
    step = setup.Step("jars", (tmp_path / "lock",), tmp_path, lambda: setup.run(command, os.environ, attempts=2))

    with pytest.raises(setup.SetupError, match="the reason"):
        setup.run_step(step)
    assert not step.is_done()


def test_java_learns_of_the_proxy() -> None:
    assert setup.proxy_properties("http://proxy.example:3128") == [
        "-Dhttps.proxyHost=proxy.example",
        "-Dhttps.proxyPort=3128",
    ]
    assert setup.proxy_properties("") == []
