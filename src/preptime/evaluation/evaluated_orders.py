"""Orders with predictions and labels, which backtests, training runs, and reports evaluate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from preptime.domain.orders import DEFAULT_MODEL, QUANTILE_LEVELS
from preptime.evaluation.documents import BacktestDocument, Score, WaitingCost
from preptime.evaluation.metrics import Seconds, compute_interval, compute_score, quantile_scores
from preptime.evaluation.segments import SegmentColumns, score_segments
from preptime.evaluation.waiting_cost import compute_waiting_costs

LOOKUP = "restaurant_lookup"
"""A model must beat this baseline to be promoted."""

GLOBAL_MEDIAN = "global_median"

LIVE_MODEL = "live"
"""The name of the live model's p50 among the scores."""

LabelSet = Literal["up_to_3h", "within_label_limit"]
LABEL_SETS: tuple[LabelSet, ...] = ("up_to_3h", "within_label_limit")


@dataclass(frozen=True, slots=True)
class EvaluatedOrders:
    """N predicted orders with a valid label. Every array has one entry per order."""

    actual: Seconds
    """The labels."""
    day: NDArray[np.int64]
    """Local day numbers of the acknowledgements. Comparisons are paired by day."""
    up_to_3h: NDArray[np.bool_]
    """Which labels belong to `up_to_3h`. The interval, the quantiles, and the segments use only these."""
    within_label_limit: NDArray[np.bool_]
    point_predictions: Mapping[str, Seconds]
    """Predictions of each point model, in display order."""
    quantiles: NDArray[np.floating]
    """[N, 4] seconds in the order of `QUANTILE_LEVELS`. p50 is the prediction of the default model."""
    baseline_predictions: Mapping[str, Seconds]
    """Predictions of `LOOKUP` and `GLOBAL_MEDIAN`."""
    lookup_quantiles: NDArray[np.floating]
    """[N, 5] seconds: the quantiles of the restaurant's own past times, at `waiting_cost.LOOKUP_LEVELS`."""
    global_quantiles: NDArray[np.floating]
    """[N, 5] seconds: the quantiles of all past times, at the same levels."""
    segment_columns: SegmentColumns
    live_quantiles: NDArray[np.floating] | None = None
    """[N, 4] seconds: the quantiles of the live model. None without one."""

    def __len__(self) -> int:
        return len(self.actual)

    @property
    def default_predictions(self) -> NDArray[np.floating]:
        """Return the predictions of the default model, [N] seconds."""
        return self.quantiles[:, QUANTILE_LEVELS.index(0.5)]

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> EvaluatedOrders:
        """Return the orders at `rows`, which are indices or a mask."""
        return EvaluatedOrders(
            actual=self.actual[rows],
            day=self.day[rows],
            up_to_3h=self.up_to_3h[rows],
            within_label_limit=self.within_label_limit[rows],
            point_predictions={name: predictions[rows] for name, predictions in self.point_predictions.items()},
            quantiles=self.quantiles[rows],
            baseline_predictions={name: predictions[rows] for name, predictions in self.baseline_predictions.items()},
            lookup_quantiles=self.lookup_quantiles[rows],
            global_quantiles=self.global_quantiles[rows],
            segment_columns=self.segment_columns.take(rows),
            live_quantiles=None if self.live_quantiles is None else self.live_quantiles[rows],
        )


def build_backtest_document(orders: EvaluatedOrders, first_day: str, last_day: str) -> BacktestDocument:
    """Return the evaluation of `orders` as one document. Days are ISO dates, both included."""
    eligible = orders.take(orders.up_to_3h)
    return BacktestDocument(
        first_day=first_day,
        last_day=last_day,
        default_model=DEFAULT_MODEL,
        scores=tuple(
            _scores(eligible, "up_to_3h") + _scores(orders.take(orders.within_label_limit), "within_label_limit")
        ),
        interval=compute_interval(eligible.actual, eligible.quantiles),
        quantiles=quantile_scores(eligible.actual, eligible.quantiles),
        segments=score_segments(
            eligible.segment_columns, eligible.actual, eligible.quantiles, eligible.baseline_predictions[LOOKUP]
        ),
        waiting_costs=waiting_costs(orders),
    )


def waiting_costs(orders: EvaluatedOrders) -> tuple[WaitingCost, ...]:
    """Return the waiting cost at each of `waiting_cost.COST_RATIOS`, over labels up to 3 h."""
    eligible = orders.take(orders.up_to_3h)
    return compute_waiting_costs(
        eligible.actual,
        eligible.quantiles,
        eligible.lookup_quantiles,
        eligible.global_quantiles,
        eligible.live_quantiles,
    )


def _scores(orders: EvaluatedOrders, labels: LabelSet) -> list[Score]:
    models = {DEFAULT_MODEL: orders.default_predictions, **orders.point_predictions}
    baselines = orders.baseline_predictions
    scores = [compute_score(name, "model", labels, orders.actual, models[name]) for name in models]
    if orders.live_quantiles is not None:
        p50 = orders.live_quantiles[:, QUANTILE_LEVELS.index(0.5)]
        scores.append(compute_score(LIVE_MODEL, "live", labels, orders.actual, p50))
    return scores + [compute_score(name, "baseline", labels, orders.actual, baselines[name]) for name in baselines]
