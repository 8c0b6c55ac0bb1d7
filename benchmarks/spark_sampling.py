"""The error that `preptime spark corpus` adds by sampling, on synthetic orders with known true medians.

    python -m benchmarks.spark_sampling                            500,000 orders in nine weeks (8 minutes)
    python -m benchmarks.spark_sampling --orders 60000             another number of orders
    python -m benchmarks.spark_sampling --rows 100000 --rows 5000  other sizes of samples
    python -m benchmarks.spark_sampling --json                     one JSON document instead of the table

Spark writes one corpus for each size, as of the first day of the last week. `quantile` is fitted and calibrated as in a
training: on the orders of all days, on those of the latest days in a corpus, and on each sample. Each fit has a process
of its own, and uses all cores. It predicts the orders of the last week. Features are as of each order's day, with a
history of all orders. The sample of middle size is also fitted with other seeds, which shows how much fits vary.

The true median is the one given everything except the open orders of the kitchen, which `quantile` doesn't know. The
standard error of a difference is paired by day. Java needs `java` on the PATH, and PySpark is that of `.venv-spark`.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.peak_memory import peak_mb

# Nothing else of preptime or Spark here: the peak memory of a process includes the memory of its parent when it starts.

ORDERS, DAYS, TEST_DAYS = 500_000, 63, 7
SIZES = (200_000, 100_000, 50_000, 25_000, 10_000)
"""Sizes of samples, as for `preptime spark corpus --rows`."""
ALL_DAYS, WINDOW = "all-days", "window"
"""The names of the fits on all rows. That of a sample is its number of rows."""
SEEDS = (13, 14)
"""Other seeds with which one sample is fitted again, because fits differ by more than the standard errors."""
_SEED = "-seed-"
_STEPS = ("make", "sample", "fit")


class Fit(msgspec.Struct, frozen=True):
    """The errors of `quantile`, fitted on some of the orders. Errors are means over the orders of the last week."""

    name: str
    orders: int
    """Orders that the model was fitted on."""
    cpu_seconds: float
    peak_mb: int
    """Peak memory of the process that fitted it."""
    mae: float
    difference: float
    """MAE minus that of the fit on all days, in seconds."""
    standard_error: float
    from_true_median: float
    """Mean absolute difference from the true median, in seconds."""
    coverage: float
    """The share of labels from p10 to p90."""


class Baseline(msgspec.Struct, frozen=True):
    """The errors of predictions that aren't fitted."""

    name: str
    mae: float
    from_true_median: float


class Sampling(msgspec.Struct, frozen=True):
    """The document of `--json`."""

    orders: int
    restaurants: int
    days: int
    window_days: int
    as_of: dt.date
    tested: int
    """Orders of the last week."""
    fits: list[Fit]
    baselines: list[Baseline]


class Orders(msgspec.Struct, frozen=True):
    """Columns of the completed orders, [N], without the feature matrix."""

    order_id: NDArray[np.int64]
    day: NDArray[np.int64]
    """Local day numbers of acknowledgement, ascending."""
    label: NDArray[np.float64]
    is_fitted: NDArray[np.bool_]
    """Whether a training as of the last week fits models on the order."""
    is_tested: NDArray[np.bool_]
    lookup: NDArray[np.float64]
    """The restaurant lookup as of each day, in seconds."""
    true_median: NDArray[np.float64]

    def save(self, path: Path) -> None:
        """Write the columns to a file."""
        np.savez(path, allow_pickle=False, **msgspec.structs.asdict(self))

    @classmethod
    def load(cls, path: Path) -> Orders:
        """Return the columns in a file."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**arrays)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all fits, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=ORDERS, help="number of orders (default: %(default)s)")
    parser.add_argument("--rows", type=int, action="append", help=f"size of a sample (default: {SIZES})")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--step", choices=_STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--name", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    sizes = tuple(sorted(arguments.rows or SIZES, reverse=True))
    if arguments.step:
        print(json.dumps(_run(arguments.step, arguments.folder, arguments.orders, sizes, arguments.name)))
        return 0
    document = measure_sampling(arguments.orders, sizes)
    print(msgspec.json.encode(document).decode() if arguments.json else sampling_table(document))
    return 0


def measure_sampling(orders: int = ORDERS, sizes: Sequence[int] = SIZES) -> Sampling:
    """Return the errors of the fits on all days, on the days of a corpus, and on samples of these sizes."""
    options = ["--orders", str(orders), *(text for size in sizes for text in ("--rows", str(size)))]
    with tempfile.TemporaryDirectory(prefix="preptime-spark-sampling-") as name:
        folder = Path(name)
        made, sampled = _start("make", folder, *options), _start("sample", folder, *options)
        names = fit_names(sizes)
        measured = {name: _start("fit", folder, *options, "--name", name) for name in names}
        quantiles = {name: np.load(folder / f"predicted-{name}.npy") for name in names}
        found = summarize(Orders.load(folder / "orders.npz"), measured, quantiles)
    return Sampling(**made, **sampled, **found, days=DAYS, as_of=_as_of())


def fit_names(sizes: Sequence[int]) -> tuple[str, ...]:
    """Return the names of all fits. The sample of middle size is also fitted with other seeds.

    Example:
        >>> fit_names([3, 2, 1])
        ('all-days', 'window', '3', '2', '1', '2-seed-13', '2-seed-14')
    """
    middle = sizes[len(sizes) // 2]
    return (ALL_DAYS, WINDOW, *map(str, sizes), *(f"{middle}{_SEED}{seed}" for seed in SEEDS))


def summarize(
    orders: Orders, measured: dict[str, dict[str, Any]], quantiles: dict[str, NDArray[np.float32]]
) -> dict[str, Any]:
    """Return the fits and baselines of a `Sampling`.

    `measured` has the resources of each fit, and `quantiles` its predictions [tested, 4]. The first fit is the
    reference.
    """
    from preptime.domain.orders import MEDIAN_INDEX
    from preptime.evaluation.metrics import MAE, compute_interval
    from preptime.evaluation.paired import paired_difference

    is_tested = orders.is_tested
    label, true_median, day = orders.label[is_tested], orders.true_median[is_tested], orders.day[is_tested]
    errors = {name: np.abs(predicted[:, MEDIAN_INDEX] - label) for name, predicted in quantiles.items()}
    reference = next(iter(errors.values()))
    fits = []
    for name, predicted in quantiles.items():
        paired = paired_difference("champion", errors[name], reference, day)
        if paired is None or paired.standard_error is None:
            raise AssertionError("The last week has no orders.")
        fits.append(
            Fit(
                name,
                **measured[name],
                mae=paired.mae,
                difference=paired.difference,
                standard_error=paired.standard_error,
                from_true_median=MAE(true_median, predicted[:, MEDIAN_INDEX]) or 0.0,
                coverage=compute_interval(label, predicted).coverage or 0.0,
            )
        )
    baselines = [
        Baseline(name, MAE(label, values[is_tested]) or 0.0, MAE(true_median, values[is_tested]) or 0.0)
        for name, values in (("restaurant lookup", orders.lookup), ("true median", orders.true_median))
    ]
    return {"tested": len(label), "fits": fits, "baselines": baselines}


def sampling_table(result: Sampling) -> str:
    """Return the errors as a Markdown table, with a sentence first."""
    sentence = (
        f"{result.orders:,} synthetic orders of {result.restaurants:,} restaurants in {result.days} days. `quantile` "
        f"is fitted as of {result.as_of}, and predicts {result.tested:,} orders of the next {TEST_DAYS} days."
    )
    header = "| fitted on | orders | processor time | peak memory | p50 MAE | difference | from true median | p10–p90 |"
    lines = [_fit_row(_title(fit.name, result), fit, is_first=not place) for place, fit in enumerate(result.fits)]
    lines += [
        f"| {baseline.name}, not fitted | | | | {baseline.mae:.1f} s | | {baseline.from_true_median:.1f} s | |"
        for baseline in result.baselines
    ]
    return "\n".join([sentence, "", header, "|---|---:|---:|---:|---:|---:|---:|---:|", *lines])


def _fit_row(title: str, fit: Fit, *, is_first: bool) -> str:
    difference = "" if is_first else f"{fit.difference:+.1f} ± {fit.standard_error:.1f} s"
    return (
        f"| {title} | {fit.orders:,} | {fit.cpu_seconds:,.0f} s | {fit.peak_mb:,} MB | {fit.mae:.1f} s | {difference} "
        f"| {fit.from_true_median:.1f} s | {fit.coverage:.1%} |"
    )


def _title(name: str, result: Sampling) -> str:
    titles = {
        ALL_DAYS: f"all {result.days - TEST_DAYS} days",
        WINDOW: f"latest {result.window_days} days",
    }
    rows, _, seed = name.partition(_SEED)
    return titles.get(name) or f"`--rows {rows}`" + (f", seed {seed}" if seed else "")


def selected_rows(orders: Orders, order_ids: NDArray[np.int64] | None, first_day: int) -> NDArray[np.bool_]:
    """Return which orders [N] a model is fitted on: those of a sample (None: all) from a local day number on."""
    rows = orders.is_fitted & (orders.day >= first_day)
    return rows if order_ids is None else rows & np.isin(orders.order_id, order_ids)


def _start(step: str, folder: Path, *options: str) -> dict[str, Any]:
    """Run a step in a process of its own, and return its result."""
    command = [sys.executable, "-m", "benchmarks.spark_sampling", "--step", step, "--folder", str(folder), *options]
    variables = os.environ | (_spark_variables() if step == "sample" else {})
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8", env=variables)
    result: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return result


def _spark_variables() -> dict[str, str]:
    """Return the variables with which PySpark is found, in its own environment, and starts the same Python."""
    from tests.requirements import spark_packages

    paths = [os.environ.get("PYTHONPATH", ""), str(spark_packages())]
    python_path = os.pathsep.join(filter(None, paths))
    return {"PYTHONPATH": python_path, "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}


def _run(step: str, folder: Path, orders: int, sizes: Sequence[int], name: str) -> dict[str, Any]:
    if step == "make":
        return write_inputs(folder, orders)
    return _write_samples(folder, orders, sizes) if step == "sample" else _fit(folder, name)


def _as_of() -> dt.date:
    """Return the first day of the last week."""
    from preptime.synthetic import SynthesisPlan

    return SynthesisPlan().start + dt.timedelta(days=DAYS - TEST_DAYS)


def write_inputs(folder: Path, orders: int) -> dict[str, Any]:
    """Write orders, restaurants, and the features and columns of all orders, as of each order's day."""
    import polars as pl

    from preptime.synthetic import SynthesisPlan, synthesize_frames
    from preptime.training.as_of_features import build_feature_matrix
    from preptime.training.fitting import fitted_rows
    from preptime.training.training_data import ONE_DAY, TrainingData, day_number
    from preptime.validation.audit import audit_orders
    from preptime.validation.restaurants import read_restaurants

    table, restaurants, truth = synthesize_frames(SynthesisPlan(orders=orders, days=DAYS))
    (folder / "orders").mkdir()
    table.write_parquet(folder / "orders" / "orders.parquet", row_group_size=100_000)
    restaurants.write_parquet(folder / "restaurants.parquet")
    index = read_restaurants(restaurants)
    data = TrainingData.from_orders(audit_orders(table, index, need_label=True), index)
    features = build_feature_matrix(data, data.first_day, data.last_day)
    np.save(folder / "X.npy", features.X)
    rows = features.rows
    places, day = data.row_numbers[rows] - 1, data.acknowledged_day[rows]
    Orders(
        order_id=table["order_id"].to_numpy()[places],
        day=day,
        label=data.labels[rows],
        is_fitted=fitted_rows(features, _as_of() - ONE_DAY),
        is_tested=data.is_evaluation[rows] & (day >= day_number(_as_of())),
        lookup=features.lookup_seconds.astype(np.float64),
        true_median=truth["p50_without_load"].cast(pl.Float64).to_numpy()[places],
    ).save(folder / "orders.npz")
    return {"orders": orders, "restaurants": len(restaurants)}


def _write_samples(folder: Path, orders: int, sizes: Sequence[int]) -> dict[str, Any]:
    """Write the order IDs of each sample, from a corpus that Spark writes and a training reads."""
    from preptime.schema.schema import TAKE_HOME_SCHEMA
    from preptime.sources.registry import open_source
    from preptime.spark.addresses import parse_address
    from preptime.spark.corpus import DEFAULT_DAYS, save_corpus
    from preptime.spark.session import open_session
    from preptime.training.corpus import read_corpus
    from preptime.training.training_data import SAMPLED_COLUMN, day_number
    from preptime.validation.restaurants import read_restaurants

    restaurants = read_restaurants(open_source(folder / "restaurants.parquet").frame())
    session = open_session("local[2]", settings={"spark.driver.memory": "2g"})
    first_days = set()
    for name, size in ((WINDOW, orders), *((str(size), size) for size in sizes)):
        address, out = parse_address(str(folder / "orders")), str(folder / "corpus")
        document = save_corpus(
            session, address, restaurants, _as_of(), schema=TAKE_HOME_SCHEMA, out=out, sampled_rows=size
        )
        corpus = read_corpus(out, _as_of(), TAKE_HOME_SCHEMA).orders
        np.save(folder / f"sample-{name}.npy", corpus.filter(SAMPLED_COLUMN)["order_id"].to_numpy().astype(np.int64))
        first_days.add(document.first_day)
    session.stop()
    (first_day,) = first_days
    if first_day is None:
        raise AssertionError("The corpus has all days.")
    (folder / "first-day").write_text(str(day_number(first_day)))
    return {"window_days": DEFAULT_DAYS}


def _fit(folder: Path, name: str) -> dict[str, Any]:
    """Fit and calibrate `quantile` on some of the orders, write its predictions, and return what that took."""
    from preptime.training.calibration import fit_calibrated
    from preptime.training.fitting import FitPlan

    orders, X = Orders.load(folder / "orders.npz"), np.load(folder / "X.npy", mmap_mode="r")
    sample, _, seed = name.partition(_SEED)
    if name == ALL_DAYS:
        rows = selected_rows(orders, None, 0)
    else:
        first_day = int((folder / "first-day").read_text())
        rows = selected_rows(orders, np.load(folder / f"sample-{sample}.npy"), first_day)
    default = FitPlan.default(os.cpu_count() or 1)
    plan = replace(default, seed=int(seed or default.seed))
    cpu = time.process_time()
    model, _ = fit_calibrated(
        plan.quantile_model, X[rows], orders.label[rows], orders.day[rows], threads=plan.threads, seed=plan.seed
    )
    cpu_seconds = time.process_time() - cpu
    peak = peak_mb()
    np.save(folder / f"predicted-{name}.npy", model.predict(X[orders.is_tested]))
    return {"orders": int(rows.sum()), "cpu_seconds": round(cpu_seconds, 1), "peak_mb": peak}


if __name__ == "__main__":
    sys.exit(main())
