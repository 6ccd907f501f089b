"""user_features -> the standardised vector on which K-Means runs; fitted on a date, saved with the model.

Counts and money: log1p. Rates: drawn to the mean of all users, the more so the fewer events they rest on (empirical
Bayes; Efron and Morris 1975): a user with two sessions has a rate of 0 or 1 by chance. The spread between users and
that by chance come from one regression: a rate's squared distance from the mean is (spread between users) + (spread by
chance) / (events that it rests on). Then all are winsorised at trained quantiles and standardised. What is the same for
all users, or says what another feature says, or differs by no more than chance is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pyspark.ml import PipelineModel
from pyspark.ml.feature import SQLTransformer, VectorAssembler
from pyspark.ml.functions import vector_to_array
from pyspark.ml.stat import Correlation
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from spark_jobs.errors import JobError

QUANTILE_ACCURACY = 10_000
DUPLICATE_CORRELATION = 1 - 1e-9
NEGLIGIBLE_SPREAD = 1e-9
PREFIX = "prepared_"


class PreparationError(JobError):
    """The features cannot be prepared; the message names them."""


@dataclass(frozen=True)
class Preparation:
    """`pipeline` adds the vector `scaled`, one entry for each of `features`; `dropped` says of the others why.

    `inputs` are the columns that it reads: the features, and the counts that the rates among them rest on.
    """

    pipeline: PipelineModel
    features: tuple[str, ...]
    inputs: tuple[str, ...]
    dropped: dict[str, str]


@dataclass(frozen=True)
class _Rate:
    """`spread` is the variance between users, `chance` that of a rate on one observation."""

    mean: float
    spread: float
    chance: float


def fit_preparation(
    features: DataFrame, log_features: Sequence[str], rate_features: Mapping[str, str], winsorised_share: float
) -> Preparation:
    """Fit on one row per user; `rate_features` maps a rate to the column that counts what it rests on.

    `winsorised_share` of the users at either end get the value of the quantile there. Raises PreparationError for
    values that are no finite numbers.
    """
    refuse_bad_values(features, log_features, rate_features)
    rates = _fit_rates(features, rate_features)
    dropped = {name: "differs between users by no more than chance" for name, rate in rates.items() if rate.spread <= 0}
    expressions = {name: f"log1p(greatest(`{name}`, 0))" for name in log_features}
    expressions |= {
        name: _draw_to_mean(name, rate_features[name], rate) for name, rate in rates.items() if name not in dropped
    }
    low, high = _quantiles(features, expressions, winsorised_share)
    clipped = {n: f"least(greatest({e}, {_number(low[n])}), {_number(high[n])})" for n, e in expressions.items()}
    means, spreads = _moments(features, clipped)
    for name in clipped:
        if spreads[name] <= NEGLIGIBLE_SPREAD * max(1.0, abs(means[name])):
            dropped[name] = "is the same for all users"
    scaled = {
        name: f"({clip} - {_number(means[name])}) / {_number(spreads[name])}"
        for name, clip in clipped.items()
        if name not in dropped
    }
    dropped |= _find_duplicates(features, scaled)
    kept = tuple(name for name in (*log_features, *rate_features) if name in scaled and name not in dropped)
    counts = dict.fromkeys(rate_features[name] for name in kept if name in rate_features)
    return Preparation(_build(scaled, kept), kept, tuple(dict.fromkeys([*kept, *counts])), dropped)


def refuse_bad_values(features: DataFrame, log_features: Sequence[str], rate_features: Mapping[str, str]) -> None:
    """Raises PreparationError with the number of users whose value is null, NaN or infinite; a rate may be null."""
    numbers = [*log_features, *rate_features, *rate_features.values()]
    bad = {name: F.isnan(name) | (F.abs(F.col(name)) == float("inf")) for name in numbers}
    bad |= {name: bad[name] | F.col(name).isNull() for name in (*log_features, *rate_features.values())}
    counts = features.agg(*[F.count_if(condition).alias(name) for name, condition in bad.items()]).collect()[0]
    found = [f"{name} of {counts[name]:,} users" for name in bad if counts[name]]
    if found:
        raise PreparationError(f"null, NaN or infinite: {', '.join(found)}; build these features again")


def prepared_features(pipeline: PipelineModel) -> tuple[str, ...]:
    """The features that a saved pipeline reads, in the order of `scaled`."""
    (assembler,) = [stage for stage in pipeline.stages if isinstance(stage, VectorAssembler)]
    return tuple(name.removeprefix(PREFIX) for name in assembler.getInputCols())


def collect_scaled(prepared: DataFrame) -> npt.NDArray[np.float64]:
    """The vectors `scaled` as a matrix, a row per user in the order of the frame."""
    table = prepared.select(vector_to_array(F.col("scaled")).alias("scaled")).toArrow()
    column = table.column("scaled").combine_chunks()
    width = len(column[0]) if len(column) else 0
    return np.asarray(column.flatten().to_numpy(zero_copy_only=False)).reshape(len(column), width)


def _build(scaled: Mapping[str, str], kept: tuple[str, ...]) -> PipelineModel:
    if not kept:
        return PipelineModel(stages=[])
    columns = ", ".join(f"{scaled[name]} AS {PREFIX}{name}" for name in kept)
    prepare = SQLTransformer(statement=f"SELECT *, {columns} FROM __THIS__")
    assemble = VectorAssembler(inputCols=[PREFIX + name for name in kept], outputCol="scaled")
    return PipelineModel(stages=[prepare, assemble])


def _fit_rates(features: DataFrame, rate_features: Mapping[str, str]) -> dict[str, _Rate]:
    if not rate_features:
        return {}
    rests_on = {
        name: F.when(F.col(name).isNotNull() & (F.col(count) > 0), F.col(count))
        for name, count in rate_features.items()
    }
    sums = [F.sum(F.col(name) * n) / F.sum(n) for name, n in rests_on.items()]
    means = dict(zip(rests_on, features.agg(*sums).collect()[0], strict=True))
    fits: list[Column] = []
    for name, n in rests_on.items():
        square = F.pow(F.col(name) - F.lit(means[name]), 2)
        fits += [F.regr_intercept(square, 1 / n), F.regr_slope(square, 1 / n), F.avg(F.when(n.isNotNull(), square))]
    row = features.agg(*fits).collect()[0]
    found = {}
    for position, name in enumerate(rests_on):
        intercept, slope, variance = row[3 * position : 3 * position + 3]
        if intercept is None or slope is None or slope <= 0:  # as many observations for everybody, or no noise to see
            found[name] = _Rate(means[name] or 0.0, variance or 0.0, 0.0)
        else:
            found[name] = _Rate(means[name], intercept, slope)
    return found


def _draw_to_mean(name: str, count: str, rate: _Rate) -> str:
    mean = _number(rate.mean)
    weight = f"if(`{count}` > 0, 1.0D, 0.0D)"
    if rate.chance:
        weight = f"`{count}` / (`{count}` + {_number(rate.chance / rate.spread)})"
    return f"coalesce({mean} + (`{name}` - {mean}) * {weight}, {mean})"


def _quantiles(
    features: DataFrame, expressions: Mapping[str, str], share: float
) -> tuple[dict[str, float], dict[str, float]]:
    if not expressions:
        return {}, {}
    ends = F.array(F.lit(share), F.lit(1 - share))
    row = features.agg(*[F.percentile_approx(F.expr(e), ends, QUANTILE_ACCURACY) for e in expressions.values()])
    pairs = dict(zip(expressions, row.collect()[0], strict=True))
    return {name: pair[0] for name, pair in pairs.items()}, {name: pair[1] for name, pair in pairs.items()}


def _moments(features: DataFrame, expressions: Mapping[str, str]) -> tuple[dict[str, float], dict[str, float]]:
    if not expressions:
        return {}, {}
    columns = [f(F.expr(e)) for e in expressions.values() for f in (F.avg, F.stddev_pop)]
    row = features.agg(*columns).collect()[0]
    return dict(zip(expressions, row[::2], strict=True)), dict(zip(expressions, row[1::2], strict=True))


def _find_duplicates(features: DataFrame, scaled: Mapping[str, str]) -> dict[str, str]:
    """Of two features that go together perfectly, or against each other, the later one and its reason."""
    names = tuple(scaled)
    if len(names) < 2:
        return {}
    prepared = _build(scaled, names).transform(features)
    correlation = Correlation.corr(prepared, "scaled").collect()[0][0].toArray()
    dropped: dict[str, str] = {}
    for later, name in enumerate(names):
        for earlier in range(later):
            if names[earlier] not in dropped and abs(correlation[earlier, later]) >= DUPLICATE_CORRELATION:
                dropped[name] = f"says what {names[earlier]} says"
                break
    return dropped


def _number(value: float) -> str:
    """Spark SQL's literal of a double, to the last digit."""
    if not math.isfinite(value):
        raise PreparationError(f"a fitted constant is {value}")
    return f"{value!r}D" if value >= 0 else f"({value!r}D)"
