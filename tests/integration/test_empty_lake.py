"""What can be asked before any run: the first of the stories, for the others fill the lake."""

from __future__ import annotations

from pathlib import Path

from infra.local.airflow_runs import AirflowApi
from tests.integration.test_backfill import COMMAND, DATES, everything, preview_of, run
from tests.running_stack import RunningStack


def test_a_dry_run_on_an_empty_lake_says_that_everything_is_to_be_made_and_makes_nothing(
    stack: RunningStack, tmp_path: Path
) -> None:
    AirflowApi(stack.layout).wait_for_dag()
    before = everything(stack)
    dry_run = run(stack, tmp_path, *COMMAND, "DRY_RUN=1")
    assert dry_run.code == 0, dry_run
    for date in DATES:
        assert preview_of(dry_run, date)[:4] == ["0", "0", "0", "never"]
    assert "generates 1,500 events" in dry_run.out
    assert "no run is recorded yet that would tell how long it takes" in dry_run.out
    assert everything(stack) == before
