"""Orders that were answered and have a label: what a backtest, a training run and the report evaluate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from preptime.domain.prediction import DEFAULT_MODEL, LEVELS
from preptime.evaluation.documents import BacktestDocument, Score
from preptime.evaluation.metrics import Seconds
from preptime.evaluation.scores import interval, quantile_scores, score
from preptime.evaluation.segments import SegmentColumns, segments

LOOKUP = "restaurant_lookup"
"""The baseline that a model must beat to be promoted."""

GLOBAL_MEDIAN = "global_median"

LabelSet = Literal["up_to_3h", "inside_fence"]
LABEL_SETS: tuple[LabelSet, ...] = ("up_to_3h", "inside_fence")


@dataclass(frozen=True, slots=True)
class EvaluatedOrders:
    """N answered orders with a parsable label, one entry per order in every array."""

    actual: Seconds
    """The labels."""
    up_to_3h: NDArray[np.bool_]
    """Which labels belong to `up_to_3h`: those that the interval, the quantiles and the segments are about."""
    inside_fence: NDArray[np.bool_]
    points: Mapping[str, Seconds]
    """Answers of each point model, in the order they are to be shown."""
    quantiles: NDArray[np.floating]
    """[N, 4] seconds in the order of `LEVELS`; the p50 is the default model's answer."""
    baselines: Mapping[str, Seconds]
    """Answers of `LOOKUP` and `GLOBAL_MEDIAN`."""
    columns: SegmentColumns

    def __len__(self) -> int:
        return len(self.actual)

    @property
    def default(self) -> NDArray[np.floating]:
        """The default model's answers, seconds [N]."""
        return self.quantiles[:, LEVELS.index(0.5)]

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> EvaluatedOrders:
        """The same orders at `rows`: positions or a mask."""
        return EvaluatedOrders(
            actual=self.actual[rows],
            up_to_3h=self.up_to_3h[rows],
            inside_fence=self.inside_fence[rows],
            points={name: answers[rows] for name, answers in self.points.items()},
            quantiles=self.quantiles[rows],
            baselines={name: answers[rows] for name, answers in self.baselines.items()},
            columns=self.columns.take(rows),
        )


def backtest_document(orders: EvaluatedOrders, first_day: str, last_day: str) -> BacktestDocument:
    """Everything that is said about `orders`, as one document. Days are ISO dates, both included."""
    decisive = orders.take(orders.up_to_3h)
    return BacktestDocument(
        first_day=first_day,
        last_day=last_day,
        default_model=DEFAULT_MODEL,
        scores=tuple(_scores(decisive, "up_to_3h") + _scores(orders.take(orders.inside_fence), "inside_fence")),
        interval=interval(decisive.actual, decisive.quantiles),
        quantiles=quantile_scores(decisive.actual, decisive.quantiles),
        segments=segments(decisive.columns, decisive.actual, decisive.quantiles, decisive.baselines[LOOKUP]),
    )


def _scores(orders: EvaluatedOrders, labels: LabelSet) -> list[Score]:
    models = {DEFAULT_MODEL: orders.default, **orders.points}
    return [
        *(score(name, "model", labels, orders.actual, answers) for name, answers in models.items()),
        *(score(name, "baseline", labels, orders.actual, answers) for name, answers in orders.baselines.items()),
    ]
