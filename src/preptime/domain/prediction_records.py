"""What the API returns, for callers of `preptime.client`.

Predictions, dispatch decisions, explanations, and the active bundle.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import msgspec


class OrderError(msgspec.Struct, frozen=True):
    """Why an order has no prediction."""

    code: str
    field: str
    message: str


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """The prediction for one order, or an `error`. Times are in seconds from acknowledgement to ready."""

    order_id: object = None
    prep_time_seconds: int | None = None
    p10: float | None = None
    p50: float | None = None
    p80: float | None = None
    p90: float | None = None
    ready_at: str | None = None
    """Acknowledgement time plus p50, in the restaurant's local time with its UTC offset."""
    fallback_level: str | None = None
    live: bool = False
    """Whether the quantiles are those of the live model, because the order has a `kitchen`."""
    models: dict[str, float] = {}
    """Seconds by point model, for the models that you requested."""
    restaurant_differs: bool = False
    """Whether the order's own country or city isn't that of the restaurant in the bundle."""
    missing_features: tuple[str, ...] = ()
    """Columns of custom features without a valid value."""
    kitchen_error: str = ""
    """Why the `kitchen` of the order can't be used."""
    error: OrderError | None = None


class PredictionResponse(msgspec.Struct, frozen=True):
    """Predictions in the order of the request, all from one bundle. Use it like a list."""

    bundle: str
    predictions: list[Prediction]
    weak_models: tuple[str, ...] = ()
    """The requested point models that aren't better than the global median. Don't use them."""

    def __len__(self) -> int:
        return len(self.predictions)

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self.predictions)

    def __getitem__(self, index: int) -> Prediction:
        return self.predictions[index]


class RemainingTime(msgspec.Struct, frozen=True):
    """Quantiles of the time until an order is ready, in seconds from `now`, or from acknowledgement without `now`."""

    p10: int
    p50: int
    p80: int
    p90: int


class DispatchDecision(Prediction, frozen=True, kw_only=True):
    """The prediction and the dispatch decision for one order, or an `error`.

    An order in progress that is older than its p90 has no estimate. It's dispatched now.
    """

    dispatch_at: str | None = None
    """When to send the courier, in the restaurant's local time with its UTC offset."""
    courier_wait_seconds: int | None = None
    """Expected waiting time of the courier, if it's sent then. None without an estimate."""
    food_wait_seconds: int | None = None
    """Expected waiting time of the food, if the courier is sent then. None without an estimate."""
    quantile: float | None = None
    """Level of the quantile of the ready time at which the courier should arrive. None without an estimate."""
    remaining: RemainingTime | None = None
    """The time until the order is ready. None without an estimate."""
    note: str = ""
    """Why no estimate is available."""


class DispatchResponse(msgspec.Struct, frozen=True):
    """Dispatch decisions in the order of the request, all from one bundle. Use it like a list."""

    bundle: str
    predictions: list[DispatchDecision]
    weak_models: tuple[str, ...] = ()
    """The requested point models that aren't better than the global median. Don't use them."""

    def __len__(self) -> int:
        return len(self.predictions)

    def __iter__(self) -> Iterator[DispatchDecision]:
        return iter(self.predictions)

    def __getitem__(self, index: int) -> DispatchDecision:
        return self.predictions[index]


class GroupContribution(msgspec.Struct, frozen=True):
    """How many seconds a group of features adds to a p50."""

    name: str
    title: str
    """For people."""
    seconds: float
    features: dict[str, float]
    """Seconds by feature."""


class Explanation(msgspec.Struct, frozen=True):
    """Why an order has its p50. The base value, all groups, and the rounding add up to it."""

    base: float
    """The mean p50 of the orders that the model was fitted on, in seconds."""
    groups: tuple[GroupContribution, ...]
    rounding: float
    """Seconds that the steps after the model add."""
    sentence: str
    """The largest contributions."""


class ExplainedPrediction(Prediction, frozen=True, kw_only=True):
    """The prediction for one order and its explanation, or an `error`."""

    explanation: Explanation | None = None


class ExplanationResponse(msgspec.Struct, frozen=True):
    """Explained predictions in the order of the request, all from one bundle. Use it like a list."""

    bundle: str
    predictions: list[ExplainedPrediction]
    weak_models: tuple[str, ...] = ()
    """The requested point models that aren't better than the global median. Don't use them."""

    def __len__(self) -> int:
        return len(self.predictions)

    def __iter__(self) -> Iterator[ExplainedPrediction]:
        return iter(self.predictions)

    def __getitem__(self, index: int) -> ExplainedPrediction:
        return self.predictions[index]


class _ManifestSummary(msgspec.Struct, frozen=True):
    """The fields of a manifest that a client needs."""

    date: dt.date
    models: tuple[str, ...]
    weak_models: tuple[str, ...] = ()
    schema: dict[str, object] = msgspec.field(default_factory=dict)


class ActiveBundle(msgspec.Struct, frozen=True):
    """The bundle that serves predictions now."""

    id: str
    champion: int
    """Its number in the champion log."""
    manifest: _ManifestSummary

    @property
    def models(self) -> tuple[str, ...]:
        """Names of its models, including the default model."""
        return self.manifest.models

    @property
    def weak_models(self) -> tuple[str, ...]:
        """Names of its point models that aren't better than the global median. Don't use them."""
        return self.manifest.weak_models

    @property
    def schema(self) -> dict[str, object]:
        """The schema of the orders that it predicts, as in the manifest. Empty for a server without schemas."""
        return self.manifest.schema
