"""Every page on real tables, run by Streamlit's AppTest; expected numbers are added up from `small_lake` by hand."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pytest
from streamlit.testing.v1 import AppTest

from config.catalog import open_catalog
from config.loader import CONFIG_DIR, PROJECT_ROOT
from dashboard.lake import open_lake
from dashboard.questions import segment_users
from dashboard.warm_up import warm_up
from infra.local.athena.query_command import open_athena, run_statement
from infra.local.dashboard import streamlit_command
from tests.altered_settings import write_altered
from tests.integration.dashboard.conftest import count_queries, forget
from tests.integration.dashboard.small_lake import AFTER, FIRST, LAST, LEAVING, LOYAL, MIDDLE, NEW, ODD_USER
from tests.running_stack import RunningStack, free_ports, inherited_variables, wait_until

FOLDER = PROJECT_ROOT / "dashboard" / "app_pages"
PAGES = sorted(file.stem for file in FOLDER.glob("*.py"))
LABELS = {LOYAL: "loyal buyers", LEAVING: "leaving <soon>", NEW: "new"}
SECONDS = 60

pytestmark = pytest.mark.usefixtures("pages")


def open_page(page: str, **url: str | list[str]) -> AppTest:
    """A page as who follows a link to it sees it."""
    test = AppTest.from_file(str(FOLDER.parent / "streamlit_app.py"), default_timeout=SECONDS)
    follow(test, url)
    if page != "overview":  # AppTest knows the other pages after a first run
        test.switch_page(f"app_pages/{page}.py")
        follow(test, url)
    return test


def follow(test: AppTest, url: Mapping[str, str | list[str]]) -> None:
    for name, value in url.items():
        test.query_params[name] = value
    test.run()


def metrics(test: AppTest) -> dict[str, tuple[str, str]]:
    """Label -> value and change."""
    return {metric.label: (metric.value, metric.delta) for metric in test.metric}


def tables(test: AppTest) -> list[list[dict[str, Any]]]:
    return [frame.value.to_dict("records") for frame in test.dataframe]


def messages(test: AppTest) -> str:
    assert not test.exception, test.exception
    return "\n".join(box.value for boxes in (test.error, test.info, test.success, test.warning) for box in boxes)


def assert_shown(test: AppTest) -> None:
    """A page without an error but those that its rows have on purpose."""
    assert not test.exception, test.exception
    assert "?" in test.caption[0].value  # what the page answers; its title is the entrypoint's
    on_purpose = ("did not land", "failed in transform_clickstream")
    assert [box.value for box in test.error if not any(words in box.value for words in on_purpose)] == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_itself_without_an_error(page: str) -> None:
    assert_shown(open_page(page))


@pytest.mark.parametrize(
    ("page", "charts"),
    [
        ("overview", {"users", "sessions", "events", "revenue", "conversion"}),
        ("segments", {"sizes", "scatter", "heat"}),
        ("movement", {"sankey", "matrix"}),
        ("funnel", {"funnel", "groups"}),
        ("user", {"journey"}),
        ("data_quality", {"records", "late"}),
    ],
)
def test_a_page_draws_its_charts(page: str, charts: set[str]) -> None:
    drawn = open_page(page, **({"user": "anna"} if page == "user" else {})).get("plotly_chart")
    assert {chart.proto.id.rpartition("-")[2] for chart in drawn} == charts


def test_the_overview_compares_the_last_date_with_the_same_weekday_before() -> None:
    assert metrics(open_page("overview")) == {
        "Users": ("4", "+33.3 %"),
        "Sessions": ("5", "+25.0 %"),
        "Events": ("17", "+21.4 %"),
        "Conversion": ("40.0 %", "+15.0 pp"),
        "Revenue (USD)": ("40.50", "+102.5 %"),
    }


def test_the_overview_says_of_when_its_data_are() -> None:
    test = open_page("overview")
    assert test.subheader[0].value == "Tuesday, 08 April 2025"
    assert re.match(r"The UTC date is [\d,]+ days old\. .* against Tuesday, 01 April\.$", test.caption[1].value)


def test_the_banner_names_what_does_not_add_up() -> None:
    said = messages(open_page("overview"))
    assert "2025-04-07: 1 of 50 produced records did not land" in said
    assert "2025-04-09: the run [scheduled__2025-04-09](http://" in said
    assert "/runs/scheduled__2025-04-09) failed in transform_clickstream" in said
    assert "first try" not in said  # the date's next run succeeded


def test_filters_of_a_shared_link_hold() -> None:
    mobile = metrics(open_page("overview", device="mobile"))
    assert mobile["Users"] == ("1", "-50.0 %")
    assert mobile["Sessions"] == ("2", "+0.0 %")
    leaving = metrics(open_page("overview", segment="leaving <soon>"))
    assert (leaving["Users"], leaving["Sessions"]) == (("2", "+100.0 %"), ("3", "+200.0 %"))
    first = open_page("overview", dates=["2025-04-01", "2025-04-01"])
    assert metrics(first)["Revenue (USD)"] == ("20.00", "")


def test_a_filter_that_leaves_nothing_says_so() -> None:
    assert "No session of the date passes the filters" in messages(open_page("overview", device="unknown"))


def test_the_funnel_counts_a_session_at_every_step_up_to_its_last() -> None:
    test = open_page("funnel", dates=["2025-04-08", "2025-04-08"])
    steps, by_segment = tables(test)
    names = ("step", "sessions", "of all with a view", "of the step before", "lost on the way")
    assert [steps[0][name] for name in names[:4]] == ["view", 4, "100.0 %", "-"]
    assert [tuple(row[name] for name in names) for row in steps[1:]] == [
        ("cart", 4, "100.0 %", "100.0 %", 0), ("checkout", 3, "75.0 %", "75.0 %", 1),
        ("purchase", 2, "50.0 %", "66.7 %", 1),
    ]  # fmt: skip
    assert metrics(test)["Cart abandonment"][0] == "50.0 %"
    columns = ("view", "cart", "checkout", "purchase", "cart to checkout", "cart abandonment")
    assert {row["segment"]: tuple(row[name] for name in columns) for row in by_segment} == {
        "new": (0, 0, 0, 0, "-", "-"),
        "loyal buyers": (1, 1, 1, 0, "100.0 %", "-"),
        "leaving <soon>": (3, 3, 2, 2, "66.7 %", "50.0 %"),
    }


def test_the_funnel_by_device_and_category() -> None:
    day = ["2025-04-08", "2025-04-08"]
    columns = ("view", "cart", "checkout", "purchase", "cart abandonment")

    def groups(by: str, **url: str) -> dict[str, tuple[Any, ...]]:
        rows = tables(open_page("funnel", dates=day, by=by, **url))[1]
        return {row[by]: tuple(row[name] for name in columns) for row in rows}

    assert groups("device") == {
        "desktop": (2, 2, 1, 0, "100.0 %"),
        "mobile": (2, 2, 2, 2, "0.0 %"),
        "tablet": (0, 0, 0, 0, "-"),
    }
    # Anna's first session is one of electronics, where it bought, and of apparel, where it looked; her second bought
    # apparel; bert's cart has electronics and something without a category; cleo's checkout has no cart.
    assert groups("category") == {
        "electronics": (2, 2, 1, 1, "50.0 %"),
        "apparel": (3, 1, 1, 1, "-"),
        "unknown": (1, 1, 0, 0, "100.0 %"),
    }
    assert groups("category", segment="loyal buyers") == {"apparel": (1, 0, 0, 0, "-")}
    assert groups("category", device="desktop") == {
        "apparel": (1, 0, 0, 0, "-"),
        "electronics": (1, 1, 0, 0, "100.0 %"),
        "unknown": (1, 1, 0, 0, "100.0 %"),
    }


def test_segments_have_sizes_stories_and_users() -> None:
    test = open_page("segments")
    profiles, users = tables(test)
    names = ("segment", "users", "change", "share", "change of share")
    assert [tuple(row[name] for name in names) for row in profiles] == [
        ("new", 1, 0, "25.0 %", "+0.0 pp"),
        ("loyal buyers", 1, -1, "25.0 %", "-25.0 pp"),
        ("leaving <soon>", 2, 1, "50.0 %", "+25.0 pp"),
    ]
    assert r"- **leaving \<soon\>**: Story of leaving \<soon\>." in test.markdown[0].value
    assert "localized" in test.dataframe[0].proto.columns
    assert profiles[0]["sets it apart (standard deviations)"] == "revenue_sum_30d +1.0"
    assert "- **loyal buyers**: Story of loyal buyers. And more.\n" in test.markdown[0].value
    assert [row["user_id"] for row in users] == ["dora"]
    leaving = tables(open_page("segments", users_of="leaving <soon>"))[1]
    assert [(row["user_id"], row["revenue in 30 days (USD)"]) for row in leaving] == [("anna", 120.0), ("bert", 5.0)]
    assert [row["segment before"] for row in leaving] == ["loyal buyers", "leaving <soon>"]


def test_the_scatter_has_a_dot_for_each_user_of_the_chosen_segments() -> None:
    def dots(**url: str) -> dict[str, int]:
        (scatter,) = [
            chart for chart in open_page("segments", **url).get("plotly_chart") if "scatter" in chart.proto.id
        ]
        return {trace["name"]: len(trace["x"]) for trace in json.loads(scatter.proto.spec)["data"]}

    assert dots() == {"loyal buyers": 1, "leaving &lt;soon&gt;": 2}  # who is new has no place
    assert dots(segment="leaving <soon>") == {"leaving &lt;soon&gt;": 2}
    caption = next(text.value for text in open_page("segments").caption if text.value.startswith("Model"))
    assert caption.endswith("trained on 5 users (first); k = 2: only two would fit. Champion: the first model.")


def test_only_the_users_of_chosen_segments_are_listed() -> None:
    assert open_page("segments", segment="leaving <soon>").selectbox(key="users_of").options == ["leaving <soon>"]


def test_another_last_date_asks_for_its_users_alone(lake: RunningStack) -> None:
    open_page("segments")
    before = count_queries(lake)
    profiles = tables(open_page("segments", dates=[str(FIRST), str(MIDDLE)]))[0]
    assert [row["users"] for row in profiles] == [1, 2, 1]
    assert count_queries(lake) == before + 2  # the sample, users of the first segment
    assert "2025-04-03 has no segments" in messages(open_page("segments", dates=[str(FIRST), "2025-04-03"]))


def test_a_segment_that_is_gone_has_no_users_and_keeps_its_name(lake: RunningStack) -> None:
    table = open_catalog(lake.settings).load_table((lake.settings.paths.database, "segment_profiles"))
    row = table.scan(row_filter=f"snapshot_date = '{MIDDLE}'").to_arrow().to_pylist()[0]
    gone = {**row, "segment_id": 7, "segment_name": "bulk buyers", "users": 3, "users_share": 0.375}
    table.append(pa.Table.from_pylist([gone], schema=table.schema().as_arrow()))
    try:
        profiles = tables(open_page("segments"))[0]
    finally:
        table.delete(delete_filter="segment_id = 7")
    names = ("segment", "users", "change", "share", "change of share")
    assert tuple(profiles[-1][name] for name in names) == ("bulk buyers", 0, -3, "0.0 %", "-37.5 pp")
    assert len(profiles) == 4


def test_movement_counts_who_went_where() -> None:
    test = open_page("movement")
    flows, left = tables(test)
    assert flows == [
        {"segment": "new", "users before": 1, "came in": 1, "went out": 1, "users after": 1},
        {"segment": "loyal buyers", "users before": 2, "came in": 1, "went out": 2, "users after": 1},
        {"segment": "leaving <soon>", "users before": 1, "came in": 1, "went out": 0, "users after": 2},
    ]
    # The best segment is the one that spends most: loyal buyers.
    assert [(row["user_id"], row["segment now"]) for row in left if row["user_id"] == "anna"] == [
        ("anna", "leaving <soon>")
    ]
    assert [row["user_id"] for row in left] == ["anna", "emil"]


def test_movement_needs_two_dates() -> None:
    for ends in (["2025-04-08", "2025-04-08"], ["2025-04-02", "2025-04-08"]):  # the second has no segments
        assert "There are not two dates with segments" in messages(open_page("movement", dates=ends))


def test_a_user_is_shown_with_sessions_events_and_segments() -> None:
    test = open_page("user", user="anna")
    assert {label: value for label, (value, _) in metrics(test).items()} == {
        "Sessions": "5",
        "Events": "7",
        "Purchases": "3",
        "Revenue (USD)": "60.50",
        "Segment": "leaving <soon>",
    }
    stays, sessions, events, features = tables(test)
    assert [(row["since"], row["segment"]) for row in stays] == [
        (FIRST, "loyal buyers"),
        (MIDDLE, "loyal buyers"),  # away in between: another stay
        (LAST, "leaving <soon>"),
    ]
    assert {"feature": "revenue_sum_30d", f"on {LAST}": 120.0} in features
    assert len(sessions) == 5
    assert sum(row["revenue (USD)"] for row in sessions) == 60.50
    assert [row["event_type"] for row in events] == ["view", "view", "cart", "checkout", "purchase", "view", "purchase"]


def test_quotes_in_a_user_id_stay_a_text() -> None:
    assert metrics(open_page("user", user=ODD_USER))["Events"][0] == "1"
    assert "neither an event nor a segment" in messages(open_page("user", user="x' OR '1'='1"))


def test_without_a_user_some_are_suggested() -> None:
    (suggested,) = tables(open_page("user"))
    assert [row["user_id"] for row in suggested] == ["anna", "cleo", "bert", "dora"]


def test_data_quality_shows_what_was_refused_and_what_was_late() -> None:
    test = open_page("data_quality")
    counts, quarantined, checks, runs = tables(test)
    names = ("date", "produced", "landed", "clean", "quarantined", "duplicates")
    assert [tuple(row[name] for name in names) for row in counts[:2]] == [
        (FIRST, 100, 100, 97, 2, 1), (MIDDLE, 50, 49, 49, 0, 0),
    ]  # fmt: skip
    assert tuple(counts[2][name] for name in ("date", "landed", "clean", "quarantined")) == (LAST, 80, 77, 3)
    assert [(row["reason"], row["records"], row["positions"], row["payloads"]) for row in quarantined] == [
        (
            "bad_price",
            4,
            "clickstream/0/4 | clickstream/0/9 | clickstream/0/10",
            'second | {"price": "a lot of ünïcode"} | third',
        ),
        ("not_json", 1, "clickstream/0/5", "\ufffd\ufffd"),
    ]
    assert any(caption.value.startswith("3 records, 1.3 % of those") for caption in test.caption)
    for row, date in zip(runs, (AFTER, LAST, MIDDLE, FIRST), strict=True):
        assert re.fullmatch(rf"http://.+/dags/clickstream_pipeline/runs/scheduled__{date}", row["run"])
    assert [row["failed in"] for row in runs] == ["transform_clickstream", "", "", ""]
    assert runs[1]["Spark jobs (s)"] == 30.5
    assert [tuple(row.values()) for row in checks] == [
        (MIDDLE, "warned", "few_are_quarantined"), (MIDDLE, "failed, and was forced", "1 of 50 lost"),
    ]  # fmt: skip
    assert any(caption.value.startswith("2 of 3 recorded runs have neither") for caption in test.caption)


def test_a_long_list_of_users_goes_on_in_the_file(lake: RunningStack, monkeypatch: pytest.MonkeyPatch) -> None:
    offered: list[tuple[str, Any]] = []
    monkeypatch.setattr(
        "dashboard.files.st.download_button", lambda label, data, *_, **__: offered.append((label, data))
    )
    monkeypatch.setattr("dashboard.files.MANY_ROWS", 1)
    monkeypatch.setattr(segment_users, "__defaults__", (1,))
    test = open_page("segments", users_of=LABELS[LEAVING])
    assert [row["user_id"] for row in tables(test)[1]] == ["anna"]
    assert any(caption.value.startswith("The 1 who spent most") for caption in test.caption)
    before = count_queries(lake)
    ((label, write),) = offered
    assert label == "2 users as CSV"
    lines = write().splitlines()
    assert lines[0].startswith("user_id,segment_since,previous_segment_id,distance_to_centroid,revenue_sum_30d,")
    assert lines[1:] == [
        f"anna,{LAST},{LOYAL},0.5,120.0,0,9,1.0",
        f"bert,{LAST},{LEAVING},0.5,5.0,0,4,1.0",
    ]
    assert count_queries(lake) == before + 1


def test_a_second_view_of_unchanged_data_starts_no_query(lake: RunningStack) -> None:
    views: list[tuple[str, dict[str, str]]] = [
        *((page, url) for page in PAGES for url in ({}, {"device": "mobile", "segment": "loyal buyers"})),
        ("user", {"user": "anna"}), ("funnel", {"by": "category"}), ("movement", {"left": LABELS[LEAVING]}),
        ("segments", {"users_of": LABELS[LEAVING]}),
    ]  # fmt: skip
    at_first = count_queries(lake)
    for page, url in views:
        open_page(page, **url)
    before = count_queries(lake)
    assert before > at_first
    for page, url in views:
        assert not open_page(page, **url).exception
    assert count_queries(lake) == before


def test_pages_that_were_warmed_up_start_no_query(lake: RunningStack) -> None:
    at_first = count_queries(lake)
    warm_up(open_lake().metadata_locations())
    before = count_queries(lake)
    assert before > at_first
    for page in PAGES:
        assert_shown(open_page(page))
    assert count_queries(lake) == before


def test_narrower_dates_start_no_query_where_rows_are_by_date(lake: RunningStack) -> None:
    narrowed = ("overview", "funnel", "data_quality")
    for page in narrowed:
        open_page(page)
    before = count_queries(lake)
    numbers = {page: open_page(page, dates=["2025-04-01", "2025-04-07"]) for page in narrowed}
    assert count_queries(lake) == before
    assert metrics(numbers["overview"])["Sessions"] == ("1", "")
    assert metrics(numbers["funnel"])["Cart abandonment"][0] == "50.0 %"
    assert [row["date"] for row in tables(numbers["data_quality"])[0]] == [FIRST, MIDDLE]
    assert "Nothing was quarantined" in messages(numbers["data_quality"])
    shown = tables(open_page("data_quality", dates=["2025-04-02", "2025-04-08"]))[1]
    assert count_queries(lake) == before  # the examples of its newest date were shown before
    assert [row["records"] for row in shown] == [4, 1]
    assert "failed in" in messages(numbers["overview"])  # the date after them: nobody made it good


def test_a_server_asks_before_anybody_opens_a_page(lake: RunningStack, tmp_path: Path) -> None:
    pipeline = Path(os.environ["LAKEHOUSE_PIPELINE"])
    altered = write_altered(tmp_path, pipeline, lambda content: content["dashboard"].update(warm_up_seconds=1))
    environment = {**inherited_variables(), **lake.environment, "LAKEHOUSE_PIPELINE": altered}
    command = streamlit_command(lake.layout.stack.bind_host, *free_ports(1))
    before = count_queries(lake)
    server = subprocess.Popen(command, env=environment, cwd=PROJECT_ROOT)
    try:
        wait_until(lambda: count_queries(lake) > before + 10)
    finally:
        server.terminate()
    assert server.wait(SECONDS) == 0


def test_a_commit_costs_the_queries_of_its_table_and_no_other(lake: RunningStack) -> None:
    open_page("data_quality")
    before = count_queries(lake)
    table = open_catalog(lake.settings).load_table((lake.settings.paths.database, "pipeline_runs"))
    row = table.scan(row_filter=f"event_date = '{FIRST}'").to_arrow().to_pylist()[0]
    other = {**row, "event_date": dt.date(2025, 4, 2), "run_id": "another"}
    table.append(pa.Table.from_pylist([other], schema=table.schema().as_arrow()))
    try:
        changed = open_page("data_quality")
        assert count_queries(lake) == before + 3  # dates, failures, runs
        assert len(tables(changed)[0]) == 4
    finally:
        table.delete(delete_filter="run_id = 'another'")


def test_the_editor_answers_with_cost_and_refuses_what_writes(lake: RunningStack) -> None:
    test = open_page("ask_athena")
    database = lake.settings.paths.database
    test.text_area[0].set_value(f"SELECT count(*) AS n FROM {database}.sessions;")
    test.button[0].click().run()
    assert tables(test) == [[{"n": 10}]]
    assert any("**1 row**" in text.value and "USD on AWS" in text.value for text in test.markdown)
    test.text_area[0].set_value(f"SHOW TABLES IN {database}")
    test.button[0].click().run()
    assert "sessions" in {name for row in tables(test)[0] for name in row.values()}
    for sql in ("SELECT NULL AS nothing", "SELECT uuid() AS id"):
        test.text_area[0].set_value(sql)
        test.button[0].click().run()
        assert not test.exception
    test.text_area[0].set_value(f"DROP TABLE {database}.sessions")
    test.button[0].click().run()
    assert "DROP is not allowed here" in messages(test)
    test.text_area[0].set_value(f"SELECT no_such_column FROM {database}.sessions")
    test.button[0].click().run()
    assert "COLUMN_NOT_FOUND" in messages(test)


def test_the_editor_draws_decimals_too() -> None:
    test = open_page("ask_athena")
    test.text_area[0].set_value(
        "SELECT y, CAST(x AS decimal(5, 2)) AS price FROM (VALUES ('a', 3), ('b', 4)) AS t (y, x)"
    )
    test.button[0].click().run()
    assert not test.exception
    (chart,) = test.get("plotly_chart")
    assert '"x":["a","b"]' in chart.proto.spec
    assert test.multiselect(key="numbers").value == ["price"]


def test_a_named_query_is_there_to_run() -> None:
    test = open_page("ask_athena", query="runs")
    test.button[0].click().run()
    assert not test.exception, test.exception  # nor where a column is null in every row
    assert [row["event_date"] for row in tables(test)[0]] == [FIRST, dt.date(2025, 4, 7), LAST]


def test_a_query_over_the_limit_is_told_the_limit(lake: RunningStack) -> None:
    paths = lake.settings.paths
    place = f"s3://{lake.settings.environment.aws.bucket}/numbers/"
    numbers = "unnest(sequence(1, 1000)) a(x) cross join unnest(sequence(1, 2500)) b(y)"  # 2,500,000 of 8 bytes
    create = f"CREATE TABLE numbers WITH (external_location = '{place}') AS SELECT random() AS r FROM {numbers}"
    run_statement(open_athena(lake.settings), lake.settings, create)
    try:
        test = open_page("ask_athena")
        test.text_area[0].set_value(f"SELECT sum(r) FROM {paths.database}.numbers")
        test.button[0].click().run()
    finally:
        run_statement(open_athena(lake.settings), lake.settings, "DROP TABLE numbers")
    assert "The query reads too much" in messages(test)
    assert "10 MB" in messages(test)


@pytest.fixture
def without_athena(lake: RunningStack) -> Iterator[None]:
    lake.supervisor.stop_service("athena")
    wait_until(lambda: lake.supervisor.states()["athena"] == "STOPPED")
    yield
    lake.supervisor.start_service("athena")
    wait_until(lambda: lake.is_ready("athena"))


@pytest.mark.usefixtures("without_athena")
def test_athena_away_is_said_with_a_remedy() -> None:
    for page in PAGES:
        said = messages(open_page(page))
        assert "The lake does not answer" in said, page
        assert "make up" in said


@contextmanager
def without_table(lake: RunningStack, table: str) -> Iterator[None]:
    """Glue forgets a table meanwhile; its files stay."""
    catalog, name = open_catalog(lake.settings), (lake.settings.paths.database, table)
    location = catalog.load_table(name).metadata_location
    catalog.drop_table(name)
    try:
        yield
    finally:
        catalog.register_table(name, location)


def test_a_table_that_is_missing_is_named(lake: RunningStack) -> None:
    with without_table(lake, "segment_profiles"):
        said = messages(open_page("segments"))
    assert "A table is missing" in said
    assert "segment_profiles" in said


def test_tables_without_a_row_say_how_to_fill_them(
    lake: RunningStack, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog, full = open_catalog(lake.settings), lake.settings.paths.database
    catalog.create_namespace("bare", {"location": f"s3://{lake.settings.environment.aws.bucket}/bare"})
    for _, name in catalog.list_tables(full):
        table = catalog.load_table((full, name))
        catalog.create_table(("bare", name), table.schema(), partition_spec=table.spec())
    paths = write_altered(tmp_path, CONFIG_DIR / "s3_paths.yaml", lambda content: content.update(database="bare"))
    monkeypatch.setenv("LAKEHOUSE_PATHS", paths)
    forget()
    for page in [page for page in PAGES if page != "ask_athena"]:
        said = messages(open_page(page))
        assert "Nothing here yet" in said, page
        assert "make run" in said or "The next run of the pipeline makes them" in said, page


def test_an_empty_lake_says_how_to_fill_it(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_altered(tmp_path, CONFIG_DIR / "s3_paths.yaml", lambda content: content.update(database="nothing"))
    monkeypatch.setenv("LAKEHOUSE_PATHS", paths)
    forget()
    for page in [page for page in PAGES if page != "ask_athena"]:
        said = messages(open_page(page))
        assert "Nothing here yet" in said, page
        assert "make run" in said


def test_a_filter_of_a_link_survives_a_page_that_does_not_use_it() -> None:
    test = open_page("user", segment="loyal buyers", device="desktop")
    test.switch_page("app_pages/overview.py").run()
    assert metrics(test)["Sessions"][0] == "1"


def test_a_link_to_a_segment_that_is_not_there_says_so() -> None:
    test = open_page("overview", segment="bulk buyers")
    assert "These dates have no segment bulk buyers" in messages(test)
    assert metrics(test)["Sessions"][0] == "5"


def test_a_link_to_dates_or_a_device_that_are_not_there_says_so() -> None:
    test = open_page("overview", dates=["2024-12-24", "2025-04-01"], device="fridge")
    said = messages(test)
    assert "The lake has no dates 2024-12-24 to 2025-04-01, but 2025-04-01 to 2025-04-08" in said
    assert "There is no device fridge" in said
    assert metrics(test)["Sessions"][0] == "5"


def test_a_link_keeps_the_newest_dates() -> None:
    (link,) = open_page("overview", device="mobile").sidebar.caption
    assert link.value == "?dates=2025-04-01&dates=2025-04-08&device=mobile"  # AppTest has no address before it


def test_a_lake_from_before_failed_runs_has_none(lake: RunningStack) -> None:
    with without_table(lake, "failed_runs"):
        test, quality = open_page("overview"), open_page("data_quality")
    assert metrics(test)["Sessions"][0] == "5"
    assert "failed in" not in messages(test)
    assert [row["failed in"] for row in tables(quality)[-1]] == ["", "", ""]
