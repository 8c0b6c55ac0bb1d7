"""Walking forward: each day is predicted with what was known that morning."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np

from preptime.bundle.graph import Graph
from preptime.domain.prediction import Predictions
from preptime.errors import UsageError
from preptime.evaluation.evaluated import GLOBAL_MEDIAN, LOOKUP, EvaluatedOrders
from preptime.evaluation.segments import SegmentColumns
from preptime.training.corpus import Corpus, day_number
from preptime.training.fit import FitPlan, fit_window
from preptime.training.mornings import Matrix, matrix
from preptime.training.progress import Progress, silent


def backtest(
    corpus: Corpus,
    first: dt.date,
    last: dt.date,
    plan: FitPlan,
    *,
    retrain_every: int | None = None,
    progress: Progress = silent,
) -> EvaluatedOrders:
    """Fit on what was known on the morning of `first`, then predict every day to `last` (both included).

    With `retrain_every` the models are fitted anew every so many days; the history is that of each morning in any case.
    Raises `UsageError` for days the corpus does not reach and for less than a day between fits.
    """
    _check_days(corpus, first, last)
    if retrain_every is not None and retrain_every < 1:
        raise UsageError(f"Models are asked to be fitted every {retrain_every} days.", "Give 1 or more.")
    learned = corpus.first_day
    one_day = dt.timedelta(days=1)
    days = matrix(corpus, learned, last, progress)
    parts = []
    start = first
    while start <= last:
        end = last if retrain_every is None else min(last, start + dt.timedelta(days=retrain_every - 1))
        fitted = fit_window(days, start - one_day, plan, progress)
        asked = between(days, start, end)
        parts.append(evaluate(asked, fitted.opened(days.X.shape[1]), fitted.fence_seconds))
        start = end + one_day
    return concatenate(parts)


def between(days: Matrix, first: dt.date, last: dt.date) -> Matrix:
    """The rows of a matrix acknowledged from `first` to `last`, both included."""
    acknowledged = days.corpus.acknowledged_day[days.rows]
    start, end = np.searchsorted(acknowledged, [day_number(first), day_number(last) + 1])
    here = slice(int(start), int(end))
    return Matrix(
        days.corpus,
        days.first + int(start),
        days.X[here],
        days.lookup[here],
        days.global_median[here],
        days.basis[here],
    )


def evaluate(days: Matrix, graph: Graph, fence_seconds: float) -> EvaluatedOrders:
    """What a graph says of the orders of `days` that have a label to be measured by."""
    corpus = days.corpus
    points, quantiles = graph.run(days.X)
    predictions = Predictions(points, quantiles, days.basis)
    actual = corpus.label[days.rows]
    decisive = corpus.evaluation[days.rows]
    evaluated = EvaluatedOrders(
        actual=actual,
        up_to_3h=decisive,
        inside_fence=decisive & (actual <= fence_seconds),
        points={name: values.astype(np.float64) for name, values in predictions.points.items()},
        quantiles=predictions.quantiles,
        baselines={
            LOOKUP: days.lookup.astype(np.float64),
            GLOBAL_MEDIAN: days.global_median.astype(np.float64),
        },
        columns=SegmentColumns.of(corpus.orders.take(days.rows), corpus.directory.vocabularies, predictions.basis),
    )
    return evaluated.take(decisive)


def concatenate(parts: Sequence[EvaluatedOrders]) -> EvaluatedOrders:
    """Several stretches of days as one."""
    return EvaluatedOrders(
        actual=np.concatenate([part.actual for part in parts]),
        up_to_3h=np.concatenate([part.up_to_3h for part in parts]),
        inside_fence=np.concatenate([part.inside_fence for part in parts]),
        points={name: np.concatenate([part.points[name] for part in parts]) for name in parts[0].points},
        quantiles=np.concatenate([part.quantiles for part in parts]),
        baselines={name: np.concatenate([part.baselines[name] for part in parts]) for name in parts[0].baselines},
        columns=SegmentColumns.concatenate([part.columns for part in parts]),
    )


def _check_days(corpus: Corpus, first: dt.date, last: dt.date) -> None:
    if first > last:
        raise UsageError(f"The backtest is asked from {first} to {last}.", "Give the earlier day first.")
    if not corpus.first_day < first or last > corpus.last_day:
        raise UsageError(
            f"The backtest is asked from {first} to {last}; the orders reach from {corpus.first_day} to "
            f"{corpus.last_day}.",
            "Ask for days that have orders, with at least one day before them to learn from.",
        )
