"""What a stage runs on is away, slow or full: it tries again, or says clearly what failed, and nothing is half done.

Afterwards the ordinary command makes every table equal to that of a lake that nobody disturbed. What `make test`
has time for goes over one date.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.aws_proxy import Fault
from tests.faults.conftest import SmallDisk
from tests.faults.lakes import LANDING, PRODUCER, SEGMENTATION, SLOWEST_STAGE_SECONDS, TRANSFORM, Lakes, Report, Turn
from tests.faults.test_kills import KILLS, describe
from tests.running_stack import Ended, wait_until

SOAK_KILLS = 50
OUTAGE_SECONDS = 60 if KILLS >= SOAK_KILLS else 8


# `make test` has time for one stage of each.
IN_SOAK = pytest.mark.skipif(
    KILLS < SOAK_KILLS, reason="one stage with a full disk is enough beside all tests: make soak"
)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(tmp_path / "disk")
    yield disk
    disk.unmount()


def assert_clear_failure(ended: Ended, *words: str) -> None:
    """Exit code 1, and a last line that names the thing and the remedy; no stack trace of ours."""
    told = [line for line in ended.last_words() if all(word in line for word in words)]
    assert ended.code == 1, ended
    assert told, ended
    assert "Traceback" not in ended.out + ended.err, ended


def end_turn(turn: Turn, report: Report, ended: Ended) -> None:
    report.ended = describe(ended)
    report.found = ", ".join(turn.published()) or "nothing published"
    report.rerun_seconds = round(turn.rerun_and_compare(), 1)


@pytest.mark.parametrize("stage", [PRODUCER, LANDING])
def test_a_broker_that_is_away_for_a_while_is_waited_for_or_named(lakes: Lakes, report: Report, stage: str) -> None:
    turn = lakes.next_turn(stage)
    broker = lakes.stack.pids()["kafka"]
    report.fault = f"no broker during {stage} of {turn.date}"
    running = turn.start()
    if stage == LANDING:
        # The branch for the rows is made; next come their reading and commit, then main moves.
        lakes.proxy.at_commit(turn.commits - 2, lambda: os.kill(broker, signal.SIGSTOP), is_done=True)
        wait_until(lambda: lakes.proxy.commits >= turn.commits - 2 or not running.is_running(), SLOWEST_STAGE_SECONDS)
        report.moment = f"{OUTAGE_SECONDS} s from commit {turn.commits - 2} of {turn.commits}"
    else:
        os.kill(broker, signal.SIGSTOP)
        report.moment = f"{OUTAGE_SECONDS} s from its start"
    time.sleep(OUTAGE_SECONDS)
    os.kill(broker, signal.SIGCONT)
    ended = running.end(timeout=SLOWEST_STAGE_SECONDS)
    if ended.code:
        assert_clear_failure(ended, "Kafka", lakes.disturbed.settings.environment.kafka.bootstrap_servers)
    wait_until(lambda: lakes.stack.is_ready("kafka"), SLOWEST_STAGE_SECONDS)
    end_turn(turn, report, ended)


@pytest.mark.parametrize("stage", [pytest.param(LANDING, marks=IN_SOAK), TRANSFORM])
def test_a_full_disk_of_s3_is_named_and_nothing_is_half_done(
    lakes: Lakes, report: Report, endpoint_disk: SmallDisk, stage: str
) -> None:
    if endpoint_disk.reason:
        pytest.skip(f"no file system of a size of ours: {endpoint_disk.reason}")
    turn = lakes.next_turn(stage)
    report.fault = f"disk of S3 full during {stage} of {turn.date}"
    report.moment = "from its start"
    endpoint_disk.fill()
    try:
        ended = turn.start().end(timeout=SLOWEST_STAGE_SECONDS)
    finally:
        endpoint_disk.make_room()
    lakes.stack.revive("aws")
    assert_clear_failure(ended, "S3 at ", "run it again")
    assert turn.published() == []
    end_turn(turn, report, ended)


@pytest.mark.parametrize("stage", [SEGMENTATION, pytest.param(TRANSFORM, marks=IN_SOAK)])
def test_a_full_disk_of_sparks_own_is_named_and_nothing_is_half_done(
    lakes: Lakes, report: Report, small_disk: SmallDisk, stage: str
) -> None:
    if small_disk.reason:
        pytest.skip(f"no file system of a size of ours: {small_disk.reason}")
    turn = lakes.next_turn(stage)
    report.fault = f"local disk full during {stage} of {turn.date}"
    report.moment = "from its start"
    small_disk.fill()
    ended = turn.start(SPARK_LOCAL_DIRS=str(small_disk.folder)).end(timeout=SLOWEST_STAGE_SECONDS)
    assert_clear_failure(ended, "the disk", "No space left on device", "SPARK_LOCAL_DIRS")
    assert turn.published() == []
    end_turn(turn, report, ended)


@pytest.mark.skipif(KILLS < SOAK_KILLS, reason="every request of a date's transform is slowed down: make soak")
def test_a_slow_s3_that_refuses_some_requests_is_asked_again(lakes: Lakes, report: Report) -> None:
    turn = lakes.next_turn(TRANSFORM)
    report.fault = f"S3 slow and refusing during {TRANSFORM} of {turn.date}"
    running = turn.start()
    lakes.proxy.fault = Fault(slow_down_share=0.02, delay_seconds=0.02)
    ended = running.end(timeout=SLOWEST_STAGE_SECONDS)
    report.moment = f"{lakes.proxy.refused} of {lakes.proxy.delayed} requests got 503, all 0.02 s later"
    assert ended.code == 0, ended.err[-3000:]
    assert lakes.proxy.refused > 0
    lakes.proxy.start_count()
    lakes.compare()
    end_turn(turn, report, ended)


@pytest.mark.skipif(KILLS < SOAK_KILLS, reason="Iceberg asks for ten minutes before it gives up: make soak")
def test_an_s3_that_refuses_everything_is_named_within_a_quarter_of_an_hour(lakes: Lakes, report: Report) -> None:
    turn = lakes.next_turn(SEGMENTATION)
    report.fault = f"S3 refuses everything during {SEGMENTATION} of {turn.date}"
    running = turn.start()
    lakes.proxy.fault = Fault(slow_down_share=1.0)
    ended = running.end(timeout=SLOWEST_STAGE_SECONDS)
    report.moment = f"{lakes.proxy.refused} requests got 503"
    assert_clear_failure(ended, "S3 at ", "503", "run it again")
    assert turn.published() == []
    end_turn(turn, report, ended)
