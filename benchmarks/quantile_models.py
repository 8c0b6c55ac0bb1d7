"""Compares `quantile` with one ensemble per level, more trees, XGBoost, and the mean of two libraries.

    python -m benchmarks.quantile_models           table
    python -m benchmarks.quantile_models --json    one JSON document

All variants are fitted in one run, as of June 10 and as of June 17 of the real data, with three seeds, and predict the
following week without calibration. The difference is paired by day. Times are those of ONNX Runtime with one thread,
for one order and for batches of 1,000: the fastest of several repetitions.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper

from benchmarks.live_model import SEEDS, WEEKS, read_real_data
from preptime.domain.orders import DEFAULT_MODEL, MEDIAN_INDEX, QUANTILE_LEVELS
from preptime.errors import PreptimeError
from preptime.evaluation.metrics import MEDIAN_WIDTH, pinball
from preptime.evaluation.paired import paired_difference
from preptime.models import onnx_export
from preptime.models.catboost_models import CatBoostTrees
from preptime.models.model import FittedModel
from preptime.models.quantile import QuantileModel, order_quantiles
from preptime.models.xgboost_models import FittedXGBoostModel
from preptime.training.as_of_features import FeatureMatrix
from preptime.training.fitting import fitted_rows
from preptime.training.training_data import ONE_DAY, day_number

BATCH_ROWS = 1_000
REPETITIONS = 30
XGBOOST_TREES, XGBOOST_RATE, XGBOOST_DEPTH = 200, 0.05, 4


class VariantResult(msgspec.Struct, frozen=True):
    """The measurements of one variant. Times are per order."""

    name: str
    mae: float
    difference: float
    standard_error: float
    mae_first_week: float
    mae_second_week: float
    pinball: float
    median_width_seconds: float
    fit_cpu_seconds: float
    alone_us: float
    batch_us: float
    kilobytes: float


@dataclass(frozen=True)
class SeparateLevels:
    """One fitted point model per level, as `quantile` was until November 2026."""

    levels: tuple[FittedModel, ...]

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return seconds, [N, 4]."""
        return order_quantiles(np.column_stack([level.predict(X) for level in self.levels]))

    def importance(self) -> NDArray[np.float64]:
        """Return the importance for the p50, [F]."""
        return self.levels[MEDIAN_INDEX].importance()

    def to_onnx(self) -> ModelProto:
        """Return the levels as one graph."""
        return _stack([level.to_onnx() for level in self.levels], "Concat")


@dataclass(frozen=True)
class MeanModel:
    """The mean of two models."""

    parts: tuple[FittedModel, FittedModel]

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return seconds, [N, 4]."""
        first, second = (part.predict(X) for part in self.parts)
        mean: NDArray[np.float32] = np.mean([first, second], axis=0, dtype=np.float32)
        return mean

    def importance(self) -> NDArray[np.float64]:
        """Return the importance of the first model, [F]."""
        return self.parts[0].importance()

    def to_onnx(self) -> ModelProto:
        """Return the mean as one graph."""
        return _stack([part.to_onnx() for part in self.parts], "Mean")


def _stack(models: Sequence[ModelProto], operation: str) -> ModelProto:
    """Return one graph that concatenates or averages the outputs of several."""
    nodes, constants, outputs = [], [], []
    for number, model in enumerate(models):
        part = onnx_export.prefix_names(model, f"part_{number}")
        nodes += list(part.node)
        constants += list(part.initializer)
        outputs.append(f"part_{number}")
    if operation == "Concat":
        axis = numpy_helper.from_array(np.array([1], np.int64), "axis")
        nodes += [helper.make_node("Unsqueeze", [name, "axis"], [f"{name}_column"]) for name in outputs]
        nodes.append(helper.make_node("Concat", [f"{name}_column" for name in outputs], ["seconds"], axis=1))
        constants.append(axis)
    else:
        nodes.append(helper.make_node(operation, outputs, ["seconds"]))
    features = models[0].graph.input[0].type.tensor_type.shape.dim[1].dim_value
    return onnx_export.make_model(
        nodes, constants, [onnx_export.features_info(features)], [onnx_export.matrix_info("seconds", 4)]
    )


Fit = Callable[[NDArray[np.float32], NDArray[np.float64], int], FittedModel]


def fit_four_catboost(X: NDArray[np.float32], y: NDArray[np.float64], seed: int) -> FittedModel:
    """Return one CatBoost ensemble per level, as until November 2026."""
    from preptime.models.catboost_models import FittedCatBoostModel

    return SeparateLevels(
        tuple(
            FittedCatBoostModel(
                CatBoostTrees(f"Quantile:alpha={level}", 300, 0.05, 5, 0.5, 512).fit(X, y, threads=1, seed=seed)
            )
            for level in QUANTILE_LEVELS
        )
    )


def fit_multi_quantile(X: NDArray[np.float32], y: NDArray[np.float64], seed: int) -> FittedModel:
    """Return `quantile` as it is: one CatBoost ensemble for all levels."""
    return QuantileModel().fit(X, y, threads=1, seed=seed)


def fit_twice_as_many_trees(X: NDArray[np.float32], y: NDArray[np.float64], seed: int) -> FittedModel:
    """Return `quantile` with 600 trees, the best of 24 settings on June 8 to 16."""
    return QuantileModel(tree_count=600, learning_rate=0.03).fit(X, y, threads=1, seed=seed)


def fit_xgboost(X: NDArray[np.float32], y: NDArray[np.float64], seed: int) -> FittedModel:
    """Return XGBoost's quantiles, the best of nine settings on these weeks."""
    from xgboost import XGBRegressor

    return SeparateLevels(
        tuple(
            FittedXGBoostModel(
                XGBRegressor(
                    objective="reg:quantileerror",
                    quantile_alpha=level,
                    n_estimators=XGBOOST_TREES,
                    learning_rate=XGBOOST_RATE,
                    max_depth=XGBOOST_DEPTH,
                    colsample_bynode=0.5,
                    subsample=0.7,
                    n_jobs=1,
                    random_state=seed,
                ).fit(X, y)
            )
            for level in QUANTILE_LEVELS
        )
    )


FITS: Mapping[str, Fit] = {
    "CatBoost, one ensemble per level (until November 2026)": fit_four_catboost,
    "**CatBoost MultiQuantile** (`quantile`)": fit_multi_quantile,
    "CatBoost MultiQuantile, 600 trees with rate 0.03": fit_twice_as_many_trees,
    "XGBoost": fit_xgboost,
}
QUANTILE, XGBOOST = list(FITS)[1], list(FITS)[3]
MEAN = "mean of MultiQuantile and XGBoost"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args(argv)
    try:
        features = read_real_data()
    except PreptimeError as error:
        print(f"{error} Set PREPTIME_REAL_DATA to the folder of the real data.", file=sys.stderr)
        return 1
    results = measure(features)
    print(msgspec.json.encode(results).decode() if arguments.json else _markdown(results))
    return 0


def measure(features: FeatureMatrix) -> list[VariantResult]:
    """Return the measurements of all variants."""
    data, rows = features.data, features.rows
    day, labels = data.acknowledged_day[rows], data.labels[rows]
    predictions: dict[str, list[NDArray[np.float32]]] = {name: [] for name in (*FITS, MEAN)}
    cpu_seconds = dict.fromkeys(predictions, 0.0)
    tested = []
    fitted: dict[str, FittedModel] = {}
    for first_day in WEEKS:
        is_fitted = fitted_rows(features, first_day - ONE_DAY)
        is_week = data.is_evaluation[rows] & (day >= day_number(first_day)) & (day < day_number(first_day) + 7)
        tested.append(np.flatnonzero(is_week))
        X, y = features.X[is_fitted], labels[is_fitted]
        by_seed: dict[str, list[NDArray[np.float32]]] = {name: [] for name in predictions}
        for seed in SEEDS:
            for name, fit in FITS.items():
                started = time.process_time()
                fitted[name] = fit(X, y, seed)
                cpu_seconds[name] += time.process_time() - started
            fitted[MEAN] = MeanModel((fitted[QUANTILE], fitted[XGBOOST]))
            for name in predictions:
                by_seed[name].append(fitted[name].predict(features.X[is_week]))
        for name, parts in by_seed.items():
            predictions[name].append(np.stack(parts))
    cpu_seconds[MEAN] = cpu_seconds[QUANTILE] + cpu_seconds[XGBOOST]
    rows_tested = np.concatenate(tested)
    first_week = np.arange(len(rows_tested)) < len(tested[0])
    return [
        _result(
            name,
            (np.concatenate(parts, axis=1), np.concatenate(predictions[next(iter(FITS))], axis=1)),
            (labels[rows_tested], day[rows_tested], first_week),
            cpu_seconds[name] / len(SEEDS) / len(WEEKS),
            _measure_graph(fitted[name], features.X),
        )
        for name, parts in predictions.items()
    ]


def _result(
    name: str,
    predictions: tuple[NDArray[np.float32], NDArray[np.float32]],
    orders: tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]],
    cpu_seconds: float,
    graph: tuple[float, float, float],
) -> VariantResult:
    """Return the result of predictions and of those of the reference, both [seeds, N, 4]."""
    y, day, first_week = orders
    predicted = predictions[0]
    errors, reference_errors = (
        np.abs(values[:, :, MEDIAN_INDEX].astype(np.float64) - y).mean(axis=0) for values in predictions
    )
    paired = paired_difference("champion", errors, reference_errors, day)
    if paired is None or paired.standard_error is None:
        raise AssertionError("The weeks have no orders.")
    losses = [
        pinball(level)(y, values[:, column]) or 0.0
        for values in predicted
        for column, level in enumerate(QUANTILE_LEVELS)
    ]
    return VariantResult(
        name,
        paired.mae,
        paired.difference,
        paired.standard_error,
        float(errors[first_week].mean()),
        float(errors[~first_week].mean()),
        float(np.mean(losses)),
        float(np.mean([MEDIAN_WIDTH(y, values[:, 0], values[:, -1]) for values in predicted])),
        cpu_seconds,
        *graph,
    )


def _measure_graph(fitted: FittedModel, X: NDArray[np.float32]) -> tuple[float, float, float]:
    """Return the microseconds per order alone and in batches, and the size of the graph in kilobytes."""
    graph = onnx_export.merge_to_onnx({DEFAULT_MODEL: fitted}, X.shape[1])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def fastest(row_count: int, runs: int) -> float:
        columns = np.ascontiguousarray(X[:row_count])
        seconds = []
        for _ in range(REPETITIONS):
            started = time.perf_counter()
            for _ in range(runs):
                session.run([DEFAULT_MODEL], {onnx_export.INPUT_NAME: columns})
            seconds.append((time.perf_counter() - started) / runs)
        return min(seconds) / row_count * 1e6

    return fastest(1, 200), fastest(BATCH_ROWS, 5), len(graph) / 1_000


def _markdown(results: Sequence[VariantResult]) -> str:
    titles = ["model", "MAE s", "difference s", "June 10–16", "June 17–23", "pinball", "width s", "fit CPU s"]
    titles += ["alone µs", "batch µs", "KB"]
    lines = [f"| {' | '.join(titles)} |", f"|---|{'---:|' * (len(titles) - 1)}"]
    for number, result in enumerate(results):
        difference = f"{result.difference:+.2f} ± {result.standard_error:.2f}" if number else ""
        lines.append(
            f"| {result.name} | {result.mae:.1f} | {difference} | {result.mae_first_week:.1f} | "
            f"{result.mae_second_week:.1f} | {result.pinball:.1f} | {result.median_width_seconds:,.0f} | "
            f"{result.fit_cpu_seconds:.1f} | {result.alone_us:.1f} | {result.batch_us:.1f} | {result.kilobytes:,.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
