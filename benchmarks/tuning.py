"""Does `preptime tune` help on later days? It searches hyperparameters on past days and predicts the week after them.

    python -m benchmarks.tuning                      `quantile`, `xgb`, and `rf`, on synthetic and real orders
    python -m benchmarks.tuning --trials 5 --models xgb --data synthetic
    python -m benchmarks.tuning --json               one JSON document instead of the table

Each search is as of a date. The start and the best hyperparameters then predict each of the seven days from that date,
fitted on the days before it, as the gate does. The differences are paired by day. For `xgb` on synthetic orders, the
trials are also evaluated with a fit for each day, to compare their order.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from scipy.stats import spearmanr

from benchmarks.real_data import REAL_DATA
from preptime.errors import PreptimeError
from preptime.evaluation.paired import PairedDifference, paired_difference_of_days
from preptime.features.restaurant_index import RestaurantIndex
from preptime.sources.registry import open_source
from preptime.synthetic import SynthesisPlan, synthesize_frames
from preptime.training.as_of_features import build_feature_matrix
from preptime.training.search_spaces import Parameters, model_with
from preptime.training.training_data import ONE_DAY, TrainingData, iterate_days
from preptime.training.tuning import SearchPlan, TuneDocument, TuningDays, tune
from preptime.training.tuning_study import DailyLosses
from preptime.validation.audit import AuditedOrders, audit_orders
from preptime.validation.restaurants import read_restaurants

MODELS = ("quantile", "xgb", "rf")
TRIALS = 20
SEED = 12
LATER_DAYS = 7


class SearchResult(msgspec.Struct, frozen=True):
    """One search, and the following week."""

    data: str
    model: str
    days: int
    trials: int
    stopped: int
    minutes: float
    parameters: Parameters
    searched: PairedDifference
    """The losses on the days of the search."""
    later: PairedDifference
    """The losses on the days after it."""
    later_mae: PairedDifference


class TuningDocument(msgspec.Struct, frozen=True):
    """The document of `--json`."""

    results: list[SearchResult]
    rank_correlation: float | None
    """Spearman's, of the losses of trials with a fit each week and each day. None if it wasn't measured."""


@dataclass(frozen=True)
class Case:
    """Orders, the date of the search, and its days."""

    name: str
    audited: AuditedOrders
    restaurants: RestaurantIndex
    date: dt.date
    days: int

    def later_days(self) -> TuningDays:
        """Return the week from the date, with a fit for each day."""
        data = TrainingData.from_orders(self.audited, self.restaurants).with_common_categories(self.date)
        last = self.date + (LATER_DAYS - 1) * ONE_DAY
        features = build_feature_matrix(data, data.first_day, last)
        return TuningDays(features, tuple((day, day) for day in iterate_days(self.date, last)), 1, SEED)

    def search_days(self) -> TuningDays:
        """Return the days of the search, with a fit for each day."""
        data = TrainingData.from_orders(self.audited, self.restaurants).as_of(self.date)
        first, last = self.date - self.days * ONE_DAY, self.date - ONE_DAY
        features = build_feature_matrix(data, data.first_day, last)
        return TuningDays(features, tuple((day, day) for day in iterate_days(first, last)), 1, SEED)


def synthetic_case() -> Case:
    """Return a month of synthetic orders, with a search on two weeks."""
    orders, restaurants, _ = synthesize_frames(SynthesisPlan())
    index = read_restaurants(restaurants)
    return Case("synthetic", audit_orders(orders, index, need_label=True), index, dt.date(2015, 6, 24), 14)


def real_case() -> Case:
    """Return the real data, with a search on one week, because there are only 16 days before the last week."""
    index = read_restaurants(open_source(REAL_DATA / "restaurants.csv").frame())
    orders = open_source(REAL_DATA / "orders.csv").frame()
    return Case("real", audit_orders(orders, index, need_label=True), index, dt.date(2015, 6, 17), 7)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the searches, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=TRIALS, help="trials of each search (default: %(default)s)")
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="models (default: %(default)s)")
    parser.add_argument("--data", nargs="+", choices=("synthetic", "real"), default=["synthetic", "real"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args(argv)
    try:
        cases = [{"synthetic": synthetic_case, "real": real_case}[name]() for name in arguments.data]
    except PreptimeError as error:
        print(f"{error} Set PREPTIME_REAL_DATA to the folder of the real data.", file=sys.stderr)
        return 1
    document = measure(cases, arguments.models, arguments.trials, arguments.threads)
    print(msgspec.json.encode(document).decode() if arguments.json else markdown(document))
    return 0


def measure(cases: Sequence[Case], models: Sequence[str], trials: int, threads: int) -> TuningDocument:
    """Search each model on each data set."""
    results, correlation = [], None
    for case in cases:
        later = case.later_days()
        for name in models:
            started = time.perf_counter()
            document = search(case, name, trials, threads)
            minutes = (time.perf_counter() - started) / 60
            results.append(_result(case, later, document, minutes))
            if (case.name, name) == ("synthetic", "xgb"):
                correlation = rank_correlation(case.search_days(), document)
    return TuningDocument(results, correlation)


def search(case: Case, name: str, trials: int, threads: int) -> TuneDocument:
    """Search the hyperparameters of a model."""
    with tempfile.TemporaryDirectory(prefix="preptime-tuning-") as folder:
        return tune(
            case.audited,
            case.restaurants,
            case.date,
            name,
            Path(folder) / "study.jsonl",
            plan=SearchPlan(case.days, trials, seed=SEED, threads=threads),
        )


def evaluate(days: TuningDays, name: str, parameters: Parameters) -> DailyLosses:
    """Return the losses of a model on the days."""

    def report(block: int, loss: float) -> None:
        """Continue, whatever the loss."""

    return days.evaluate(model_with({}, name, parameters), report)


def _result(case: Case, later: TuningDays, document: TuneDocument, minutes: float) -> SearchResult:
    start = evaluate(later, document.model, document.start.parameters)
    best = evaluate(later, document.model, document.best.parameters)
    return SearchResult(
        data=case.name,
        model=document.model,
        days=case.days,
        trials=len(document.trials),
        stopped=sum(trial.state == "stopped" for trial in document.trials),
        minutes=minutes,
        parameters=document.best.parameters,
        searched=document.loss_difference,
        later=paired_difference_of_days("start", best.losses, start.losses, start.orders),
        later_mae=paired_difference_of_days("start", best.errors, start.errors, start.orders),
    )


def rank_correlation(daily: TuningDays, document: TuneDocument) -> float:
    """Return Spearman's correlation between the losses of complete trials and those with a fit for each day."""
    complete = [(trial.loss, trial.parameters) for trial in document.trials if trial.loss is not None]
    each_day = [evaluate(daily, document.model, parameters).mean_loss for _, parameters in complete]
    return float(spearmanr([loss for loss, _ in complete], each_day).statistic)


def markdown(document: TuningDocument) -> str:
    """Return the table as Markdown."""
    first = document.results[0]
    sentence = (
        f"Losses in seconds after {first.trials} trials: the mean pinball loss for `quantile`, and the MAE for the "
        "others. ± is the standard error of a difference, paired by day."
    )
    columns = ["orders", "model", "searched days: start", "best", "difference", "next 7 days: start", "best"]
    header = f"| {' | '.join([*columns, 'difference', 'difference of the MAE'])} |"
    lines = [sentence, "", header, "|---|---|---:|---:|---:|---:|---:|---:|---:|"]
    for row in document.results:
        cells = [
            row.data,
            f"`{row.model}`",
            *_losses(row.searched),
            *_losses(row.later),
            _difference(row.later_mae),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    if document.rank_correlation is not None:
        correlation = f"orders): {document.rank_correlation:.2f}."
        text = "Rank correlation of the trials' losses with a fit each week and with a fit each day (`xgb`, synthetic "
        lines += ["", text + correlation]
    return "\n".join(lines)


def _losses(difference: PairedDifference) -> list[str]:
    return [f"{difference.reference_mae:.1f}", f"{difference.mae:.1f}", _difference(difference)]


def _difference(difference: PairedDifference) -> str:
    return f"{difference.difference:+.1f} ± {difference.standard_error or 0.0:.1f}"


if __name__ == "__main__":
    sys.exit(main())
