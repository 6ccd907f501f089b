"""Data quality: what became of every record, what was refused and why, and how the runs went."""

from __future__ import annotations

import datetime as dt
import json

import pandas as pd  # type: ignore[import-untyped]
import streamlit as st

from dashboard import questions, wording
from dashboard.answers import ask
from dashboard.charts import draw_stack, show
from dashboard.filters import ask_days, chosen_filters
from dashboard.lake import EmptyLakeError, open_lake
from dashboard.page import describe_failed_runs, page
from dashboard.reconciliation import find_faults, say, say_each

DAG_ID = "clickstream_pipeline"
PARTS = {"clean": "clean", "duplicates": "duplicates", "quarantined": "quarantined"}


def show_runs(runs: pd.DataFrame, airflow_url: str | None) -> None:
    """The newest first, with links into Airflow where its address is known."""
    newest = runs.sort_values("event_date", ascending=False)
    seconds = [
        sum((json.loads(text) or {}).values()) if isinstance(text, str) else None for text in newest["job_seconds"]
    ]
    table = pd.DataFrame(
        {
            "date": newest["event_date"],
            "run": [f"{airflow_url}/dags/{DAG_ID}/runs/{run}" if airflow_url else run for run in newest["run_id"]],
            "Spark jobs (s)": seconds,
            "recorded (UTC)": newest["recorded_at"],
            "by hand": [say(text) if isinstance(text, str) else "" for text in newest["remarks"]],
        }
    )
    link = st.column_config.LinkColumn(display_text=r"runs/(.*)")
    st.dataframe(table, hide_index=True, column_config={"run": link} if airflow_url else None)


def show_counts(runs: pd.DataFrame) -> None:
    """What became of the records of each date, and whether it adds up."""
    if faults := find_faults(runs):
        st.error("\n".join(f"- {fault}" for fault in faults), icon=":material/warning:")
    else:
        st.success(
            "Nothing that was produced is missing; landed = clean + quarantined + duplicates.",
            icon=":material/check_circle:",
        )
    show(draw_stack(runs, "event_date", PARTS, "Landed records by date"), "What became of the records", key="records")
    counts = ["event_date", "produced", "requeued", "landed", "clean", "quarantined", "duplicates", "too_late"]
    st.dataframe(runs[counts], hide_index=True)


def show_quarantine(landed: pd.DataFrame, dates: list[dt.date]) -> None:
    """Reasons, with the first examples of each on one of the `dates` that have any; the first is chosen first."""
    st.subheader("Quarantine", anchor=False)
    by_reason = landed.dropna(subset="error_type").groupby("error_type", as_index=False)
    counts = by_reason.agg(records=("records", "sum"), dates=("event_date", "nunique"))
    quarantined = counts.sort_values(["records", "error_type"], ascending=[False, True])
    if quarantined.empty:
        st.info("Nothing was quarantined on these dates.")
        return
    date = st.selectbox("Examples of", dates, key="examples_of", bind="query-params") if dates else None
    examples = ask(questions.quarantine_examples(date)) if date else pd.DataFrame(columns=["error_type"])
    st.dataframe(quarantined.merge(examples, on="error_type", how="left"), hide_index=True)
    st.caption("`make requeue WHERE=\"error_type = '...'\" DRY_RUN=1` shows which of them would be published again.")


def show_late_events(landed: pd.DataFrame, count: int) -> None:
    """Records that Kafka took in after the date of their event, of `count` in all."""
    st.subheader("Late events", anchor=False)
    late = landed[landed["days_late"] > 0]
    if late.empty:
        st.info("Kafka took in every record on the date of its event.")
        return
    by_date = late.groupby("event_date", as_index=False)["records"].sum()
    title = "Records that came after their date"
    show(draw_stack(by_date, "event_date", {"records": "late"}, title), "Late records by date", key="late")
    total = int(late["records"].sum())
    st.caption(
        f"{total:,} records, {wording.percent(total / count if count else None)} of those that landed, came "
        f"{late['days_late'].min()} to {late['days_late'].max()} days late."
    )


def show_checks(runs: pd.DataFrame) -> None:
    """What the checks of the recorded runs found."""
    st.subheader("Checks", anchor=False)
    results = [
        {"date": run["event_date"], "result": result, "check": said}
        for run in runs.sort_values("event_date", ascending=False).to_dict("records")
        for column, result in {"warnings": "warned", "forced": "failed, and was forced"}.items()
        if isinstance(run[column], str)
        for said in say_each(run[column])
    ]
    passed = len(runs) - len({result["date"] for result in results})
    st.caption(
        f"{passed:,} of {len(runs):,} runs passed every check. A run has made all its checks when it is recorded; one "
        "that fails stops it, and stands at the top of this page until a run of its date succeeds."
    )
    if results:
        st.dataframe(pd.DataFrame(results), hide_index=True)


with page("Did every record arrive, and what was wrong with those that were refused?"):
    for failure in describe_failed_runs():
        st.error(failure, icon=":material/warning:")
    filters = chosen_filters()
    dates, default = filters.dates, filters.default
    runs = ask_days(questions.runs, "event_date", dates, default)
    if runs.empty:
        raise EmptyLakeError(f"No run was recorded from {dates.first} to {dates.last}.", "Choose other dates.")
    show_counts(runs)
    landed = ask_days(questions.landed_records, "event_date", dates, default)
    show_quarantine(landed, questions.refused_dates(runs))
    show_late_events(landed, int(runs["landed"].sum()))
    show_checks(runs)
    st.subheader("Runs", anchor=False)
    show_runs(runs, open_lake().settings.environment.airflow_url)
