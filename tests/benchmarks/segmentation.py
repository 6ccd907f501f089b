"""What the segments are worth and what they cost: `make bench-segmentation`.

- worth: adjusted Rand index between the generator's personas and K-Means on 30 days of 20,000 users, beside
  scikit-learn's KMeans on the same vectors;
- cost: a model of every feature there is, k = 3..8 from all seeds, on a million users (those 20,000 again and again,
  each number a little different), in the job's memory, beside scikit-learn's MiniBatchKMeans on the same file.

scikit-learn's part of the second comparison is less work: it prepares by log1p and standardising alone, and measures
its silhouettes on a sample, because all pairs of a million users are too many.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table
from sklearn.cluster import KMeans, MiniBatchKMeans  # type: ignore[import-untyped]
from sklearn.metrics import adjusted_rand_score, silhouette_score  # type: ignore[import-untyped]
from sklearn.preprocessing import StandardScaler  # type: ignore[import-untyped]

import config
from config.loader import PROJECT_ROOT, Segmentation
from infra.local.class_archive import class_path_variables
from infra.local.java import find_java_home
from spark_jobs.lake.lakehouse import Lakehouse, open_lakehouse
from spark_jobs.lake.tables import LONGEST_WINDOW_DAYS, USER_FEATURES
from spark_jobs.segment_preparation import collect_scaled
from spark_jobs.segment_training import train_model
from tests.benchmarks.generated_features import generate, read_features, read_personas, write_daily_activity
from tests.benchmarks.measurement import Measurement, StageError, measure

FIRST = dt.date(2025, 4, 1)
DAYS = 30
LAST = FIRST + dt.timedelta(days=DAYS - 1)
USERS, EVENTS = 20_000, 150_000
SAMPLE = 20_000
JITTER = 0.05  # standard deviation of the log of the factor by which a number differs
STEPS = ("generate", "worth", "multiply", "spark", "scikit-learn")


def every_feature(settings: Segmentation) -> Segmentation:
    """All numbers of user_features: rates and means rest on the events, the rest is logged."""
    numbers = [column.name for column in USER_FEATURES.columns if column.type in ("BIGINT", "DOUBLE")]
    rates = [name for name in numbers if "_rate_" in name or "_share_" in name or "price_level" in name]
    return dataclasses.replace(
        settings,
        log_features=tuple(name for name in numbers if name not in rates),
        rate_features=dict.fromkeys(rates, "events_sum_30d"),
        min_sessions=0,
    )


def generate_users(lakehouse: Lakehouse, folder: Path) -> None:
    write_daily_activity(lakehouse.spark, generate(FIRST, DAYS, events=EVENTS, users=USERS), folder)
    read_features(lakehouse.spark, folder, [LAST]).write.parquet(str(folder / "features"))


def measure_worth(lakehouse: Lakehouse, folder: Path) -> None:
    """Ours with k chosen, scikit-learn's with the same k on the same vectors."""
    settings = lakehouse.settings.pipeline.segmentation
    features = lakehouse.spark.read.parquet(str(folder / "features"))
    known = features.where(f"sessions_sum_30d >= {settings.min_sessions}").persist()
    started = time.monotonic()
    model, pipeline = train_model(known, LAST, "first", settings, str(folder))
    seconds = time.monotonic() - started
    scored = pipeline.transform(known).select("user_id", "scaled", "cluster").persist()
    persona = read_personas(FIRST, USERS)
    rows = scored.select("user_id", "cluster").collect()
    truth = [persona[row.user_id] for row in rows]
    ours = adjusted_rand_score(truth, [row.cluster for row in rows])
    theirs = adjusted_rand_score(
        truth, KMeans(model.k, n_init=settings.num_seeds, random_state=0).fit_predict(collect_scaled(scored))
    )
    print(f"{len(rows):,} users, k = {model.k} ({model.k_reason}), trained in {seconds:.0f} s")
    print(f"adjusted Rand index with the personas: ours {ours:.3f}, scikit-learn's KMeans {theirs:.3f}")


def multiply_users(lakehouse: Lakehouse, folder: Path, users: int) -> None:
    """`users` rows of which no two are equal; what is a share stays one."""
    features = lakehouse.spark.read.parquet(str(folder / "features"))
    copies = features.crossJoin(lakehouse.spark.range(-(-users // features.count())).withColumnRenamed("id", "copy"))

    def vary(name: str, number: int) -> Column:
        value = F.coalesce(F.col(name).cast("double"), F.lit(float(LONGEST_WINDOW_DAYS)))
        varied = value * F.exp(JITTER * F.randn(number))
        return F.least(varied, F.lit(1.0)) if "_rate_" in name or "_share_" in name else varied

    columns = [
        vary(column.name, number).alias(column.name)
        if column.type in ("BIGINT", "DOUBLE") and column.name != "events_sum_30d"
        else F.col(column.name)
        for number, column in enumerate(USER_FEATURES.columns)
        if column.name != "user_id"
    ]
    user_id = F.concat_ws("-", "user_id", "copy").alias("user_id")
    rows: DataFrame = copies.select(user_id, *columns).limit(users)
    rows.repartition(8).write.parquet(str(folder / "million"))


def train_on_all(lakehouse: Lakehouse, folder: Path) -> None:
    settings = every_feature(lakehouse.settings.pipeline.segmentation)
    features = lakehouse.spark.read.parquet(str(folder / "million")).withColumn(
        "events_sum_30d", F.col("events_sum_30d").cast("double")
    )
    model, _ = train_model(features, LAST, "first", settings, str(folder))
    print(f"{model.users:,} users, {len(model.features)} features, k = {model.k}: {model.k_reason}")


def train_with_scikit_learn(folder: Path, settings: Segmentation) -> None:
    wide = every_feature(settings)
    table = pq.read_table(folder / "million", columns=list(wide.features))
    matrix = np.column_stack([np.nan_to_num(table.column(name).to_numpy()) for name in wide.features])
    matrix[:, : len(wide.log_features)] = np.log1p(np.maximum(matrix[:, : len(wide.log_features)], 0))
    matrix = StandardScaler().fit_transform(matrix)
    sample = matrix[:: max(1, len(matrix) // SAMPLE)]
    best = 0, -1.0
    for k in settings.choice.candidates:
        model = MiniBatchKMeans(k, n_init=settings.num_seeds, random_state=settings.seed, batch_size=4096).fit(matrix)
        silhouette = silhouette_score(sample, model.predict(sample), metric="sqeuclidean")
        best = max(best, (k, silhouette), key=lambda found: found[1])
    print(f"{len(matrix):,} users, {matrix.shape[1]} features, k = {best[0]}: silhouette {best[1]:.3f}")


def run_step(step: str, folder: Path, users: int) -> None:
    settings = config.load("local")
    if step == "scikit-learn":
        train_with_scikit_learn(folder, settings.pipeline.segmentation)
        return
    with open_lakehouse(f"bench {step}", settings, output_path=str(folder / "lake")) as lakehouse:
        steps = {"generate": generate_users, "worth": measure_worth, "spark": train_on_all}
        if step == "multiply":
            multiply_users(lakehouse, folder, users)
        else:
            steps[step](lakehouse, folder)


def measure_step(step: str, folder: Path, users: int) -> Measurement:
    """In a process of its own, with the memory of the daily job."""
    spark = config.load("local").environment.spark
    environment = os.environ | class_path_variables(find_java_home()) | {
        "SPARK_DRIVER_MEMORY": spark.driver_memory,
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_SUBMIT_OPTS": f"{spark.java_options} -Dspark.ui.enabled=false -Dspark.ui.showConsoleProgress=false",
        "PYTHONPATH": str(PROJECT_ROOT),
        "PYSPARK_PYTHON": sys.executable,
    }  # fmt: skip
    bin_folder = Path(sys.executable).parent
    program = [sys.executable] if step == "scikit-learn" else [str(bin_folder / "spark-submit"), "--master", "local[2]"]
    command = [*program, str(Path(__file__).resolve()), "--step", step, "--folder", str(folder), "--users", str(users)]
    return measure(step, command, environment, folder)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="segmentation", description="What the segments are worth and what they cost.")
    parser.add_argument("--users", type=int, default=1_000_000, help="of the second part (default: %(default)s)")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.step:
        run_step(arguments.step, arguments.folder, arguments.users)
        return 0
    table = Table("step", "seconds", "CPU seconds", "peak MB", "result")
    try:
        with tempfile.TemporaryDirectory() as name:
            for step in STEPS:
                found = measure_step(step, Path(name), arguments.users)
                table.add_row(
                    step,
                    f"{found.seconds:.0f}",
                    f"{found.cpu_seconds:.0f}",
                    f"{found.peak_mb:,.0f}",
                    found.output.strip(),
                )
                print(f"{step}: {found.seconds:.0f} s", flush=True)
    except StageError as error:
        print(error, file=sys.stderr)
        return 1
    Console(width=140).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
