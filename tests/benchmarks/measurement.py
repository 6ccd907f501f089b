"""What one command costs: wall seconds, processor seconds, peak memory."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from config.loader import PROJECT_ROOT
from infra.local.service import tail

KIB_PER_MB = 1024


class StageError(Exception):
    """A measured command failed; the message holds the end of what it said."""


@dataclass(frozen=True)
class Measurement:
    """`peak_mb` is the largest process of the command's tree, in MiB of resident memory."""

    stage: str
    seconds: float
    cpu_seconds: float
    peak_mb: float
    output: str = ""


def measure(stage: str, command: Sequence[str], environment: Mapping[str, str], logs: Path) -> Measurement:
    """Run `command` in the project's folder and wait for it. Raises StageError where it fails.

    The kernel's own account (wait4) covers the process and every child that it waited for, and misses no peak between
    two samples. spark-submit's shell scripts `exec`, so that the process is the driver's JVM and its child is Python.
    """
    log = logs / f"{stage.replace(' ', '-')}.log"
    with log.open("w") as errors, log.with_suffix(".out").open("w+") as output:
        started = time.monotonic()
        process = subprocess.Popen(
            command, env=dict(environment), cwd=PROJECT_ROOT, stdout=output, stderr=errors, start_new_session=True
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:  # Ctrl-C: a JVM and its Python must not outlive the benchmark
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        said = output.read()
    if process.returncode != 0:
        raise StageError(f"{stage} ended with {process.returncode}\n{said}\n{tail(log)}")
    return Measurement(stage, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / KIB_PER_MB, said)


def add_up(stage: str, parts: Sequence[Measurement]) -> Measurement:
    """Commands that ran one after the other, as one."""
    return Measurement(
        stage,
        sum(part.seconds for part in parts),
        sum(part.cpu_seconds for part in parts),
        max(part.peak_mb for part in parts),
    )
