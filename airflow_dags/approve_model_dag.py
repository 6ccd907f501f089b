"""
### Approve a model

One run = one model that waits for a person: who answers `Approve` makes it champion, who answers `Reject` rules it out.

**Schedule** none; the daily run triggers it once for each model that it leaves waiting (its parameter `needs_approval`;
default: `training.needs_approval` in `config/pipeline.yaml`), with the parameter `model_id`. The question stands in
Airflow under Required Actions.
**Inputs** the model's row of `model_runs` and its saved pipeline.
**Outputs** the decision in that row and in the model's `model.json`. An approved model scores the first date that has
no segments yet and those after it; `user_segmentation_ml --approve MODEL --start-date DATE` names another date.

**A rerun is safe.** What is decided already stays as it is; a model that was compared with a champion of before is
refused with the remedy.

**When it fails** nobody has answered for a week: the model still waits, and clearing the task `ask` asks again. Where
`approve` or `reject` is red, its log says why; mend that and clear it: the answer is kept.
"""

from __future__ import annotations

import datetime as dt

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, Param, TriggerRule

import config
from airflow_dags.spark_job import DEFAULT_ARGUMENTS, spark_task

PATHS = config.load().paths
TRACKING_URI = config.load().environment.mlflow_tracking_uri
TRACKED = (
    f"its run in MLflow, `{TRACKING_URI}`"
    if TRACKING_URI
    else "no MLflow: mlflow_tracking_uri of the environment is null"
)
QUESTION = f"""\
A model was trained and waits for a person.

- why it was trained, the scores of every k, its segments, what it gains over the champion:
  `SELECT * FROM {PATHS.database}.{PATHS.tables.model_runs} WHERE model_id = '{{{{ params.model_id }}}}'`
- {TRACKED}
- the segments of today: `make segments`

**Approve**: it scores the first date without segments and those after it. **Reject**: the champion goes on.
"""

with DAG(
    dag_id="approve_model",
    description="Ask a person whether a model becomes champion",
    doc_md=__doc__,
    schedule=None,
    is_paused_upon_creation=False,  # the daily run triggers it: nobody would see the question of a paused one
    start_date=dt.datetime(2019, 1, 1, tzinfo=dt.UTC),
    default_args=DEFAULT_ARGUMENTS,
    tags=["keeping"],
    params={"model_id": Param(type="string", minLength=1, description="as in model_runs")},
) as dag:
    ask = ApprovalOperator(
        task_id="ask",
        subject="Does {{ params.model_id }} become champion?",
        body=QUESTION,
        response_timeout=dt.timedelta(days=7),  # without a default answer: the task fails, and nothing is decided
        retries=0,  # each would ask for another week
    )
    approve = spark_task("user_segmentation_ml", ["--approve={{ params.model_id }}"], task_id="approve")
    # When the answer is Reject, `ask` skips what follows it directly, whatever its trigger rule: this follows approve.
    reject = spark_task("user_segmentation_ml", ["--reject={{ params.model_id }}"], task_id="reject")
    reject.trigger_rule = TriggerRule.ALL_SKIPPED
    # Where there is no answer, or approve fails, reject is merely skipped: the run fails by its last task.
    settled = EmptyOperator(task_id="settled", trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS)

    ask >> approve >> reject
    [approve, reject] >> settled
