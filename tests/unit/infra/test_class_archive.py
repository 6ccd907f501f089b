from __future__ import annotations

import gzip
import os
import subprocess
from pathlib import Path

import pytest

from infra.local import class_archive
from infra.local.class_archive import CLASS_LIST_FILE, ClassArchiveError, write_archive
from infra.local.environment import service_environment
from infra.local.layout import VENV, open_layout


def test_java_accepts_the_archive_for_spark_submit() -> None:
    environment = service_environment(open_layout(), os.environ)
    assert "-XX:SharedArchiveFile=" in environment["SPARK_SUBMIT_OPTS"], "the set-up has written no archive"
    environment["SPARK_SUBMIT_OPTS"] += " -Xshare:on"  # an archive that does not fit ends Java
    done = subprocess.run(["spark-submit", "--version"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_class_list_names_the_jobs_classes_and_no_file_of_a_machine() -> None:
    lines = gzip.decompress(CLASS_LIST_FILE.read_bytes()).decode().splitlines()
    assert {"org/apache/iceberg/aws/glue/GlueCatalog", "org/apache/spark/ml/clustering/KMeans"} <= set(lines)
    assert not [line for line in lines if ".jar" in line or line.startswith("/")]


def test_a_java_that_writes_no_archive_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_archive, "ARCHIVE", tmp_path / "spark" / "classes.jsa")
    monkeypatch.setattr(class_archive, "SPARK_CONF", tmp_path / "spark" / "conf")
    java = tmp_path / "java" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text("#!/bin/sh\necho 'Unrecognized option: -Xshare:dump' >&2; exit 1\n")
    java.chmod(0o755)
    with pytest.raises(ClassArchiveError, match=r"(?s)wrote no archive of Spark's classes.*Unrecognized option"):
        write_archive(VENV / "bin" / "spark-submit", java.parent.parent)
    assert not list((tmp_path / "spark").glob("*.jsa"))
