"""`kill -9` at any moment, then the ordinary command again: every table equals that of a lake that nobody disturbed.

All the time something else works on the same Kafka and S3. `FAULTS_KILLS` says how many kills: of a process of a stage,
or of a service that the stage needs, one for each stage of a date; and, from 16 on, dates that go through Airflow, with
a kill of each service that such a run needs.
"""

from __future__ import annotations

import datetime as dt
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle, islice

import pytest
import requests

from infra.local.airflow_runs import DAG_ID, FINISHED, AirflowApi, DateRange, RunError, explain_failure
from tests.faults.lakes import (
    EVENTS,
    LANDING,
    PRODUCER,
    PUBLISHED_BY,
    SEGMENTATION,
    SLOWEST_STAGE_SECONDS,
    TRANSFORM,
    Lakes,
    Report,
    Turn,
)
from tests.faults.load import put_under_load
from tests.running_stack import Ended, wait_until

KILLS = int(os.environ.get("FAULTS_KILLS", "4"))
KILLS_PER_RUN = 4
RUNS = KILLS // 16
RANDOM, COMMIT, PUBLICATION = "random time", "commit", "between publications"
# Stage, what is killed, when. The first four are what `make test` has time for.
ROUNDS = (
    (PRODUCER, PRODUCER, RANDOM),
    (LANDING, LANDING, PUBLICATION),
    (TRANSFORM, TRANSFORM, PUBLICATION),
    (SEGMENTATION, SEGMENTATION, PUBLICATION),
    (PRODUCER, "kafka", RANDOM),
    (LANDING, "kafka", RANDOM),
    (TRANSFORM, "aws", RANDOM),
    (SEGMENTATION, "aws", RANDOM),
    (PRODUCER, PRODUCER, RANDOM),
    (LANDING, LANDING, RANDOM),
    (TRANSFORM, TRANSFORM, RANDOM),
    (SEGMENTATION, SEGMENTATION, RANDOM),
    (PRODUCER, "aws", RANDOM),
    (LANDING, "aws", RANDOM),
    (TRANSFORM, TRANSFORM, COMMIT),
    (SEGMENTATION, SEGMENTATION, COMMIT),
)
# The DAG's task -> the stage that it is.
TASKS = {
    "publish_events.generator": PRODUCER,
    "land_raw_events": LANDING,
    "transform_clickstream": TRANSFORM,
    "user_segmentation_ml": SEGMENTATION,
}
NOT_STARTED = (None, "scheduled", "queued")
CLEARINGS = 2
CHOSEN = list(enumerate(islice(cycle(ROUNDS), KILLS - KILLS_PER_RUN * RUNS)))


@pytest.fixture(scope="module", autouse=True)
def _under_load(lakes: Lakes) -> Iterator[None]:
    with put_under_load(lakes.stack) as done:
        yield
    assert min(done.records, done.objects) > 0, done


@pytest.mark.parametrize(
    ("number", "stage", "victim", "moment"),
    [(number, *chosen) for number, chosen in CHOSEN],
    ids=[f"{number}-{victim}-during-{stage}-{moment}" for number, (stage, victim, moment) in CHOSEN],
)
def test_a_stage_run_again_after_kill_9_leaves_the_tables_of_an_undisturbed_lake(
    lakes: Lakes, report: Report, number: int, stage: str, victim: str, moment: str
) -> None:
    turn = lakes.next_turn(stage)
    randomness = random.Random(f"{lakes.seed} kill {number}")
    report.fault = f"kill -9 of {victim} during {stage} of {turn.date}"
    if victim == stage:
        ended = kill_stage(turn, moment, randomness, report)
    else:
        ended = kill_service(turn, victim, randomness, report)
    report.ended = describe(ended)
    report.found = ", ".join(turn.published()) or "nothing published"
    if moment == PUBLICATION and stage != LANDING:
        assert 0 < len(turn.published()) < len(PUBLISHED_BY[stage]), report
    report.rerun_seconds = round(turn.rerun_and_compare(), 1)


def kill_stage(turn: Turn, moment: str, randomness: random.Random, report: Report) -> Ended:
    """The stage's whole process group, at a random time or at one of its commits."""
    if moment == RANDOM:
        seconds = randomness.uniform(0, turn.seconds)
        report.moment = f"after {seconds:.1f} of about {turn.seconds:.1f} s"
        running = turn.start()
        time.sleep(seconds)
        return running.end(signal.SIGKILL)
    number, is_done = choose_commit(turn, moment, randomness)
    report.moment = f"{'after' if is_done else 'before'} commit {number} of {turn.commits}"
    return turn.kill_at_commit(number, is_done=is_done)


def choose_commit(turn: Turn, moment: str, randomness: random.Random) -> tuple[int, bool]:
    """Number of a commit, and whether it has taken place when the process is killed."""
    if moment == COMMIT:
        return randomness.randint(1, turn.commits), randomness.random() < 0.5
    if turn.stage == LANDING:
        # The last commit moves main to the end of the branch and drops that.
        return turn.commits, randomness.random() < 0.5
    # The last commits: one publication for each table, then the removal of each one's branch.
    tables = len(PUBLISHED_BY[turn.stage])
    return turn.commits - tables - randomness.randrange(tables - 1), False


def kill_service(turn: Turn, service: str, randomness: random.Random, report: Report) -> Ended:
    """A service of the stack at a random time of the stage, which survives that or not."""
    stack = turn.lakes.stack
    seconds = randomness.uniform(0, turn.seconds)
    report.moment = f"after {seconds:.1f} of about {turn.seconds:.1f} s"
    running = turn.start()
    time.sleep(seconds)
    stack.kill_and_wait(service)
    return running.end(timeout=SLOWEST_STAGE_SECONDS)


def describe(ended: Ended) -> str:
    if ended.code == -signal.SIGKILL:
        return "killed"
    last = (ended.last_words() or [""])[-1]
    return "survived" if ended.code == 0 else f"failed ({ended.code}): {last[:80]}"


@pytest.mark.skipif(RUNS == 0, reason="a date through Airflow, with four kills, takes ten minutes: make soak")
@pytest.mark.parametrize("number", range(max(1, RUNS)))
def test_a_run_of_the_dag_ends_well_though_its_services_are_killed(lakes: Lakes, report: Report, number: int) -> None:
    date, seconds = lakes.next_date()
    randomness = random.Random(f"{lakes.seed} run {number}")
    lakes.stack.start()
    api = AirflowApi(lakes.stack.layout)
    api.wait_for_dag()
    api.switch_on()
    api.wait_for_backfills()
    api.create_backfill(DateRange(date, date, {"event_source": "generator", "events": EVENTS}))
    victims = randomness.sample(["kafka", "aws", "airflow-scheduler", "airflow-api-server"], k=KILLS_PER_RUN)
    report.fault = f"kill -9 of {', '.join(victims)} during the DAG's run of {date}"
    moments = []
    for victim, (task, stage) in zip(victims, TASKS.items(), strict=True):
        answer(partial(has_started, api, date, task))
        moment = randomness.uniform(0, seconds[stage])
        time.sleep(moment)
        lakes.stack.kill_and_wait(victim)
        moments.append(f"{task.rpartition('.')[2]} + {moment:.1f} s")
    report.moment = ", ".join(moments)
    started = time.monotonic()
    for attempt in range(1, CLEARINGS + 2):
        answer(lambda: api.backfill_runs(date, date)[0].state in FINISHED)
        [run] = api.backfill_runs(date, date)
        if run.state == "success":
            break
        report.ended += f"{explain_failure(api, run, log_lines=1)[:120]}; cleared; "
        assert attempt <= CLEARINGS, explain_failure(api, run, log_lines=40)
        clearing = {"dry_run": False, "dag_run_id": run.run_id, "only_failed": True, "reset_dag_runs": True}
        api.request("POST", f"/dags/{DAG_ID}/clearTaskInstances", json=clearing)
    report.ended += "success"
    report.rerun_seconds = round(time.monotonic() - started, 1)
    lakes.compare()
    lakes.reconcile(has_events=True)


def has_started(api: AirflowApi, date: dt.date, task: str) -> bool:
    runs = api.backfill_runs(date, date)
    return bool(runs) and api.task_states(runs[0].run_id).get(task) not in NOT_STARTED


def answer(question: Callable[[], object]) -> None:
    """Wait for a true answer; Airflow may be away for a while."""

    def is_true() -> bool:
        try:
            return bool(question())
        except (RunError, requests.RequestException):
            return False

    wait_until(is_true, seconds=SLOWEST_STAGE_SECONDS)
