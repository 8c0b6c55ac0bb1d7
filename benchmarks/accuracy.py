"""Accuracy of every model, both baselines, and the take-home notebook's method, and the waiting cost.

    python -m benchmarks.accuracy                                    last week of the real data
    python -m benchmarks.accuracy --orders O --restaurants R --from 2015-06-17 --to 2015-06-23
    python -m benchmarks.accuracy --json                             one JSON document instead of the table

Models are fitted as of the first day and predict every order of the days with a label up to 3 h. The notebook's method
is its cleaning, its second feature set, and its CatBoost model. It cleans its training rows but not the orders to
predict. A restaurant that isn't in the training rows gets the mean of all training rows.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.real_data import BenchmarkData, load_data, parse_options
from preptime.domain.data_dictionary import TARGET
from preptime.domain.validation_reasons import Purpose
from preptime.errors import PreptimeError
from preptime.evaluation.documents import BacktestDocument, Score, WaitingCost
from preptime.evaluation.evaluated_orders import LIVE_MODEL, LOOKUP, build_backtest_document
from preptime.evaluation.metrics import compute_score
from preptime.evaluation.summary_text import NO_VALUE, cost_ratio_text, waiting_cost_rows
from preptime.models.catboost_models import notebook_estimator
from preptime.training.backtest import backtest
from preptime.training.fitting import FitPlan
from preptime.training.notebook import FEATURE_SET_2, NotebookRows, prepare_notebook_rows, with_restaurant_mean
from preptime.training.training_data import TrainingData, rows_as_of

NOTEBOOK_MODEL = "notebook_recipe"


class AccuracyDocument(msgspec.Struct, frozen=True):
    """The document of `--json`."""

    cpus: int | None
    notebook_fitted_orders: int
    notebook: Score
    backtest: BacktestDocument


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the accuracy, and print it."""
    arguments = parse_options(__doc__, argv)
    try:
        document = measure(load_data(arguments))
    except PreptimeError as error:
        print(f"{error} Set PREPTIME_REAL_DATA to the folder of the real data.", file=sys.stderr)
        return 1
    print(msgspec.json.encode(document).decode() if arguments.json else _markdown(document))
    return 0


def measure(data: BenchmarkData) -> AccuracyDocument:
    """Fit the models as of the first day, and evaluate them."""
    cpus = os.cpu_count()
    evaluated = backtest(
        TrainingData.from_orders(data.audited, data.restaurant_index), data.first, data.last, FitPlan.default(cpus or 1)
    )
    document = build_backtest_document(evaluated, data.first.isoformat(), data.last.isoformat())
    fitted_orders, notebook_score = _score_notebook_model(data)
    return AccuracyDocument(cpus, fitted_orders, notebook_score, document)


def _score_notebook_model(data: BenchmarkData) -> tuple[int, Score]:
    """Return the number of orders that the notebook's model is fitted on, and its score."""
    training_rows = prepare_notebook_rows(rows_as_of(data.audited, data.restaurant_index, data.first))
    X, y = with_restaurant_mean(training_rows, np.arange(len(training_rows))), training_rows.prep_time_seconds
    model = notebook_estimator().fit(X, y)
    day = pl.col("acknowledged_local").dt.date()
    orders = data.audited.frame.filter(pl.Series(data.audited.usable_for(Purpose.EVALUATION))).filter(
        day.is_between(data.first, data.last)
    )
    predictions = np.maximum(model.predict(_feature_matrix(orders, training_rows, X)), 0.0)
    actual = orders[TARGET].cast(pl.Float64).to_numpy()
    return len(training_rows), compute_score(NOTEBOOK_MODEL, "model", "up_to_3h", actual, predictions)


def _feature_matrix(orders: pl.DataFrame, training_rows: NotebookRows, X: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return feature set 2 of orders to predict, [M, 11], with the restaurants' columns of the training rows X."""
    counts, mean = X[:, FEATURE_SET_2.index("r_counts")], X[:, -1]
    restaurants = pl.DataFrame(
        {"restaurant_id": training_rows.restaurant_id, "r_counts": counts, "mean": mean}
    ).unique()
    at = pl.col("acknowledged_utc")
    # The notebook drops restaurants with 20 orders or fewer. A count of 0 represents them.
    return (
        orders.rename({"order_value": "order_value_gbp"})  # the notebook's name
        .join(restaurants, on="restaurant_id", how="left", maintain_order="left")
        .with_columns(monthday=at.dt.day(), hour=at.dt.hour(), weekday=at.dt.weekday() - 1)
        .with_columns(
            pl.col("r_counts").fill_null(0.0), pl.col("mean").fill_null(training_rows.prep_time_seconds.mean())
        )
        .select(*FEATURE_SET_2, "mean")
        .cast(pl.Float64)
        .to_numpy()
    )


def _markdown(document: AccuracyDocument) -> str:
    rows = [row for row in document.backtest.scores if row.labels == "up_to_3h"]
    best_first = sorted([*rows, document.notebook], key=lambda row: (row.kind == "baseline", row.mae or 0.0))
    names = {
        document.backtest.default_model: f"**`{document.backtest.default_model}` p50, the default prediction**",
        LIVE_MODEL: "the live model's p50, with the state of the kitchen",
        NOTEBOOK_MODEL: "the method of the take-home notebook (its CatBoost)",
        **{row.name: f"{row.name.replace('_', ' ')} (baseline)" for row in rows if row.kind == "baseline"},
    }
    errors = {row.name: f"{row.mae:.0f} s" for row in best_first if row.mae is not None}
    lines = [
        f"Models fitted as of {document.backtest.first_day} predict {document.notebook.n:,} orders",
        f"with labels up to 3 h, until {document.backtest.last_day}.",
        f"The mean absolute error of the default prediction is {errors[document.backtest.default_model]}.",
        f"That of the restaurant lookup is {errors[LOOKUP]}, and that of the take-home notebook's CatBoost",
        f"{errors[NOTEBOOK_MODEL]}.",
        "",
        "| | MAE | median | RMSE | R² | bias | within 5 min |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *(f"| {names.get(row.name, f'`{row.name}`')} | {_metric_cells(row)} |" for row in best_first),
        "",
        "| share of orders that are ready by | p10 | p50 | p80 | p90 | p10 to p90 |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    nominal = [*(quantile.p for quantile in document.backtest.quantiles), document.backtest.interval.level]
    actual = [*(quantile.coverage for quantile in document.backtest.quantiles), document.backtest.interval.coverage]
    lines.append("| nominal | " + " | ".join(f"{share:.0%}" for share in nominal) + " |")
    lines.append("| actual | " + " | ".join(_share(share) for share in actual) + " |")
    return "\n".join([*lines, "", *_waiting_cost_lines(document.backtest.waiting_costs)])


def _waiting_cost_lines(costs: Sequence[WaitingCost]) -> list[str]:
    """Return the table of waiting costs in its own markers, with which the README shows it too."""
    rows = [*waiting_cost_rows(costs), ("predicted quantile compared with lookup's", [_change(cost) for cost in costs])]
    ratios = " | ".join(cost_ratio_text(cost) for cost in costs)
    return [
        "<!-- waiting_cost -->",
        f"| waiting cost per 1,000 orders, minutes, by courier:food cost | {ratios} |",
        "|---|" + "---:|" * len(costs),
        *(f"| {title} | {' | '.join(cells)} |" for title, cells in rows),
        "<!-- /waiting_cost -->",
    ]


def _change(cost: WaitingCost) -> str:
    if cost.predicted_quantile is None or not cost.lookup_quantile:
        return NO_VALUE
    return f"{cost.predicted_quantile / cost.lookup_quantile - 1:+.1%}".replace("-", "−")


def _metric_cells(row: Score) -> str:
    seconds = (row.mae, row.median_ae, row.rmse)
    cells = ["–" if value is None else f"{value:.0f} s" for value in seconds]
    cells.append("–" if row.r2 is None else f"{row.r2:.3f}")
    cells.append("–" if row.bias is None else f"{row.bias:+.0f} s")
    return " | ".join([*cells, _share(row.within_5_min)])


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


if __name__ == "__main__":
    sys.exit(main())
