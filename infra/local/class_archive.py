"""A class data archive of Spark: its classes parsed and laid out once, so that a job's JVM starts seconds sooner.

Java uses an archive only where the class path is the one that it was written with, and no folder on it holds a file.
Spark puts `SPARK_CONF_DIR` on its class path: that folder is empty here, and settings travel in the environment.
Which classes the jobs load stands in `spark-classes.lst.gz`, recorded by `python -m tests.benchmarks.record_classes`;
a class that is missing from the list is loaded as ever. Standard library only: the set-up needs it before all else.
"""

from __future__ import annotations

import gzip
import os
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CLASS_LIST_FILE = ROOT / "infra" / "local" / "spark-classes.lst.gz"
SPARK_JARS = ROOT / ".local" / "jars" / "spark"
SPARK_CONF = ROOT / ".local" / "spark" / "conf"
ARCHIVE = ROOT / ".local" / "spark" / "classes.jsa"


class ClassArchiveError(Exception):
    """Java could not write the archive; the message holds the end of what it said."""


def class_path_variables(java_home: Path) -> dict[str, str]:
    """What decides the class path of `spark-submit`: the same for writing the archive and for using it."""
    return {
        "JAVA_HOME": str(java_home),
        "SPARK_CONF_DIR": str(SPARK_CONF),
        "SPARK_DIST_CLASSPATH": f"{SPARK_JARS}/*",
    }


def write_archive(spark_submit: Path, java_home: Path) -> None:
    """About a minute and 300 MB. Raises ClassArchiveError."""
    SPARK_CONF.mkdir(parents=True, exist_ok=True)
    ARCHIVE.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=ARCHIVE.parent) as folder:
        classes, archive = Path(folder) / "classes.lst", Path(folder) / ARCHIVE.name
        classes.write_bytes(gzip.decompress(CLASS_LIST_FILE.read_bytes()))
        options = f"-Xshare:dump -XX:SharedClassListFile='{classes}' -XX:SharedArchiveFile='{archive}' -Xlog:cds=off"
        python = str(spark_submit.with_name("python"))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SPARK_")}
        done = subprocess.run(
            [str(spark_submit), "--version"],
            env=kept | class_path_variables(java_home) | {"PYSPARK_PYTHON": python, "SPARK_SUBMIT_OPTS": options},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0 or not archive.exists():
            said = "\n".join(done.stdout.splitlines()[-25:])
            raise ClassArchiveError(f"{java_home} wrote no archive of Spark's classes\n{said}")
        archive.replace(ARCHIVE)
