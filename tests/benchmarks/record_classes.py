"""Record which classes the jobs load, for the archive that the set-up writes (infra/local/class_archive.py).

    python -m tests.benchmarks.record_classes

Worth a run after an upgrade of Spark, Iceberg or Java; a list that is out of date costs start-up time, nothing else.
"""

from __future__ import annotations

import gzip
import os
import sys
import tempfile
from pathlib import Path

from infra.local.class_archive import CLASS_LIST_FILE
from infra.local.environment import service_environment
from infra.local.stack import EXPECTED_ERRORS
from tests.benchmarks.measurement import StageError, measure
from tests.benchmarks.run import FIRST_DATE, date_commands, fresh_stack

EVENTS = 20_000


def record_classes(folder: Path) -> list[str]:
    """The lines of Java's class lists over all jobs, sorted; without those of other loaders than the JVM's own."""
    with fresh_stack() as layout:
        environment = service_environment(layout, os.environ)
        options = environment["SPARK_SUBMIT_OPTS"]
        for stage, command in date_commands(layout, FIRST_DATE, EVENTS).items():
            record = f"-Xshare:off -XX:DumpLoadedClassList={folder / stage}"
            measure(stage, command, environment | {"SPARK_SUBMIT_OPTS": f"{options} {record}"}, layout.logs)
            print(f"{stage} done", flush=True)
    lines = {line for file in folder.iterdir() for line in file.read_text().splitlines()}
    return sorted(line for line in lines if not line.startswith("#") and " source: " not in line)


def main() -> int:
    try:
        with tempfile.TemporaryDirectory() as folder:
            lines = record_classes(Path(folder))
    except (StageError, *EXPECTED_ERRORS) as error:
        print(error, file=sys.stderr)
        return 1
    CLASS_LIST_FILE.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0))
    print(f"{len(lines):,} lines in {CLASS_LIST_FILE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
