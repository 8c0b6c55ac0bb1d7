"""What the live model gains: on the real data, by set of live features, and on dense synthetic kitchens.

    python -m benchmarks.live_model            both tables
    python -m benchmarks.live_model --json     one JSON document instead of the tables

On the real data, `quantile` is fitted as of June 10 and as of June 17 with each set of live features, and predicts the
following week, with the mean of three seeds. The candidates are computed from the orders before each acknowledgement.
The standard error of the difference to no live features is paired by day.

The synthetic kitchens have about ten orders per hour and restaurant. Their labels have a known distribution, so there's
a lowest possible error: that of the true median given the open orders. Ready times that were recorded wrongly aren't
evaluated.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.real_data import REAL_DATA
from preptime.domain.orders import MEDIAN_INDEX
from preptime.domain.timestamps import SECONDS_PER_DAY
from preptime.errors import PreptimeError
from preptime.evaluation.paired import paired_difference
from preptime.features.kitchen import LIVE_FEATURES, OPEN_SECONDS
from preptime.features.restaurant_index import RestaurantIndex
from preptime.models.quantile import QuantileModel
from preptime.sources.registry import open_source
from preptime.synthetic import SynthesisPlan, synthesize_frames
from preptime.training.as_of_features import FeatureMatrix, build_feature_matrix
from preptime.training.fitting import fitted_rows
from preptime.training.training_data import ONE_DAY, TrainingData, day_number
from preptime.validation.audit import AuditedOrders, audit_orders
from preptime.validation.restaurants import read_restaurants

WEEKS = (dt.date(2015, 6, 10), dt.date(2015, 6, 17))
SEEDS = (12, 13, 14)
DENSE = SynthesisPlan(orders=120_000, restaurants=60, days=21)
OPEN_HOURS, RATES, MIN_DAYS = 9, (6.0, 15.0), 18
"""The restaurants that are evaluated: those with 6 to 15 orders per open hour that exist nearly from the first day."""
SETS: tuple[tuple[str, ...], ...] = (
    (),
    ("open_orders",),
    ("recent_residual",),
    ("open_orders", "recent_residual"),
    ("open_orders", "open_items"),
    ("open_orders", "overdue_seconds"),
    ("open_orders", "overdue_seconds", "recent_residual"),
    ("open_orders", "last_prep", "seconds_since_ready", "recent_residual"),
    (
        *("open_orders", "open_items", "oldest_age", "newest_age", "overdue_seconds", "longest_overdue"),
        *("completed_today", "residual_today", "residual_90_minutes", "last_prep", "seconds_since_ready"),
        *("recent_residual", "last_residual"),
    ),
)


class FeatureSetResult(msgspec.Struct, frozen=True):
    """The error of the p50 with one set of live features, in seconds."""

    features: tuple[str, ...]
    mae: float
    difference: float
    standard_error: float
    mae_2_or_more_open: float


class DenseResult(msgspec.Struct, frozen=True):
    """Mean absolute errors on dense synthetic kitchens, in seconds."""

    orders: int
    default: float
    live: float
    only_number: float
    """The live model with only the number of open orders."""
    known_load: float
    """The true median given the open orders: the lowest possible error."""

    @property
    def gained_share(self) -> float:
        """The share of the possible gain that the live model reaches."""
        return (self.default - self.live) / (self.default - self.known_load)


class LiveModelDocument(msgspec.Struct, frozen=True):
    """The document of `--json`."""

    real: list[FeatureSetResult]
    only_number_mae: float
    """The error with both live features, if callers send only the number of open orders."""
    dense: DenseResult


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args(argv)
    try:
        real, only_number = measure_feature_sets(read_real_data())
    except PreptimeError as error:
        print(f"{error} Set PREPTIME_REAL_DATA to the folder of the real data.", file=sys.stderr)
        return 1
    document = LiveModelDocument(real, only_number, measure_dense_kitchens())
    print(msgspec.json.encode(document).decode() if arguments.json else _markdown(document))
    return 0


def read_real_data() -> FeatureMatrix:
    """Return the features of all days of the real data. Raises `DataError` if the files are missing."""
    restaurants = read_restaurants(open_source(str(REAL_DATA / "restaurants.csv")).frame())
    audited = audit_orders(open_source(str(REAL_DATA / "orders.csv")).frame(), restaurants, need_label=True)
    data = TrainingData.from_orders(audited, restaurants)
    return build_feature_matrix(data, data.first_day, data.last_day)


def measure_feature_sets(features: FeatureMatrix) -> tuple[list[FeatureSetResult], float]:
    """Return the result of each set, and the error of callers who send only the number of open orders."""
    candidates = compute_candidates(features)
    without = predict_weeks(features, np.empty((len(features), 0), np.float32))
    is_tested = without.is_tested
    opened = candidates["open_orders"][is_tested]
    day = features.data.acknowledged_day[features.rows][is_tested]
    base_errors = without.errors
    results = []
    for names in SETS:
        columns = np.column_stack([candidates[name] for name in names]) if names else np.empty((len(features), 0))
        errors = predict_weeks(features, columns.astype(np.float32)).errors if names else base_errors
        paired = paired_difference("champion", errors, base_errors, day)
        if paired is None or paired.standard_error is None:
            raise AssertionError("The weeks have no orders.")
        results.append(
            FeatureSetResult(
                names, paired.mae, paired.difference, paired.standard_error, float(errors[opened >= 2].mean())
            )
        )
    only_number = features.live.copy()
    only_number[:, 1] = 0
    return results, float(predict_weeks(features, features.live, only_number).errors.mean())


class WeekErrors(msgspec.Struct, frozen=True):
    """The absolute errors of the orders that were tested."""

    errors: NDArray[np.float64]
    is_tested: NDArray[np.bool_]


def predict_weeks(
    features: FeatureMatrix, columns: NDArray[np.float32], asked: NDArray[np.float32] | None = None
) -> WeekErrors:
    """Return the errors of the p50 with additional columns [N, K], as the mean over the seeds.

    `asked` are the columns that predictions read, if they aren't those of the fit.
    """
    data, rows = features.data, features.rows
    day, labels = data.acknowledged_day[rows], data.labels[rows]
    X = np.hstack([features.X, columns])
    X_asked = X if asked is None else np.hstack([features.X, asked])
    errors, is_tested = np.zeros(len(features)), np.zeros(len(features), np.bool_)
    for first_day in WEEKS:
        is_fitted = fitted_rows(features, first_day - ONE_DAY)
        is_week = data.is_evaluation[rows] & (day >= day_number(first_day)) & (day < day_number(first_day) + 7)
        for seed in SEEDS:
            fitted = QuantileModel().fit(X[is_fitted], labels[is_fitted], threads=1, seed=seed)
            predicted = fitted.predict(X_asked[is_week])[:, MEDIAN_INDEX]
            errors[is_week] += np.abs(predicted - labels[is_week]) / len(SEEDS)
        is_tested |= is_week
    return WeekErrors(errors[is_tested], is_tested)


def compute_candidates(features: FeatureMatrix) -> Mapping[str, NDArray[np.float64]]:
    """Return the candidates of live features by name, computed order by order."""
    data = features.data
    orders, usual = data.orders, features.lookup_seconds.astype(np.float64)
    acknowledged, ready, prep = orders.acknowledged_at, data.completed.ready_at, data.labels
    values = {name: np.zeros(len(features)) for name in SETS[-1]}
    for restaurant in np.unique(orders.restaurant_id):
        own = np.flatnonzero(orders.restaurant_id == restaurant)
        for row in own.tolist():
            candidates = _candidates_of_order(
                acknowledged[row],
                usual[row],
                (acknowledged[own], ready[own], prep[own], orders.number_of_items[own]),
            )
            for name, value in zip(SETS[-1], candidates, strict=True):
                values[name][row] = value
    names = [feature.name for feature in LIVE_FEATURES]
    return values | {name: features.live[:, names.index(name)].astype(np.float64) for name in names}


def _candidates_of_order(
    now: int,
    usual: float,
    own: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]],
) -> tuple[float, ...]:
    acknowledged, ready, prep, items = own
    is_open = (acknowledged < now) & (acknowledged > now - OPEN_SECONDS) & (ready >= now)
    ages = now - acknowledged[is_open]
    overdue = np.maximum(ages - usual, 0)
    opened = (
        (len(ages), items[is_open].sum(), ages.max(), ages.min(), overdue.sum(), overdue.max())
        if len(ages)
        else (0, 0, -1, -1, 0, 0)
    )
    midnight = now - now % SECONDS_PER_DAY
    is_done = np.flatnonzero((ready >= midnight) & (ready < now) & (prep > 0) & (prep <= OPEN_SECONDS))
    if not len(is_done):
        return (*opened, 0, 0, 0, -1, -1, 0, 0)
    done = is_done[np.lexsort((prep[is_done], ready[is_done]))]
    residual = np.log(prep[done]) - np.log(max(usual, 1.0))
    is_recent = ready[done] >= now - 5_400
    last = residual[-3:]
    return (
        *opened,
        len(done),
        residual.sum() / (len(done) + 2),
        residual[is_recent].sum() / (is_recent.sum() + 2),
        prep[done[-1]],
        now - ready[done[-1]],
        last.sum() / (len(last) + 1),
        residual[-1],
    )


def measure_dense_kitchens() -> DenseResult:
    """Fit on the first days of dense synthetic kitchens, and evaluate the last week."""
    audited, restaurants, truth = synthesize_dense_kitchens()
    data = TrainingData.from_orders(audited, restaurants)
    features = build_feature_matrix(data, data.first_day, data.last_day)
    first_test_day = data.last_day - 6 * ONE_DAY
    is_fitted = fitted_rows(features, first_test_day - ONE_DAY)
    moments = audited.frame["acknowledged_local"].dt.epoch("s")
    medians = dict(zip(zip(audited.frame["restaurant_id"], moments, strict=True), truth, strict=True))
    keys = zip(data.orders.restaurant_id.tolist(), data.orders.acknowledged_at.tolist(), strict=True)
    known = np.array([medians[key] for key in keys])
    is_tested = data.is_evaluation & np.isfinite(known) & (data.acknowledged_day >= day_number(first_test_day))
    labels = data.labels

    def error(X: NDArray[np.float32], asked: NDArray[np.float32]) -> float:
        fitted = QuantileModel().fit(X[is_fitted], labels[is_fitted], threads=1, seed=SEEDS[0])
        return float(np.abs(fitted.predict(asked[is_tested])[:, MEDIAN_INDEX] - labels[is_tested]).mean())

    only_number = features.live_matrix.copy()
    only_number[:, -1] = 0
    return DenseResult(
        int(is_tested.sum()),
        error(features.X, features.X),
        error(features.live_matrix, features.live_matrix),
        error(features.live_matrix, only_number),
        float(np.abs(known[is_tested] - labels[is_tested]).mean()),
    )


def synthesize_dense_kitchens() -> tuple[AuditedOrders, RestaurantIndex, NDArray[np.float64]]:
    """Return the orders of restaurants with about ten orders per hour, the restaurants, and the true medians.

    The median is NaN for an order with label noise, or one that waits until the kitchen opens.
    """
    orders, restaurants, truth = synthesize_frames(DENSE)
    rates = (
        orders.group_by("restaurant_id")
        .agg(pl.len(), pl.col("order_acknowledged_at").dt.date().n_unique().alias("days"))
        .filter((pl.col("len") / pl.col("days") / OPEN_HOURS).is_between(*RATES) & (pl.col("days") >= MIN_DAYS))
    )
    is_dense = orders["restaurant_id"].is_in(rates["restaurant_id"].implode())
    truth = truth.filter(is_dense)
    medians = truth.select(
        pl.when(~(pl.col("noisy_label") | pl.col("before_opening"))).then(pl.col("p50").cast(pl.Float64))
    )["p50"]
    index = read_restaurants(restaurants.filter(restaurants["restaurant_id"].is_in(rates["restaurant_id"].implode())))
    audited = audit_orders(orders.filter(is_dense), index, need_label=True)
    return audited, index, medians.fill_null(float("nan")).to_numpy()


def _markdown(document: LiveModelDocument) -> str:
    lines = [
        "| live features | MAE s | difference s | MAE with 2 or more open orders s |",
        "|---|---:|---:|---:|",
    ]
    for result in document.real:
        names = ", ".join(f"`{name}`" for name in result.features) if len(result.features) < 6 else "all thirteen"
        difference = f"{result.difference:+.2f} ± {result.standard_error:.2f}" if result.features else ""
        lines.append(f"| {names or 'none'} | {result.mae:.2f} | {difference} | {result.mae_2_or_more_open:.1f} |")
    dense = document.dense
    lines += [
        "",
        f"Callers who send only the number of open orders get {document.only_number_mae:.2f} s from the live model.",
        "",
        f"| {dense.orders:,} orders of dense synthetic kitchens | MAE s |",
        "|---|---:|",
        f"| default prediction | {dense.default:.1f} |",
        f"| live model | {dense.live:.1f} |",
        f"| live model, with only the number of open orders | {dense.only_number:.1f} |",
        f"| true median given the open orders | {dense.known_load:.1f} |",
        "",
        f"The live model gains {dense.gained_share:.0%} of what knowing the load could.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
