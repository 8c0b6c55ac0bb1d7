"""How far off the answers are: every model beside both baselines, and the notebook's recipe as a rival.

    python -m benchmarks.accuracy                                    the real data's last week
    python -m benchmarks.accuracy --orders O --restaurants R --from 2015-06-17 --to 2015-06-23
    python -m benchmarks.accuracy --json                             one document instead of the table

Everything is fitted on what was known on the morning of the first day and asked about every order of the days, labels
up to 3 h. The rival is what the notebook would have answered that morning: its cleaning, its second set of features,
its CatBoost. It cleans what it learns from, not what it is asked: a restaurant it has not learned gets the mean of all
training rows where others have their own.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.real_data import Asked, add_options, asked
from preptime.domain.data_dictionary import TARGET
from preptime.domain.validation_reasons import Purpose
from preptime.errors import PreptimeError
from preptime.evaluation.documents import BacktestDocument, Score
from preptime.evaluation.evaluated_orders import build_backtest_document
from preptime.evaluation.metrics import compute_score
from preptime.models.catboost_models import notebook_estimator
from preptime.training.backtest import backtest
from preptime.training.fitting import FitPlan
from preptime.training.notebook import FEATURE_SET_2, NotebookRows, prepare_notebook_rows, with_restaurant_mean
from preptime.training.training_data import TrainingData, rows_as_of

RIVAL = "notebook_recipe"


class AccuracyDocument(msgspec.Struct, frozen=True):
    """What `--json` prints."""

    cpus: int | None
    fitted_orders_of_rival: int
    rival: Score
    backtest: BacktestDocument


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args(argv)
    try:
        document = measure(asked(arguments))
    except PreptimeError as error:
        print(f"{error} PREPTIME_REAL_DATA names the folder of the real data.", file=sys.stderr)
        return 1
    print(msgspec.json.encode(document).decode() if arguments.json else _markdown(document))
    return 0


def measure(data: Asked) -> AccuracyDocument:
    """Fit once on the morning of the first day, and ask."""
    cpus = os.cpu_count()
    evaluated = backtest(
        TrainingData.from_orders(data.audited, data.directory), data.first, data.last, FitPlan.default(cpus or 1)
    )
    document = build_backtest_document(evaluated, data.first.isoformat(), data.last.isoformat())
    fitted, rival = _ask_rival(data)
    return AccuracyDocument(cpus, fitted, rival, document)


def _ask_rival(data: Asked) -> tuple[int, Score]:
    """The orders it was fitted on, and its score."""
    learned = prepare_notebook_rows(rows_as_of(data.audited, data.directory, data.first))
    X, y = with_restaurant_mean(learned, np.arange(len(learned))), learned.prep_time_seconds
    model = notebook_estimator().fit(X, y)
    day = pl.col("acknowledged_local").dt.date()
    orders = data.audited.frame.filter(pl.Series(data.audited.usable_for(Purpose.EVALUATION))).filter(
        day.is_between(data.first, data.last)
    )
    answers = np.maximum(model.predict(_asked_matrix(orders, learned, X)), 0.0)
    actual = orders[TARGET].cast(pl.Float64).to_numpy()
    return len(learned), compute_score(RIVAL, "model", "up_to_3h", actual, answers)


def _asked_matrix(orders: pl.DataFrame, learned: NotebookRows, X: NDArray[np.float64]) -> NDArray[np.float64]:
    """Set 2 whole for orders to be answered, [M, 11], with the restaurants' columns as in its training rows X."""
    counts, mean = X[:, FEATURE_SET_2.index("r_counts")], X[:, -1]
    restaurants = pl.DataFrame({"restaurant_id": learned.restaurant_id, "r_counts": counts, "mean": mean}).unique()
    at = pl.col("acknowledged_utc")
    # A count of 0 stands for all that the notebook drops: its trees have seen none of 20 or fewer.
    return (
        orders.join(restaurants, on="restaurant_id", how="left", maintain_order="left")
        .with_columns(monthday=at.dt.day(), hour=at.dt.hour(), weekday=at.dt.weekday() - 1)
        .with_columns(pl.col("r_counts").fill_null(0.0), pl.col("mean").fill_null(learned.prep_time_seconds.mean()))
        .select(*FEATURE_SET_2, "mean")
        .cast(pl.Float64)
        .to_numpy()
    )


def _markdown(document: AccuracyDocument) -> str:
    shown = [row for row in document.backtest.scores if row.labels == "up_to_3h"]
    best_first = sorted([*shown, document.rival], key=lambda row: (row.kind == "baseline", row.mae or 0.0))
    names = {
        document.backtest.default_model: f"**`{document.backtest.default_model}` p50, the default answer**",
        RIVAL: "the notebook's recipe (its CatBoost), as a rival",
        **{row.name: f"{row.name.replace('_', ' ')} (baseline)" for row in shown if row.kind == "baseline"},
    }
    lines = [
        f"Fitted on what was known on the morning of {document.backtest.first_day}, asked about every order from then",
        f"to {document.backtest.last_day} with a label up to 3 h, n = {document.rival.n:,}:",
        "",
        "| | MAE | median | RMSE | R² | bias | within 5 min |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *(f"| {names.get(row.name, f'`{row.name}`')} | {_figures(row)} |" for row in best_first),
        "",
        "| share of the orders ready by | p10 | p50 | p80 | p90 | p10 to p90 |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    promised = [*(found.p for found in document.backtest.quantiles), document.backtest.interval.level]
    held = [*(found.coverage for found in document.backtest.quantiles), document.backtest.interval.coverage]
    lines.append("| promised | " + " | ".join(f"{share:.0%}" for share in promised) + " |")
    lines.append("| found | " + " | ".join(_share(share) for share in held) + " |")
    return "\n".join(lines)


def _figures(row: Score) -> str:
    seconds = (row.mae, row.median_ae, row.rmse)
    cells = ["–" if value is None else f"{value:.0f} s" for value in seconds]
    cells.append("–" if row.r2 is None else f"{row.r2:.3f}")
    cells.append("–" if row.bias is None else f"{row.bias:+.0f} s")
    return " | ".join([*cells, _share(row.within_5_min)])


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


if __name__ == "__main__":
    sys.exit(main())
