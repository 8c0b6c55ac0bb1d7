"""Time of explanations, and their difference from those of CatBoost and XGBoost.

    python -m benchmarks.explanations                   8,000 synthetic orders
    python -m benchmarks.explanations --orders 3000     another number
    python -m benchmarks.explanations --json            one JSON document instead of the table

A bundle is trained with the default hyperparameters of `quantile`. `Bundle.explain` computes features, prediction, and
explanation. The libraries' own values are those of `get_feature_importance(type="ShapValues")` and
`predict(pred_contribs=True)`, with one thread, for the same rows. A time is the median of several runs.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np
from numpy.typing import NDArray

from preptime.bundle.bundle import Bundle
from preptime.bundle.store import Store
from preptime.domain.orders import DEFAULT_MODEL, MEDIAN_INDEX, OrderColumns
from preptime.explanations.tree_shap import TreeExplainer
from preptime.models.catboost_models import FittedCatBoostTrees
from preptime.models.quantile import QuantileModel
from preptime.models.xgboost_models import XGBoostModel
from preptime.synthetic import SynthesisPlan, synthesize_frames
from preptime.training.fitting import FitPlan
from preptime.training.publishing import AuditActor
from preptime.training.train import train
from preptime.training.training_data import TrainingData
from preptime.validation.audit import audit_orders
from preptime.validation.data_gate import GateThresholds
from preptime.validation.restaurants import read_restaurants
from tests.explanations.trees import xgboost_ensemble

ROWS = 1_000
REPEATS = 7
DAYS = 21


def main() -> None:
    """Train a bundle, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=8_000, help="number (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundle, orders, labels = _train(Store.open(folder), arguments.orders)
        results = _measure(bundle, orders, labels)
    print(json.dumps(results) if arguments.json else _markdown(results))


def _train(store: Store, count: int) -> tuple[Bundle, OrderColumns, NDArray[np.float64]]:
    """Return a bundle of `quantile`, and the orders that it was fitted on with their labels in seconds."""
    plan = SynthesisPlan(orders=count, days=DAYS)
    orders, restaurants, _ = synthesize_frames(plan)
    index = read_restaurants(restaurants)
    audited = audit_orders(orders, index, need_label=True)
    document = train(
        audited,
        index,
        plan.start + dt.timedelta(days=DAYS),
        store,
        AuditActor(by="benchmarks/explanations.py", at=""),
        plan=FitPlan({DEFAULT_MODEL: QuantileModel()}, threads=2),
        thresholds=GateThresholds(min_orders=count // 2),
        allow_promotion=False,
        with_gate=False,
    )
    data = TrainingData.from_orders(audited, index)
    usable = data.is_fitting
    return Bundle.load(store.fetch(document.bundle)), data.orders.take(usable), data.labels[usable]


def _measure(bundle: Bundle, orders: OrderColumns, labels: NDArray[np.float64]) -> dict[str, dict[str, float]]:
    """Return seconds for one order and for `ROWS` orders, and the largest differences, by what is measured."""
    from catboost import Pool
    from xgboost import DMatrix

    X, many, one = bundle.features(orders), orders.take(slice(ROWS)), orders.take(slice(1))
    results = {
        "Bundle.explain": {
            "one": _seconds(lambda: bundle.explain(one)),
            "many": _seconds(lambda: bundle.explain(many)),
        }
    }
    trees = QuantileModel().fit(X, labels, threads=2, seed=1).trees
    if not isinstance(trees, FittedCatBoostTrees):
        raise SystemExit("quantile doesn't consist of trees of CatBoost.")

    def catboost_values(rows: NDArray[np.float32]) -> NDArray[np.float64]:
        values = trees.estimator.get_feature_importance(Pool(rows), type="ShapValues", thread_count=1)
        levels: NDArray[np.float64] = np.asarray(values)[:, MEDIAN_INDEX]
        return levels

    booster = XGBoostModel().fit(X, labels, threads=2, seed=1).estimator.get_booster()
    booster.set_param({"nthread": 1})

    def xgboost_values(rows: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(booster.predict(DMatrix(rows), pred_contribs=True), np.float64)

    for name, ensemble, library in (
        ("CatBoost", trees.to_ensemble(MEDIAN_INDEX), catboost_values),
        ("XGBoost", xgboost_ensemble(booster), xgboost_values),
    ):
        start = time.perf_counter()
        explainer = TreeExplainer(ensemble, X.shape[1])
        first = time.perf_counter() - start
        rows = X[:ROWS]
        expected = library(rows)
        difference = np.abs(explainer.contributions(rows) - expected[:, :-1]).max()
        results[f"trees of {name}"] = {
            "one": _seconds(partial(explainer.contributions, X[:1])),
            "many": _seconds(partial(explainer.contributions, rows)),
            "first": first,
            "difference": float(max(difference, abs(explainer.base_value - expected[0, -1]))),
        }
        results[f"{name} itself"] = {
            "one": _seconds(partial(library, X[:1])),
            "many": _seconds(partial(library, rows)),
        }
    return results


def _seconds(run: Callable[[], object]) -> float:
    """Return the median time of a call."""
    run()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return median(seconds)


def _markdown(results: dict[str, dict[str, float]]) -> str:
    explain = results["Bundle.explain"]
    differences = {name: result["difference"] for name, result in results.items() if "difference" in result}
    sentence = (
        f"One order is explained in {explain['one'] * 1e3:.1f} ms, and {ROWS:,} orders in {explain['many']:.2f} s. The "
        f"largest difference from CatBoost's own values is {differences['trees of CatBoost']:.1g} s, and from those of "
        f"XGBoost {differences['trees of XGBoost']:.1g} s."
    )
    lines = [
        sentence,
        "",
        f"| | one order | {ROWS:,} orders | preparation | largest difference from the library |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, result in results.items():
        first = f"{result['first'] * 1e3:.0f} ms" if "first" in result else ""
        difference = f"{result['difference']:.1g} s" if "difference" in result else ""
        label = f"`{name}`" if name == "Bundle.explain" else name
        lines.append(
            f"| {label} | {result['one'] * 1e3:.2f} ms | {result['many'] * 1e3:.0f} ms | {first} | {difference} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
