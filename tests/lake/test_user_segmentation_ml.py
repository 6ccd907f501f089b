"""Three groups of users that nobody can mix up, their history over two dates, and numbers computed by hand or numpy."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from pyspark.ml import PipelineModel
from pyspark.ml.clustering import KMeans, KMeansModel
from pyspark.ml.linalg import Vectors
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from spark_jobs import user_segmentation_ml
from spark_jobs.errors import AuditError, ConcurrentCommitError
from spark_jobs.forgotten_users import Tombstones, read_tombstones
from spark_jobs.lake.lakehouse import Lakehouse
from spark_jobs.lake.notes import DIGESTS, LEFT_OUTDATED, REBUILT_SNAPSHOTS
from spark_jobs.lake.tables import (
    MODEL_RUNS,
    SEGMENT_PROFILES,
    SEGMENT_TRANSITIONS,
    USER_FEATURES,
    USER_SEGMENTS,
)
from spark_jobs.lake.views import View
from spark_jobs.maintain_tables import call, expire_snapshots, timestamp
from spark_jobs.outdated_segments import (
    describe_rollback,
    find_outdated_histories,
    find_outdated_segments,
    keep_outdated_segments,
    read_noted_digest,
)
from spark_jobs.rollback_table import roll_back
from spark_jobs.segment_identity import Segment
from spark_jobs.segment_models import CHAMPION, ModelError, TrainedModel, load_pipeline, read_models
from spark_jobs.segment_training import train_model
from spark_jobs.user_segmentation_ml import (
    SegmentationError,
    add_previous,
    add_since,
    choose_dates,
    count_transitions,
    keep_cluster,
    load_once,
    main,
    parse_arguments,
    parse_clusters,
    read_features,
    segment_dates,
)
from tests.lake.small_frames import open_lake
from tests.lake.three_groups import (
    BUYERS,
    FEATURES,
    FIRST,
    IDLE,
    ON_FIRST,
    ON_SECOND,
    SECOND,
    SEEKERS,
    configure,
    features_frame,
    rebuild_features,
    write_settings,
)

OUTPUTS = (USER_SEGMENTS, SEGMENT_PROFILES, SEGMENT_TRANSITIONS, MODEL_RUNS)

# -- arguments and transforms -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "clusters"), [("auto", "auto"), ("2", 2), ("12", 12)])
def test_clusters_are_auto_or_a_number(text: str, clusters: int | str) -> None:
    assert parse_clusters(text) == clusters


@pytest.mark.parametrize("text", ["1", "0", "-3", "2.5", "", "many"])
def test_other_clusters_are_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as error:
        parse_clusters(text)
    assert str(error.value) == f"{text!r} is neither auto nor a whole number of at least 2"


SCORED_DDL = "user_id STRING, segment_id INT, snapshot_date DATE"
BEFORE_DDL = "user_id STRING, segment_id INT, segment_since DATE"


def test_history_is_kept_by_who_stays_and_begins_anew_for_who_moves_or_is_new(spark: SparkSession) -> None:
    before = spark.createDataFrame(
        [("stays", 1, date(2025, 3, 1)), ("moves", 1, date(2025, 3, 2)), ("leaves", 2, date(2025, 3, 3))], BEFORE_DDL
    )
    scored = spark.createDataFrame([("stays", 1, SECOND), ("moves", 2, SECOND), ("new", 2, SECOND)], SCORED_DDL)
    rows = add_since(add_previous(scored, before)).collect()
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


# -- the job itself, on two dates -------------------------------------------------------------------------------------


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
    with open_lake(lake) as lakehouse:
        return {table.name: sorted(lakehouse.main.read(table).collect(), key=str) for table in OUTPUTS}


def live_files(lake: Path, day: date) -> dict[str, set[str]]:
    """Data files of the outputs in the partition of a date."""
    tables = {table.name: lake / "clickstream" / table.name / "data" for table in OUTPUTS if table.partition}
    return {name: {f.name for f in (data / f"snapshot_date={day}").glob("*.parquet")} for name, data in tables.items()}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Features of both dates in a folder, and the pipeline's settings beside them."""
    folder = tmp_path_factory.mktemp("lake")
    with pytest.MonkeyPatch.context() as patch:
        for name, file in write_settings(folder).items():
            patch.setenv(name, file)
        with open_lake(folder) as lakehouse:
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
    assert (model.features, model.k_reason) == (list(FEATURES), "fixed by num_clusters")
    assert model.inputs == [*FEATURES, "clicks_sum_30d"]
    assert (model.training_reason, model.decision, model.champion_from) == ("first", CHAMPION, FIRST)
    (scores,) = model.candidates
    assert (scores.k, scores.smallest_share, scores.stability) == (3, 4 / 15, 1.0)
    assert scores.silhouette > 0.9
    assert {row.model_id for row in outcome.rows["user_segments"]} == {model.model_id}
    described = json.loads(Path(model.artifact, "model.json").read_text(encoding="utf-8"))
    assert (described["model_id"], described["features"]) == (model.model_id, list(FEATURES))


def distances_of(user: tuple[int, int, float]) -> dict[str, float]:
    """To the centroid of each segment of the first date, by numpy."""

    def prepare(*users: tuple[int, int, float]) -> Any:
        return np.array([[np.log1p(events), np.log1p(bought), rate] for events, bought, rate in users])

    trained = prepare(*ON_FIRST.values())  # every rate rests on as much: none is drawn to the mean more than another
    mean, spread = trained.mean(axis=0), trained.std(axis=0)
    (standardised,) = (prepare(user) - mean) / spread
    return {
        name: float(np.linalg.norm(standardised - ((prepare(*group.values()) - mean) / spread).mean(axis=0)))
        for name, group in (("segment 1", IDLE), ("researchers", SEEKERS), ("buyers", BUYERS))
    }


def test_the_distance_is_euclidean_in_features_standardised_as_in_training(outcome: Outcome) -> None:
    for day, users in ((FIRST, ON_FIRST), (SECOND, ON_SECOND)):
        names = segment_of(outcome, day)
        expected = {user: distances_of(values)[names[user]] for user, values in users.items()}
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
    assert main(["--approve", "any", "--output-path", str(tmp_path)]) == 1
    assert "nothing was trained yet that could be approved or rejected" in capsys.readouterr().err


@pytest.fixture(scope="module")
def scored_lakehouse(outcome: Outcome) -> Iterator[Lakehouse]:
    """The lakehouse after the runs, open; its model goes on whatever the date."""
    with open_lake(outcome.lake) as lakehouse:
        training = lakehouse.settings.pipeline.segmentation.training
        configure(lakehouse, training=dataclasses.replace(training, every_days=9_999))
        yield lakehouse


@pytest.fixture
def lake_of_groups(scored_lakehouse: Lakehouse) -> Iterator[Lakehouse]:
    """The same lakehouse; a test may give it other settings."""
    before = scored_lakehouse.settings
    yield scored_lakehouse
    scored_lakehouse.settings = before


def test_auto_tries_every_candidate_and_finds_the_three_groups(lake_of_groups: Lakehouse) -> None:
    configure(lake_of_groups, num_clusters="auto")
    features = features_frame(lake_of_groups.spark, ON_FIRST, FIRST)
    settings = lake_of_groups.settings.pipeline.segmentation
    model, _ = train_model(features, FIRST, "first", settings, lake_of_groups.models_path)
    assert (model.k, [scores.k for scores in model.candidates]) == (3, [2, 3, 4])
    assert model.k_reason.startswith("silhouette ")


def test_of_few_users_the_larger_k_are_not_tried_and_the_reason_says_so(
    lake_of_groups: Lakehouse, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(lake_of_groups, num_clusters="auto")
    features = features_frame(lake_of_groups.spark, SEEKERS, FIRST)  # five, none of whom bought anything
    settings = lake_of_groups.settings.pipeline.segmentation
    model, _ = train_model(features, FIRST, "first", settings, lake_of_groups.models_path)
    assert [scores.k for scores in model.candidates] == [2]
    assert model.k_reason.endswith("; too few users for k = 3, 4")
    assert "2025-04-01: purchases_sum_30d is left out: it is the same for all users" in capsys.readouterr().err


def test_the_order_of_the_users_changes_no_digit_of_the_centroids(lake_of_groups: Lakehouse) -> None:
    features = features_frame(lake_of_groups.spark, ON_FIRST, FIRST)
    settings = lake_of_groups.settings.pipeline.segmentation
    centers = []
    for frame in (features, features.repartition(3).sortWithinPartitions("events_sum_30d")):
        _, pipeline = train_model(frame, FIRST, "first", settings, lake_of_groups.models_path)
        centers.append([list(center) for center in cast(KMeansModel, pipeline.stages[-1]).clusterCenters()])
    assert centers[0] == centers[1]


def test_a_range_that_ends_before_it_begins_is_refused(scored_lakehouse: Lakehouse) -> None:
    with pytest.raises(SegmentationError, match="--end-date 2025-04-01 lies before --start-date 2025-04-02"):
        choose_dates(parse_arguments(["--start-date", "2025-04-02", "--end-date", "2025-04-01"]), scored_lakehouse)


def test_a_date_without_users_is_named_with_the_job_to_run(scored_lakehouse: Lakehouse) -> None:
    arguments = parse_arguments(["--start-date", "2025-04-09"])
    with pytest.raises(SegmentationError, match=r"no users on 2025-04-09; run transform_clickstream for it first"):
        choose_dates(arguments, scored_lakehouse)


@pytest.mark.parametrize(
    ("users", "said"),
    [
        (BUYERS, "4 users with 1 sessions or more are too few for 3 clusters"),
        ({"only": (1, 0, 0.0)}, "1 users with 1 sessions or more are too few for 3 clusters"),
        ({f"same{n}": (5, 1, 0.5) for n in range(9)}, "the 9 users with enough history are all equal"),
    ],
    ids=["fewer than twice k", "one", "all equal"],
)
def test_users_who_cannot_be_clustered_are_all_new_and_it_is_said_why(
    lake_of_groups: Lakehouse, capsys: pytest.CaptureFixture[str], users: dict[str, Any], said: str
) -> None:
    lake, day = lake_of_groups, date(2025, 1, 1)  # before any model
    rebuild_features(lake, day, users=users)
    (report,) = [found for found in segment_dates(lake, [day]) if found["date"] == str(day)]
    assert report == {"date": "2025-01-01", "model": None, "segments": {"new": len(users)}}
    assert f"2025-01-01: no model was trained: {said}; all are new until there are" in capsys.readouterr().err
    rows = lake.main.read_dates(USER_SEGMENTS, day, day).collect()
    assert {(row.segment_id, row.segment_name, row.distance_to_centroid, row.model_id) for row in rows} == {
        (0, "new", None, None)
    }
    (profile,) = lake.main.read_dates(SEGMENT_PROFILES, day, day).collect()
    assert (profile.users, profile.story.startswith("We hardly know them.")) == (len(users), True)


def test_a_model_goes_on_where_there_are_too_few_users_for_another(
    lake_of_groups: Lakehouse, capsys: pytest.CaptureFixture[str]
) -> None:
    lake, day = lake_of_groups, date(2025, 6, 1)
    rebuild_features(lake, day, users=BUYERS)
    reports = [found for found in segment_dates(lake, [day], must_train=True) if found["date"] == str(day)]
    champion = first_model(lake).model_id
    assert reports == [{"date": "2025-06-01", "model": champion, "segments": {"buyers": len(BUYERS)}}]
    said = "2025-06-01: no model was trained: 4 users with 1 sessions or more are too few for 3 clusters"
    assert f"{said}; {champion} goes on" in capsys.readouterr().err


def test_a_value_that_is_no_number_is_refused_under_a_model_too_and_the_date_keeps_its_segments(
    lake_of_groups: Lakehouse,
) -> None:
    lake, day = lake_of_groups, date(2025, 6, 2)
    rebuild_features(lake, day)
    assert score(lake, day) == ["06-02"]
    before = sorted(lake.main.read_dates(USER_SEGMENTS, day, day).collect())
    for value in ("nan", "inf", "-inf"):
        rebuild_features(lake, day, users=ON_FIRST | {"seek0": (20, 0, float(value))})
        bad = r"2025-06-02: NaN or infinite: search_rate_30d of 1 users; .*06-02"
        with pytest.raises(SegmentationError, match=bad):
            score(lake, day)
    assert sorted(lake.main.read_dates(USER_SEGMENTS, day, day).collect()) == before
    rebuild_features(lake, day)
    assert score(lake, day) == ["06-02"]


def test_a_feature_that_no_user_has_a_value_of_is_told(
    lake_of_groups: Lakehouse, capsys: pytest.CaptureFixture[str]
) -> None:
    lake, day = lake_of_groups, date(2025, 6, 3)
    without = features_frame(lake.spark, ON_FIRST, day).withColumn("price_level_mean_30d", F.lit(None).cast("double"))
    lake.replace_dates(USER_FEATURES, without, [day])
    read_features(lake.main, read_tombstones(lake), day, ("events_sum_30d", "price_level_mean_30d"))
    said = capsys.readouterr().err
    assert said == "2025-06-03: price_level_mean_30d has no value for any user: all of them count as average in it\n"


def test_users_with_too_little_history_are_new_and_do_not_move_a_centroid(lake_of_groups: Lakehouse) -> None:
    lake, day = lake_of_groups, date(2024, 12, 1)
    strange = features_frame(lake.spark, {f"odd{n}": (10_000, 900, 1.0) for n in range(5)}, day)
    both = features_frame(lake.spark, ON_FIRST, day).union(strange.withColumn("sessions_sum_30d", F.lit(0)))
    lake.replace_dates(USER_FEATURES, both.select(*USER_FEATURES.column_names), [day])
    score(lake, day)
    segments = {row.user_id: row.segment_name for row in lake.main.read_dates(USER_SEGMENTS, day, day).collect()}
    assert segments == dict.fromkeys(IDLE, "segment 1") | dict.fromkeys(SEEKERS, "researchers") | dict.fromkeys(
        BUYERS, "buyers"
    ) | {f"odd{n}": "new" for n in range(5)}
    (model,) = [model for model in read_models(lake) if model.trained_on == day]
    assert model.users == len(ON_FIRST)


def test_an_unknown_feature_is_named_with_the_file_that_asks_for_it(scored_lakehouse: Lakehouse) -> None:
    with pytest.raises(SegmentationError, match=r"user_features has no column clicks_30d; see .* pipeline\.yaml"):
        read_features(scored_lakehouse.main, read_tombstones(scored_lakehouse), FIRST, ("events_sum_30d", "clicks_30d"))


def test_a_date_that_was_built_before_there_was_a_feature_is_named_with_the_command_that_builds_it_again(
    scored_lakehouse: Lakehouse,
) -> None:
    lake, day = scored_lakehouse, date(2024, 11, 1)
    old = features_frame(lake.spark, ON_FIRST, day).withColumn("tablet_share_30d", F.lit(None).cast("double"))
    lake.replace_dates(USER_FEATURES, old, [day])
    with pytest.raises(
        SegmentationError, match=r"2024-11-01: tablet_share_30d has no value: .*--start-date 2024-11-01"
    ):
        read_features(lake.main, read_tombstones(lake), day, ("events_sum_30d", "tablet_share_30d"))


def test_what_never_happened_is_as_long_ago_as_the_window_is_long(scored_lakehouse: Lakehouse) -> None:
    lake, day = scored_lakehouse, date(2024, 11, 2)
    never = features_frame(lake.spark, IDLE, day).withColumn("days_since_last_purchase", F.lit(None).cast("double"))
    lake.replace_dates(USER_FEATURES, never, [day])
    rows = read_features(lake.main, read_tombstones(lake), day, ("days_since_last_purchase",)).collect()
    assert {row.days_since_last_purchase for row in rows} == {30.0}


def test_a_model_without_its_artifact_is_named_with_the_path(scored_lakehouse: Lakehouse) -> None:
    model = dataclasses.replace(first_model(scored_lakehouse), artifact=f"{scored_lakehouse.models_path}/gone")
    with pytest.raises(ModelError) as error:
        load_pipeline(model)
    assert str(error.value).startswith(
        f"model {model.model_id}: {model.artifact} cannot be loaded; restore it, or delete its row of model_runs to "
        "train anew: "
    )


def test_a_model_that_reads_other_features_than_recorded_is_refused(scored_lakehouse: Lakehouse) -> None:
    model = dataclasses.replace(first_model(scored_lakehouse), features=("events_sum_30d",))
    with pytest.raises(
        ModelError, match=r"reads events_sum_30d, purchases_sum_30d, search_rate_30d, but model_runs say"
    ):
        load_pipeline(model)


def first_model(lakehouse: Lakehouse) -> TrainedModel:
    """The one that was trained on the first date."""
    (model,) = [model for model in read_models(lakehouse) if model.trained_on == FIRST]
    return model


LOADED: dict[str, PipelineModel] = {}  # as one process has it that scores many dates


def score(lakehouse: Lakehouse, *days: date, is_forced: bool = False) -> list[str]:
    """Runs the job for the days; returns which were scored, in order."""
    return [str(report["date"])[5:] for report in segment_dates(lakehouse, days, is_forced=is_forced, loaded=LOADED)]


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

    rebuilt = list[date]()

    def read_first_then_rebuild(view: View, tombstones: Tombstones, day: date, *arguments: Any) -> DataFrame:
        frame = read_features(view, tombstones, day, *arguments)
        if day == days[0] and not rebuilt:
            rebuilt.append(day)
            rebuild_features(lake, *days)
        return frame

    with monkeypatch.context() as patched:
        patched.setattr(user_segmentation_ml, "read_features", read_first_then_rebuild)
        assert score(lake, *days) == ["06-01", "06-02"]
    assert find_outdated_segments(lake) == set(days)
    assert score(lake, days[1]) == ["06-01", "06-02"]


def test_a_range_of_dates_loads_no_champion_twice(scored_lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    lake, days = scored_lakehouse, [date(2025, 6, day) for day in (11, 12, 13)]
    rebuild_features(lake, *days)
    loaded = list[str]()
    LOADED.clear()

    def load_and_count(model: TrainedModel) -> PipelineModel:
        loaded.append(model.model_id)
        return load_pipeline(model)

    with monkeypatch.context() as patched:
        patched.setattr(user_segmentation_ml, "load_pipeline", load_and_count)
        assert score(lake, *days) == ["06-11", "06-12", "06-13"]
    assert len(loaded) == len(set(loaded))
    last = lake.main.read_dates(USER_SEGMENTS, days[2], days[2]).where("model_id IS NOT NULL").collect()
    assert {row.model_id for row in last} <= set(loaded)
    assert last


def test_another_champion_is_loaded_in_the_place_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_segmentation_ml, "load_pipeline", lambda model: f"pipeline of {model.model_id}")
    one, other = (SimpleNamespace(model_id=name) for name in ("one", "other"))
    loaded: dict[str, Any] = {}
    found: list[Any] = [load_once(cast(TrainedModel, model), loaded) for model in (one, one, other)]
    assert found == ["pipeline of one", "pipeline of one", "pipeline of other"]
    assert loaded == {"other": "pipeline of other"}


def test_a_date_that_is_scored_late_is_the_history_of_those_after_it(scored_lakehouse: Lakehouse) -> None:
    lake, days = scored_lakehouse, [date(2025, 7, day) for day in (1, 2, 3)] + [date(2025, 7, 31)]
    rebuild_features(lake, *days)
    score(lake, days[0])
    score(lake, *days[2:])
    assert lake.main.read_dates(USER_SEGMENTS, days[2], days[2]).where("previous_segment_id IS NOT NULL").isEmpty()
    assert score(lake, days[1]) == ["07-02", "07-03"]
    after = lake.main.read_dates(USER_SEGMENTS, days[2], days[2]).collect()
    assert {row.previous_segment_id == row.segment_id for row in after} == {True}
    assert {row.segment_since for row in after} == {days[0]}
    assert score(lake, days[1]) == ["07-02"]


def test_other_segments_of_a_date_are_the_history_of_the_next_one(lake_of_groups: Lakehouse) -> None:
    lake, days = lake_of_groups, [date(2025, 7, day) for day in (11, 12)]
    rebuild_features(lake, *days)
    score(lake, *days)
    configure(lake, num_clusters=2)
    report = next(segment_dates(lake, days[:1], must_train=True))  # and killed before it goes on
    assert find_outdated_histories(lake) == {days[1]}
    assert score(lake, days[0]) == ["07-11", "07-12"]  # the one that is asked for, and what the killed run left
    assert find_outdated_histories(lake) == set()
    assert score(lake, days[0]) == ["07-11"]
    first, second = (
        {row.user_id: row for row in lake.main.read_dates(USER_SEGMENTS, day, day).collect()} for day in days
    )
    assert {row.model_id for row in first.values()} == {report["model"]}
    assert {user: row.previous_segment_id for user, row in second.items()} == {
        user: row.segment_id for user, row in first.items()
    }
    moves = lake.main.read_dates(SEGMENT_TRANSITIONS, days[1], days[1]).collect()
    assert {row.from_segment_id for row in moves} == {row.segment_id for row in first.values()}


BETWEEN = (8, 0, 0.4)  # nearer to the researchers than to segment 1, in which the idle are, by 7 % of the distance


def test_who_lies_between_two_segments_stays_in_the_one_of_the_date_before(lake_of_groups: Lakehouse) -> None:
    lake, days = lake_of_groups, [date(2025, 4, day) for day in (21, 22, 23)]
    distances = distances_of(BETWEEN)
    assert 0.9 < distances["researchers"] / distances["segment 1"] < 0.95

    def between() -> list[str]:
        """The user's segment on each date, with the distance to its centroid."""
        rows = (
            lake.main.read_dates(USER_SEGMENTS, days[0], days[-1]).where("user_id = 'between'").orderBy("snapshot_date")
        )
        found = [(row.segment_name, row.distance_to_centroid) for row in rows.collect()]
        assert [far for _, far in found[-2:]] == pytest.approx([distances[name] for name, _ in found[-2:]])
        return [name for name, _ in found]

    rebuild_features(lake, days[0], users=ON_FIRST | {"between": IDLE["idle2"]})
    rebuild_features(lake, *days[1:], users=ON_FIRST | {"between": BETWEEN})
    score(lake, *days)
    assert between() == ["segment 1", "segment 1", "segment 1"]
    moves = lake.main.read_dates(SEGMENT_TRANSITIONS, days[1], days[2])
    assert moves.where("NOT from_segment_id <=> to_segment_id").isEmpty()
    # Who was somebody else on the first date, or nobody, is so on the later ones.
    rebuild_features(lake, days[0], users=ON_FIRST | {"between": SEEKERS["seek2"]})
    assert score(lake, days[0]) == ["04-21", "04-22", "04-23"]
    assert between() == ["researchers", "researchers", "researchers"]
    rebuild_features(lake, days[0])
    score(lake, days[0], is_forced=True)
    assert between() == ["researchers", "researchers"]
    configure(lake, min_distance_gain=0.05)
    rebuild_features(lake, days[0], users=ON_FIRST | {"between": IDLE["idle2"]})
    assert score(lake, days[0]) == ["04-21", "04-22"]  # on which the user is a researcher from that date on, as before
    assert between() == ["segment 1", "researchers", "researchers"]


def test_the_cluster_of_the_day_before_is_found_by_its_segment(spark: SparkSession) -> None:
    points = spark.createDataFrame([(Vectors.dense(x),) for x in (0.0, 10.0)], ["scaled"])
    kmeans = KMeans(k=2, seed=1, featuresCol="scaled", predictionCol="cluster").fit(points)
    low, high = sorted(range(2), key=lambda cluster: kmeans.clusterCenters()[cluster][0])
    segments = (Segment(low, 7, "low"), Segment(high, 2, "high"))
    fitted = (cast(TrainedModel, SimpleNamespace(segments=segments)), PipelineModel([kmeans]))
    cases = [
        # x, segment of the day before, segment
        (5.2, 7, 7),  # 4.8 to the other one: not a tenth less
        (5.2, 2, 2),
        (4.8, 2, 2),
        (5.4, 7, 2),  # 4.6: more than a tenth less
        (5.2, 5, 2),  # a segment that has vanished
        (5.2, 0, 2),  # was new
        (5.2, None, 2),  # was not there
        (4.8, None, 7),
    ]
    users = spark.createDataFrame([(Vectors.dense(x), was) for x, was, _ in cases], ["scaled", "previous_segment_id"])
    kept = kmeans.transform(users).select(keep_cluster(fitted, 0.1).alias("kept")).collect()
    assert [row.kept for row in kept] == [low if expected == 7 else high for _, _, expected in cases]


def replace_by_hand(lake: Lakehouse, day: date) -> None:
    rows = lake.main.read_dates(USER_SEGMENTS, day, day).withColumn("segment_id", F.lit(1))
    lake.replace_dates(USER_SEGMENTS, lake.spark.createDataFrame(rows.collect(), rows.schema), [day])


def take_back(lake: Lakehouse, day: date) -> None:
    roll_back(lake, USER_SEGMENTS, day, None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (take_back, "the segments of 2025-04-25 have changed meanwhile"),
        (
            replace_by_hand,
            "user_segments was changed by another run between 2025-04-25 and 2025-04-26",
        ),
    ],
)
def test_segments_of_the_date_before_that_change_under_a_run_stop_it(
    lake_of_groups: Lakehouse, monkeypatch: pytest.MonkeyPatch, change: Any, said: str
) -> None:
    lake, days = lake_of_groups, [date(2025, 4, day) for day in (25, 26)]
    for table in (USER_SEGMENTS, SEGMENT_PROFILES, SEGMENT_TRANSITIONS):
        lake.replace_dates(table, lake.main.read_dates(table, days[1], days[1]).limit(0), days[1:])
    rebuild_features(lake, *days)
    score(lake, days[0])
    rebuild_features(lake, days[0], users=ON_SECOND)
    score(lake, days[0])

    def change_the_date_before(*_: Any, **__: Any) -> None:
        change(lake, days[0])

    with monkeypatch.context() as patched:
        patched.setattr(user_segmentation_ml, "train_if_due", change_the_date_before)
        with pytest.raises(ConcurrentCommitError, match=said):
            score(lake, days[1])
    tables = (SEGMENT_TRANSITIONS, SEGMENT_PROFILES, USER_SEGMENTS)
    assert not any(days[1] in lake.main.count_rows(table) for table in tables)  # nothing is published
    assert score(lake, *days) == ["04-25", "04-26"]


def test_a_date_follows_the_one_before_also_when_the_snapshots_of_its_scoring_have_expired(
    lake_of_groups: Lakehouse,
) -> None:
    lake, days = lake_of_groups, [date(2025, 5, day) for day in (11, 12, 13, 14)]
    rebuild_features(lake, *days[:3])
    score(lake, *days[:3])
    rebuild_features(lake, days[3])  # that is the snapshot that stays, and nothing of it is scored
    for table in (USER_FEATURES, USER_SEGMENTS):  # as maintenance does
        expire_snapshots(lake, table, datetime.now(UTC))
        assert len(list(lake.list_history(table))) == 1
    assert find_outdated_histories(lake) == set()
    rebuild_features(lake, days[0], users=ON_SECOND)
    assert score(lake, days[0]) == ["05-11", "05-12", "05-13"]


def test_a_date_that_was_rolled_back_stays_so_and_the_next_one_follows_it(lake_of_groups: Lakehouse) -> None:
    lake, days = lake_of_groups, [date(2025, 5, day) for day in (21, 22)]

    def previous_segments() -> dict[str, int | None]:
        rows = lake.main.read_dates(USER_SEGMENTS, days[1], days[1]).collect()
        return {row.user_id: row.previous_segment_id for row in rows}

    rebuild_features(lake, *days)
    score(lake, *days)
    scored_at = lake.ensure_snapshot(USER_SEGMENTS)
    first, before = sorted(lake.main.read_dates(USER_SEGMENTS, days[0], days[0]).collect()), previous_segments()
    rebuild_features(lake, days[0], users=ON_SECOND)
    next(segment_dates(lake, days[:1]))
    halfway = lake.ensure_snapshot(USER_SEGMENTS)  # of a run that dies here
    assert score(lake) == ["05-22"]
    assert previous_segments() != before
    roll_back(lake, USER_SEGMENTS, days[0], None)
    assert find_outdated_histories(lake) == {days[1]}
    assert score(lake) == ["05-22"]
    assert sorted(lake.main.read_dates(USER_SEGMENTS, days[0], days[0]).collect()) == first
    assert previous_segments() == before
    assert find_outdated_histories(lake) == set()
    # The table before all that held two dates that fit each other, and what it held of them nobody has to do again.
    roll_back(lake, USER_SEGMENTS, None, scored_at)
    assert find_outdated_histories(lake) == set()
    roll_back(lake, USER_SEGMENTS, None, halfway)
    assert find_outdated_histories(lake) == {days[1]}
    assert score(lake) == ["05-22"]
    assert find_outdated_histories(lake) == set()


def test_the_date_after_one_that_goes_back_to_what_nobody_has_noted_follows_it(lake_of_groups: Lakehouse) -> None:
    lake, days = lake_of_groups, [date(2025, 5, day) for day in (25, 26)]
    rebuild_features(lake, *days)
    score(lake, *days)
    rebuild_features(lake, days[0], users=ON_SECOND)
    score(lake, days[0])
    target = lake.ensure_snapshot(USER_SEGMENTS)
    noted = json.loads(describe_rollback(lake, [days[0]], target, is_whole_table=False)[DIGESTS.key])
    assert noted[str(days[0])] == [read_noted_digest(lake, days[0]), "none"]
    never = date(2025, 5, 27)
    unknown = json.loads(describe_rollback(lake, [never], target, is_whole_table=True)[DIGESTS.key])
    assert unknown == {str(never): [f"as of {target}", "none"]}


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
    assert lake.main.count_rows(USER_SEGMENTS)[before] == len(many)
    assert lake.find_note(USER_SEGMENTS, LEFT_OUTDATED) == [before]
    with pytest.raises(AuditError, match=r"user_segments 2025-08-01: 15 rows instead of 75"):
        score(lake, before)
    known = read_models(lake)
    with pytest.raises(AuditError):
        list(segment_dates(lake, [before], must_train=True))
    assert read_models(lake) == known  # what was trained on refused users is no model
    assert score(lake, before, is_forced=True) == ["08-01", "08-02"]


def test_outdated_dates_outlive_the_snapshots_that_named_them(scored_lakehouse: Lakehouse) -> None:
    lake, day = scored_lakehouse, date(2025, 9, 1)
    rebuild_features(lake, day)
    score(lake, day)
    keep_outdated_segments(lake)
    assert lake.find_note(USER_FEATURES, REBUILT_SNAPSHOTS) == [day]  # that of its publication
    rebuild_features(lake, day)
    rebuild_features(lake, date(2025, 9, 2))
    keep_outdated_segments(lake)
    call(lake, "expire_snapshots", USER_FEATURES, older_than=timestamp(datetime.now(UTC)), retain_last="1")
    assert find_outdated_segments(lake) == {day}
