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
from dashboard.lake import EmptyLakeError
from dashboard.page import describe, find_failed_runs, link_run, page, show_rows
from dashboard.reconciliation import find_faults, say, say_each

PARTS = {"clean": "clean", "duplicates": "duplicates", "quarantined": "quarantined"}


def show_runs(runs: pd.DataFrame, failed: pd.DataFrame) -> None:
    """The newest first, with links into Airflow where its address is known."""
    newest = pd.concat([runs, failed.rename(columns={"failed_at": "recorded_at"})])
    newest = newest.sort_values(["event_date", "recorded_at"], ascending=False)
    seconds = [
        sum((json.loads(text) or {}).values()) if isinstance(text, str) else None for text in newest["job_seconds"]
    ]
    table = pd.DataFrame(
        {
            "date": newest["event_date"],
            "run": [link_run(run) or run for run in newest["run_id"]],
            "failed in": newest["failed_tasks"].fillna(""),
            "Spark jobs (s)": seconds,
            "recorded (UTC)": newest["recorded_at"],
            "by hand": [say(text) if isinstance(text, str) else "" for text in newest["remarks"]],
        }
    )
    show_rows(table, config={"run": st.column_config.LinkColumn(display_text=r"runs/(.*)")} if link_run("") else None)


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
    show_rows(wording.label(runs[counts]))
    st.caption("Records of each date; too late: older than a run takes, of dates before.")


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
    show_rows(wording.label(quarantined.merge(examples, on="error_type", how="left")))
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
    quiet = len(runs) - len({result["date"] for result in results})
    st.caption(
        f"{quiet:,} of {len(runs):,} recorded runs have neither a warning nor a check that was forced. A check that "
        "fails stops its run, which stands at the top of this page until a run of its date succeeds."
    )
    if results:
        show_rows(pd.DataFrame(results))


with page("Did every record arrive, and what was wrong with those that were refused?"):
    failed = find_failed_runs()
    for failure in describe(failed):
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
    show_runs(runs, failed)
    st.caption("Failed runs: from the first of the dates on, until a run of their date succeeds.")
