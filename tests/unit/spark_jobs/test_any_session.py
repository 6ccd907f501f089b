"""No job reaches into a JVM: there is none in the process of a Spark Connect client."""

from __future__ import annotations

import re

from config.loader import PROJECT_ROOT

# What a classic session hands out of its JVM, and the bridge to it.
JVM = re.compile(r"\._j\w+|\bpy4j\b|\bsparkContext\b")


def test_no_job_touches_the_jvm() -> None:
    files = sorted((PROJECT_ROOT / "spark_jobs").rglob("*.py"))
    assert PROJECT_ROOT / "spark_jobs" / "lake" / "lakehouse.py" in files
    touching = {file.name: found for file in files if (found := JVM.findall(file.read_text(encoding="utf-8")))}
    assert touching == {}


def test_what_touches_the_jvm_is_seen() -> None:
    assert JVM.findall("spark._jvm.org") == ["._jvm"]
    assert JVM.findall("frame._jdf, spark._jsparkSession") == ["._jdf", "._jsparkSession"]
    assert JVM.findall("from py4j.protocol import Py4JJavaError") == ["py4j"]
    assert JVM.findall("spark.sparkContext.setLogLevel") == ["sparkContext"]
    assert JVM.findall("_join(found) of a_jvm") == []
