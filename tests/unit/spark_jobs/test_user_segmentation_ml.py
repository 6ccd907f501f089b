"""Three groups of users that nobody can mix up, their history over two dates, and numbers computed by hand or numpy."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import yaml
from pyspark.ml.clustering import KMeansModel
from pyspark.sql import DataFrame, Row, SparkSession

import config
from config.loader import CONFIG_DIR, NameRule, Segmentation
from spark_jobs import user_segmentation_ml
from spark_jobs.audit import AuditError
from spark_jobs.lakehouse import Lakehouse
from spark_jobs.outdated_segments import REBUILT_KEY, find_outdated_segments, keep_outdated_segments
from spark_jobs.tables import (
    MODEL_RUNS,
    SEGMENT_PROFILES,
    SEGMENT_TRANSITIONS,
    USER_FEATURES,
    USER_SEGMENTS,
)
from spark_jobs.user_segmentation_ml import (
    KScore,
    Segment,
    SegmentationError,
    TrainedModel,
    add_history,
    choose_dates,
    choose_k,
    count_transitions,
    find_champion,
    load_model,
    main,
    name_segments,
    parse_arguments,
    parse_clusters,
    profile_segments,
    read_features,
    segment_date,
    segment_dates,
    train_champion,
)

FIRST, SECOND = date(2025, 4, 1), date(2025, 4, 2)
LOG_FEATURES, SHARE_FEATURES = ("events_sum_30d", "purchases_sum_30d"), ("search_rate_30d",)
FEATURES = LOG_FEATURES + SHARE_FEATURES
SEGMENTATION = {
    "num_clusters": 3,
    "candidate_clusters": [2, 3, 4],
    "seed": 7,
    "max_iterations": 20,
    "model_policy": "as_of",
    "log_features": list(LOG_FEATURES),
    "share_features": list(SHARE_FEATURES),
    "names": [
        {"name": "buyers", "when": {"purchases_sum_30d": ">0.5"}},
        {"name": "researchers", "when": {"search_rate_30d": ">0.5", "purchases_sum_30d": "<0"}},
    ],
    "name_overrides": {},
}
OUTPUTS = (USER_SEGMENTS, SEGMENT_PROFILES, SEGMENT_TRANSITIONS, MODEL_RUNS)

# user -> events, purchases, search rate: six idle ones, five who search, four who buy
IDLE = {f"idle{n}": (events, 0, 0.0) for n, events in enumerate([1, 1, 2, 2, 3, 3])}
SEEKERS = {f"seek{n}": (events, 0, rate) for n, (events, rate) in enumerate([(20, 0.7), (21, 0.75), (22, 0.8), (23, 0.85), (24, 0.9)])}  # fmt: skip  # noqa: E501
BUYERS = {f"buy{n}": (events, bought, 0.1) for n, (events, bought) in enumerate([(40, 9), (44, 10), (48, 11), (52, 10)])}  # fmt: skip  # noqa: E501
ON_FIRST = IDLE | SEEKERS | BUYERS
# On the second date one idle user is gone, one buyer has become idle, and a user who searches is new.
ON_SECOND = {user: row for user, row in ON_FIRST.items() if user != "idle5"} | {"buy3": (2, 0, 0.0), "new": (22, 0, 0.8)}  # fmt: skip  # noqa: E501


# -- choices and names ------------------------------------------------------------------------------------------------


def scores(**silhouettes: float) -> list[KScore]:
    return [KScore(int(name[1:]), silhouette, 10.0, 0.1) for name, silhouette in silhouettes.items()]


def test_a_single_k_is_fixed() -> None:
    assert choose_k(scores(k5=-0.2)) == (5, "fixed by num_clusters")


def test_of_several_k_the_best_silhouette_wins_and_the_reason_says_so() -> None:
    assert choose_k(scores(k3=0.41, k4=0.62, k5=0.5)) == (4, "best silhouette (0.620) of k = 3, 4, 5")


def test_of_equal_silhouettes_the_smaller_k_wins_in_whatever_order() -> None:
    assert choose_k(scores(k3=0.1, k6=0.5, k4=0.5))[0] == 4
    assert choose_k(scores(k4=0.5, k6=0.5, k3=0.1))[0] == 4


def rule(name: str, **when: str) -> NameRule:
    return NameRule(name=name, when=when)


def test_each_name_goes_to_the_segment_that_meets_its_rule_most_clearly() -> None:
    deviations = {1: {"bought": 0.8}, 2: {"bought": 2.0}, 3: {"bought": -1.0}}
    rules = (rule("buyers", bought=">0.5"), rule("some buyers", bought=">0"), rule("lookers", bought="<-0.5"))
    assert name_segments(deviations, rules) == {1: "some buyers", 2: "buyers", 3: "lookers"}


def test_a_name_is_given_once_and_what_no_rule_fits_keeps_its_number() -> None:
    deviations = {1: {"bought": 1.0}, 2: {"bought": 1.5}, 3: {"bought": 0.5}}
    assert name_segments(deviations, (rule("buyers", bought=">0.5"),)) == {1: "segment 1", 2: "buyers", 3: "segment 3"}


def test_the_tightest_condition_of_a_rule_decides() -> None:
    deviations = {1: {"bought": 3.0, "left": 0.4}, 2: {"bought": 1.0, "left": 0.0}, 3: {"bought": 9.0, "left": 0.6}}
    names = name_segments(deviations, (rule("loyal", bought=">0.5", left="<0.5"),))
    assert names == {1: "segment 1", 2: "loyal", 3: "segment 3"}


def test_of_two_equally_clear_segments_the_first_gets_the_name() -> None:
    deviations = {2: {"bought": 1.0}, 1: {"bought": 1.0}}
    assert name_segments(deviations, (rule("buyers", bought=">0"),)) == {1: "buyers", 2: "segment 2"}


@pytest.mark.parametrize(("text", "clusters"), [("auto", "auto"), ("2", 2), ("12", 12)])
def test_clusters_are_auto_or_a_number(text: str, clusters: int | str) -> None:
    assert parse_clusters(text) == clusters


@pytest.mark.parametrize("text", ["1", "0", "-3", "2.5", "", "many"])
def test_other_clusters_are_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as error:
        parse_clusters(text)
    assert str(error.value) == f"{text!r} is neither auto nor a whole number of at least 2"


# -- transforms -------------------------------------------------------------------------------------------------------

SCORED_DDL = "user_id STRING, segment_id INT, snapshot_date DATE"
BEFORE_DDL = "user_id STRING, segment_id INT, segment_since DATE"


def test_history_is_kept_by_who_stays_and_begins_anew_for_who_moves_or_is_new(spark: SparkSession) -> None:
    before = spark.createDataFrame(
        [("stays", 1, date(2025, 3, 1)), ("moves", 1, date(2025, 3, 2)), ("leaves", 2, date(2025, 3, 3))], BEFORE_DDL
    )
    scored = spark.createDataFrame([("stays", 1, SECOND), ("moves", 2, SECOND), ("new", 2, SECOND)], SCORED_DDL)
    rows = add_history(scored, before).collect()
    assert {row.user_id: (row.segment_id, row.previous_segment_id, row.segment_since) for row in rows} == {
        "stays": (1, 1, date(2025, 3, 1)),
        "moves": (2, 1, SECOND),
        "new": (2, None, SECOND),
    }


def test_transitions_count_every_user_of_either_date_once(spark: SparkSession) -> None:
    before = spark.createDataFrame([("a", 1), ("b", 1), ("c", 1), ("d", 2)], "user_id STRING, segment_id INT")
    after = spark.createDataFrame([("a", 1), ("b", 1), ("c", 2), ("e", 2)], "user_id STRING, segment_id INT")
    counted = count_transitions(after, before, SECOND)
    assert counted.select(*SEGMENT_TRANSITIONS.column_names).schema.simpleString() == (
        "struct<from_segment_id:int,to_segment_id:int,users:bigint,snapshot_date:date>"
    )
    assert {tuple(row) for row in counted.collect()} == {
        (1, 1, 2, SECOND),
        (1, 2, 1, SECOND),
        (2, None, 1, SECOND),
        (None, 2, 1, SECOND),
    }


def test_a_profile_ranks_features_by_their_distance_from_all_users(spark: SparkSession) -> None:
    ddl = "segment_id INT, segment_name STRING, model_id STRING, snapshot_date DATE, a DOUBLE, b DOUBLE, c DOUBLE, d DOUBLE"  # noqa: E501
    rows = [(1, 0.0, 1.0, 5.0, 0.0), (1, 0.0, 3.0, 5.0, 4.0), (2, 2.0, 2.0, 5.0, 1.0), (2, 2.0, 6.0, 5.0, 4.0)]
    scored = spark.createDataFrame([(n, f"s{n}", "m", FIRST, *values) for n, *values in rows], ddl)
    first, second = sorted(profile_segments(scored, ("c", "d", "b", "a")).collect(), key=lambda row: row.segment_id)
    assert (first.users, first.users_share, first.segment_name, first.model_id) == (2, 0.5, "s1", "m")
    assert first.centroid == {"a": 0.0, "b": 2.0, "c": 5.0, "d": 2.0}
    assert second.centroid == {"a": 2.0, "b": 4.0, "c": 5.0, "d": 2.5}
    # a: mean 1, deviation 1; b: mean 3, variance 14/4; d: mean 9/4, variance 51/16; c is the same for all.
    deviations = {"a": 1.0, "b": 1 / 3.5**0.5, "d": 0.25 / (51 / 16) ** 0.5}
    for row, sign in ((first, -1), (second, 1)):
        assert [found.feature for found in row.distinctive_features] == ["a", "b", "d"]
        assert [found.standard_deviations for found in row.distinctive_features] == pytest.approx(
            [sign * value for value in deviations.values()]
        )


# -- the job itself, on two dates -------------------------------------------------------------------------------------


def features_frame(spark: SparkSession, users: dict[str, tuple[int, int, float]], day: date) -> DataFrame:
    """Rows of user_features; what the model does not read is 0."""
    zeros = {c.name: 0.0 if c.type == "DOUBLE" else 0 for c in USER_FEATURES.columns}
    rows = [
        zeros | {"user_id": user, "snapshot_date": day} | dict(zip(FEATURES, values, strict=True))
        for user, values in users.items()
    ]
    return spark.createDataFrame(
        [tuple(row[name] for name in USER_FEATURES.column_names) for row in rows], USER_FEATURES.ddl
    )


@dataclass(frozen=True)
class Outcome:
    """The rows of every output table after the runs of both dates, and again after the first date's second run."""

    lake: Path
    rows: dict[str, list[Row]]
    rows_after_rerun: dict[str, list[Row]]
    files: dict[str, set[str]]
    files_after_rerun: dict[str, set[str]]

    def of(self, table: str, day: date) -> list[dict[str, Any]]:
        return [row.asDict(recursive=True) for row in self.rows[table] if row.snapshot_date == day]


def read_outputs(lake: Path) -> dict[str, list[Row]]:
    with Lakehouse("read", config.load("local"), output_path=str(lake)) as lakehouse:
        return {table.name: sorted(lakehouse.read(table).collect(), key=str) for table in OUTPUTS}


def live_files(lake: Path, day: date) -> dict[str, set[str]]:
    """Data files of the outputs in the partition of a date."""
    tables = {table.name: lake / "clickstream" / table.name / "data" for table in OUTPUTS if table.partition}
    return {name: {f.name for f in (data / f"snapshot_date={day}").glob("*.parquet")} for name, data in tables.items()}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Features of both dates in a folder, and the pipeline's settings beside them."""
    folder = tmp_path_factory.mktemp("lake")
    pipeline = yaml.safe_load((CONFIG_DIR / "pipeline.yaml").read_text(encoding="utf-8"))
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(pipeline | {"segmentation": SEGMENTATION}), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LAKEHOUSE_ENV", raising=False)
        patch.setenv("LAKEHOUSE_PIPELINE", str(folder / "pipeline.yaml"))
        with Lakehouse("fill", config.load("local"), output_path=str(folder)) as lakehouse:
            lakehouse.create_tables()
            both = features_frame(lakehouse.spark, ON_FIRST, FIRST).union(
                features_frame(lakehouse.spark, ON_SECOND, SECOND)
            )
            lakehouse.replace_dates(USER_FEATURES, both, [FIRST, SECOND])
        yield folder


@pytest.fixture(scope="module")
def outcome(lake: Path) -> Outcome:
    def run(*arguments: str) -> None:
        assert main([*arguments, "--output-path", str(lake)]) == 0

    run("--start-date", "2025-04-01", "--end-date", "2025-04-02")
    rows, files = read_outputs(lake), live_files(lake, SECOND)
    run("--start-date", "2025-04-01")
    return Outcome(lake, rows, read_outputs(lake), files, live_files(lake, SECOND))


def segment_of(outcome: Outcome, day: date) -> dict[str, str]:
    return {row["user_id"]: row["segment_name"] for row in outcome.of("user_segments", day)}


def test_clearly_separated_groups_are_recovered_exactly(outcome: Outcome) -> None:
    expected = (
        dict.fromkeys(IDLE, "segment 1") | dict.fromkeys(SEEKERS, "researchers") | dict.fromkeys(BUYERS, "buyers")
    )
    assert segment_of(outcome, FIRST) == expected
    del expected["idle5"]
    assert segment_of(outcome, SECOND) == expected | {"buy3": "segment 1", "new": "researchers"}


def test_segments_are_numbered_by_size_and_one_model_scores_both_dates(outcome: Outcome) -> None:
    (model,) = outcome.rows["model_runs"]
    assert {(s.segment_id, s.segment_name) for s in model.segments} == {
        (1, "segment 1"), (2, "researchers"), (3, "buyers"),
    }  # fmt: skip
    assert (model.trained_on, model.data_from, model.users, model.k) == (FIRST, date(2025, 3, 3), 15, 3)
    assert (model.features, model.k_reason, model.is_champion) == (list(FEATURES), "fixed by num_clusters", True)
    assert [(score.k, score.smallest_share) for score in model.k_scores] == [(3, 4 / 15)]
    assert model.k_scores[0].silhouette > 0.9
    assert {row.model_id for row in outcome.rows["user_segments"]} == {model.model_id}
    assert (Path(model.artifact) / "metadata").is_dir()


def test_the_distance_is_euclidean_in_features_standardised_as_in_training(outcome: Outcome) -> None:
    def prepare(users: dict[str, tuple[int, int, float]]) -> Any:
        return np.array([[np.log1p(events), np.log1p(bought), rate] for events, bought, rate in users.values()])

    trained = prepare(ON_FIRST)
    mean, spread = trained.mean(axis=0), trained.std(axis=0, ddof=1)
    centroids = {
        name: ((prepare(group) - mean) / spread).mean(axis=0)
        for name, group in (("segment 1", IDLE), ("researchers", SEEKERS), ("buyers", BUYERS))
    }
    for day, users in ((FIRST, ON_FIRST), (SECOND, ON_SECOND)):
        standardised = dict(zip(users, (prepare(users) - mean) / spread, strict=True))
        names = segment_of(outcome, day)
        expected = {user: float(np.linalg.norm(x - centroids[names[user]])) for user, x in standardised.items()}
        found = {row["user_id"]: row["distance_to_centroid"] for row in outcome.of("user_segments", day)}
        assert found == pytest.approx(expected, abs=1e-9)


def test_profiles_count_everybody_and_give_means_in_real_units(outcome: Outcome) -> None:
    profiles = {row["segment_name"]: row for row in outcome.of("segment_profiles", FIRST)}
    assert {name: (row["segment_id"], row["users"]) for name, row in profiles.items()} == {
        "segment 1": (1, 6), "researchers": (2, 5), "buyers": (3, 4),
    }  # fmt: skip
    assert sum(row["users_share"] for row in profiles.values()) == pytest.approx(1)
    assert profiles["buyers"]["users_share"] == pytest.approx(4 / 15)
    # The median user of each group is its mean too.
    for name, means in {"segment 1": (2, 0, 0), "researchers": (22, 0, 0.8), "buyers": (46, 10, 0.1)}.items():
        assert profiles[name]["centroid"] == pytest.approx(dict(zip(FEATURES, means, strict=True)))
    sizes = {row["segment_name"]: row["users"] for row in outcome.of("segment_profiles", SECOND)}
    assert sizes == {"segment 1": 6, "researchers": 6, "buyers": 3}


def test_history_and_transitions_follow_users_from_date_to_date(outcome: Outcome) -> None:
    first = outcome.of("user_segments", FIRST)
    assert {(row["previous_segment_id"], row["segment_since"]) for row in first} == {(None, FIRST)}
    second = {
        row["user_id"]: (row["segment_id"], row["previous_segment_id"], row["segment_since"])
        for row in outcome.of("user_segments", SECOND)
    }
    assert second["idle0"] == (1, 1, FIRST)
    assert second["buy3"] == (1, 3, SECOND)
    assert second["new"] == (2, None, SECOND)

    def moves(day: date) -> set[tuple[int | None, int | None, int]]:
        rows = outcome.of("segment_transitions", day)
        return {(row["from_segment_id"], row["to_segment_id"], row["users"]) for row in rows}

    assert moves(FIRST) == {(None, 1, 6), (None, 2, 5), (None, 3, 4)}
    assert moves(SECOND) == {(1, 1, 5), (2, 2, 5), (3, 3, 3), (3, 1, 1), (1, None, 1), (None, 2, 1)}


def test_a_rerun_changes_no_row_and_touches_no_other_partition(outcome: Outcome) -> None:
    assert outcome.rows_after_rerun == outcome.rows
    assert outcome.files_after_rerun == outcome.files
    assert all(outcome.files.values())


# -- errors: each names the thing and the remedy ----------------------------------------------------------------------


def test_an_empty_features_table_names_the_job_to_run_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--output-path", str(tmp_path)]) == 1
    assert "user_features is empty; run transform_clickstream first" in capsys.readouterr().err


@pytest.fixture(scope="module")
def scored_lakehouse(outcome: Outcome) -> Iterator[Lakehouse]:
    """The lakehouse after the runs, open."""
    with Lakehouse("errors", config.load("local"), output_path=str(outcome.lake)) as lakehouse:
        yield lakehouse


def settings(**changes: Any) -> Segmentation:
    return dataclasses.replace(config.load("local").pipeline.segmentation, **changes)


def test_auto_tries_every_candidate_and_finds_the_three_groups(scored_lakehouse: Lakehouse) -> None:
    day = date(2025, 3, 31)
    features = features_frame(scored_lakehouse.spark, ON_FIRST, day)
    model, _ = train_champion(scored_lakehouse, features, day, settings(num_clusters="auto"))
    assert (model.k, {segment.segment_name for segment in model.segments}) == (
        3,
        {"segment 1", "researchers", "buyers"},
    )
    (run,) = scored_lakehouse.read(MODEL_RUNS).where("trained_on = DATE'2025-03-31'").collect()
    assert [score.k for score in run.k_scores] == [2, 3, 4]
    assert run.k_reason.startswith("best silhouette (")


def test_the_order_of_the_users_changes_no_digit_of_the_centroids(scored_lakehouse: Lakehouse) -> None:
    day = date(2025, 3, 30)
    features = features_frame(scored_lakehouse.spark, ON_FIRST, day)
    centers = []
    for frame in (features, features.repartition(3).sortWithinPartitions("events_sum_30d")):
        _, pipeline = train_champion(scored_lakehouse, frame, day, settings())
        centers.append([list(center) for center in cast(KMeansModel, pipeline.stages[-1]).clusterCenters()])
    assert centers[0] == centers[1]


def test_a_date_is_scored_by_the_newest_champion_of_that_date_or_under_champion_by_the_newest(
    scored_lakehouse: Lakehouse,
) -> None:
    def champion(day: date, policy: str) -> date | None:
        found = find_champion(scored_lakehouse, day, policy)
        return found.trained_on if found else None

    assert champion(SECOND, "as_of") == champion(FIRST, "as_of") == FIRST
    assert champion(date(2025, 3, 1), "as_of") is None
    assert champion(date(2025, 3, 1), "champion") == FIRST


def test_a_date_without_users_is_named_with_the_job_to_run(scored_lakehouse: Lakehouse) -> None:
    arguments = parse_arguments(["--start-date", "2025-04-09"])
    with pytest.raises(SegmentationError, match=r"no users on 2025-04-09; run transform_clickstream for it first"):
        choose_dates(arguments, scored_lakehouse)


def test_too_few_users_are_counted_and_the_clusters_named(scored_lakehouse: Lakehouse) -> None:
    day = date(2025, 3, 1)
    few = features_frame(scored_lakehouse.spark, BUYERS, day)
    scored_lakehouse.replace_dates(USER_FEATURES, few, [day])
    with pytest.raises(SegmentationError, match=r"2025-03-01: 4 users are too few for 3 clusters; "):
        segment_date(scored_lakehouse, day, settings(), 0)


def test_an_unknown_feature_is_named_with_the_file_that_asks_for_it(scored_lakehouse: Lakehouse) -> None:
    with pytest.raises(SegmentationError, match=r"user_features has no column clicks_30d; see .* pipeline\.yaml"):
        read_features(scored_lakehouse, FIRST, ("events_sum_30d", "clicks_30d"))


def test_a_model_without_its_artifact_is_named_with_the_path(scored_lakehouse: Lakehouse) -> None:
    missing = f"{scored_lakehouse.models_path}/gone"
    model = TrainedModel("kmeans-gone", FIRST, 3, FEATURES, (Segment(0, 1, "segment 1"),), missing)
    with pytest.raises(SegmentationError) as error:
        load_model(model)
    assert str(error.value).startswith(
        f"model kmeans-gone: {missing} cannot be loaded; restore it, or delete its row of model_runs to train anew: "
    )


def test_a_model_that_reads_other_features_than_recorded_is_refused(scored_lakehouse: Lakehouse) -> None:
    run = scored_lakehouse.read(MODEL_RUNS).where("trained_on = DATE'2025-04-01'").collect()[0]
    model = TrainedModel(run.model_id, FIRST, 3, ("events_sum_30d",), (), run.artifact)
    with pytest.raises(SegmentationError, match=r"reads \('events_sum_30d', .*but model_runs says"):
        load_model(model)


def rebuild_features(lakehouse: Lakehouse, *days: date, users: dict[str, tuple[int, int, float]] = ON_FIRST) -> None:
    """As a transform publishes them, with the days in its summary."""
    frames = [features_frame(lakehouse.spark, users, day) for day in days]
    summary = {REBUILT_KEY: json.dumps([str(day) for day in days])}
    lakehouse.replace_dates(USER_FEATURES, functools.reduce(DataFrame.union, frames), list(days), summary)


def score(lakehouse: Lakehouse, *days: date, is_forced: bool = False) -> list[str]:
    """Runs the job for the days; returns which were scored, in order."""
    return [str(report["date"])[5:] for report in segment_dates(lakehouse, days, settings(), is_forced=is_forced)]


def test_whose_features_were_published_again_is_scored_again_whoever_published(scored_lakehouse: Lakehouse) -> None:
    lake = scored_lakehouse
    first, second, third = (date(2025, 5, day) for day in (1, 2, 3))
    rebuild_features(lake, first, second)
    assert find_outdated_segments(lake) == set()  # never scored: that is their own runs' to do
    assert score(lake, first, second) == ["05-01", "05-02"]
    assert find_outdated_segments(lake) == set()
    rebuild_features(lake, second, third)
    rebuild_features(lake, third)
    assert find_outdated_segments(lake) == {second}
    assert score(lake, third) == ["05-02", "05-03"]
    assert find_outdated_segments(lake) == set()


def test_dates_that_are_published_while_others_are_scored_are_outdated_in_one_piece(
    scored_lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, days = scored_lakehouse, [date(2025, 6, day) for day in (1, 2)]
    rebuild_features(lake, *days)

    def read_first_then_rebuild(lakehouse: Lakehouse, day: date, *arguments: Any) -> DataFrame:
        frame = read_features(lakehouse, day, *arguments)
        if day == days[0]:
            rebuild_features(lakehouse, *days)
        return frame

    with monkeypatch.context() as patched:
        patched.setattr(user_segmentation_ml, "read_features", read_first_then_rebuild)
        assert score(lake, *days) == ["06-01", "06-02"]
    assert find_outdated_segments(lake) == set(days)
    assert score(lake, days[1]) == ["06-01", "06-02"]


def test_a_date_that_is_scored_late_is_the_history_of_those_after_it(scored_lakehouse: Lakehouse) -> None:
    lake, days = scored_lakehouse, [date(2025, 7, day) for day in (1, 2, 3)] + [date(2025, 7, 31)]
    rebuild_features(lake, *days)
    score(lake, days[0])
    score(lake, *days[2:])
    assert lake.read_dates(USER_SEGMENTS, days[2], days[2]).where("previous_segment_id IS NOT NULL").isEmpty()
    assert score(lake, days[1]) == ["07-02", "07-03", "07-31"]
    after = lake.read_dates(USER_SEGMENTS, days[2], days[2]).collect()
    assert {row.previous_segment_id == row.segment_id for row in after} == {True}
    assert {row.segment_since for row in after} == {days[0]}
    assert score(lake, days[1]) == ["07-02"]


def test_an_outdated_date_with_a_fault_keeps_its_segments_and_stops_no_other(
    scored_lakehouse: Lakehouse, capsys: pytest.CaptureFixture[str]
) -> None:
    lake, before, day = scored_lakehouse, date(2025, 8, 1), date(2025, 8, 2)
    many = {f"{user}-{n}": row for user, row in ON_FIRST.items() for n in range(5)}
    rebuild_features(lake, before, day, users=many)
    score(lake, before, day)
    rebuild_features(lake, before)  # a fifth of its users
    assert score(lake, day, is_forced=True) == ["08-02"]
    assert "2025-08-01 keeps its segments, which are older than its features: " in capsys.readouterr().err
    assert lake.partitions(USER_SEGMENTS)[before] == len(many)
    assert lake.newest_summary(USER_SEGMENTS, "left-outdated") == '["2025-08-01"]'
    with pytest.raises(AuditError, match=r"user_segments 2025-08-01: 15 rows instead of 75"):
        score(lake, before)
    assert score(lake, before, is_forced=True) == ["08-01"]


def test_outdated_dates_outlive_the_snapshots_that_named_them(scored_lakehouse: Lakehouse) -> None:
    lake, day = scored_lakehouse, date(2025, 9, 1)
    rebuild_features(lake, day)
    score(lake, day)
    keep_outdated_segments(lake)
    assert lake.newest_summary(USER_FEATURES, REBUILT_KEY) == '["2025-09-01"]'  # that of its publication
    rebuild_features(lake, day)
    rebuild_features(lake, date(2025, 9, 2))
    keep_outdated_segments(lake)
    lake.load(USER_FEATURES).expireSnapshots().expireOlderThan(2**62).retainLast(1).commit()
    assert find_outdated_segments(lake) == {day}
