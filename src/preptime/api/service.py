"""The service that all endpoints use: active model, API keys, batcher, limits, prediction log, and metrics.

Its parts are protocols and are passed in. `preptime.api.runtime` builds them from settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from preptime.api.active_model import ActiveModel
from preptime.api.batching import RequestBatcher
from preptime.api.limits import MAX_CONCURRENT_REJECTIONS, ConcurrencyLimiter, LimitSettings, RequestLimits
from preptime.api.predict import MAX_BATCH_BYTES, PredictionJob, PredictionResult, predict_batch
from preptime.api.request_body import BodyDeadline
from preptime.api.schema import ApiError
from preptime.api.tracing import TraceExporter

NO_CHAMPION_REASON = "The store has no champion yet. Train or promote a bundle. The server loads it automatically."


class ApiSettings(LimitSettings, Protocol):
    """The settings that the endpoints read."""

    @property
    def courier_cost(self) -> float:
        """The cost of a minute that a courier waits, for dispatch requests without one."""

    @property
    def food_cost(self) -> float:
        """The cost of a minute that ready food waits, for dispatch requests without one."""

    @property
    def public_details(self) -> bool:
        """Whether everyone can read metrics and reasons."""

    @property
    def vertex_health_route(self) -> str | None:
        """`AIP_HEALTH_ROUTE`: the path that Vertex AI uses to check readiness."""

    @property
    def vertex_predict_route(self) -> str | None:
        """`AIP_PREDICT_ROUTE`: the path that Vertex AI sends instances to. It needs no API key: IAM protects it."""


class ChampionSource(Protocol):
    """Provides the active model."""

    def active_model(self) -> ActiveModel | None:
        """Return the active model, or None before the first champion is loaded."""

    def champion_error(self) -> str | None:
        """Return why the latest champion isn't active, or None if it is."""

    def is_store_available(self) -> bool:
        """Return whether the champion log could be read at the latest attempt."""


class Keys(Protocol):
    """The API keys that the server accepts."""

    def name_of(self, presented: str) -> str | None:
        """Return the name of a key in constant time, or None if it's unknown."""


class PredictionRecorder(Protocol):
    """Records predictions."""

    def record(self, record: PredictionRecord) -> None:
        """Queue a record. Never blocks and never raises."""


class RequestMetrics(Protocol):
    """Counts requests."""

    def observe(self, endpoint: str, status: int, seconds: float, orders: int, key_name: str | None) -> None:
        """Count one request with its number of orders. `key_name` is None if the request has no valid key."""

    def observe_batch(self, requests: int) -> None:
        """Count one batch with its number of requests."""

    def count_rejection(self, cause: str) -> None:
        """Count a request that was rejected because of a limit. `cause` is one of `limits.REJECTION_CAUSES`."""

    def count_notes(self, note: str, orders: int) -> None:
        """Count predicted orders with a note: one of `metrics_files.NOTES`."""

    def render(self) -> bytes:
        """Return the metrics of all workers in the Prometheus text format."""


class PredictionRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request with its response, as the prediction log stores it: one line of JSON."""

    time: float
    """Time of the response, in seconds since 1970-01-01 00:00 UTC."""
    request_id: str
    key_name: str | None
    endpoint: str
    bundle: str
    orders: Sequence[object]
    """The orders of the request as decoded: only the fields that a prediction reads, and `order_id`."""
    response: bytes
    """The body of the response."""

    def to_json_line(self) -> bytes:
        """Return the record as JSON without a newline. Called by the writer's thread, so that no response waits for it.

        If an order is nested too deeply to encode in this thread, all orders of the record are null.
        """
        try:
            return self._encode(self.orders)
        except RecursionError:
            return self._encode([None] * len(self.orders))

    def _encode(self, orders: Sequence[object]) -> bytes:
        return msgspec.json.encode(
            {
                "time": self.time,
                "request_id": self.request_id,
                "key_name": self.key_name,
                "endpoint": self.endpoint,
                "bundle": self.bundle,
                "orders": orders,
                "response": msgspec.Raw(self.response),
            }
        )


@dataclass(frozen=True)
class Service:
    """The parts that a worker needs to handle requests. There's one service per worker."""

    settings: ApiSettings
    champion_source: ChampionSource
    keys: Keys
    log: PredictionRecorder
    metrics: RequestMetrics
    trace_exporter: TraceExporter | None = None
    """Exports traces, if that's enabled."""
    batcher: RequestBatcher[PredictionJob, PredictionResult | ApiError] = field(init=False, repr=False)
    """Batches the predictions of all threads."""
    limits: RequestLimits = field(init=False, repr=False)
    """Limits concurrent requests, their bytes, and their orders."""
    body_deadline: BodyDeadline = field(init=False, repr=False)
    """Ends the reading of bodies that don't arrive in time."""
    rejecting: ConcurrencyLimiter = field(init=False, repr=False)
    """Limits rejected requests whose bodies are read."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "batcher", RequestBatcher(self._predict_batch, MAX_BATCH_BYTES))
        object.__setattr__(self, "limits", RequestLimits(self.settings))
        object.__setattr__(self, "body_deadline", BodyDeadline(self.settings.body_timeout_seconds))
        object.__setattr__(self, "rejecting", ConcurrencyLimiter(MAX_CONCURRENT_REJECTIONS))

    def _predict_batch(self, jobs: Sequence[PredictionJob]) -> Sequence[PredictionResult | ApiError]:
        self.metrics.observe_batch(len(jobs))
        return predict_batch(jobs)

    @property
    def concurrent_requests(self) -> int:
        """Number of prediction requests that this worker handles now."""
        return self.limits.requests

    @property
    def concurrent_bytes(self) -> int:
        """Total size of the bodies of these requests."""
        return self.limits.bytes

    @property
    def concurrent_orders(self) -> int:
        """Total number of orders of these requests, as far as their bodies are parsed."""
        return self.limits.orders

    def active_model(self) -> ActiveModel | None:
        """Return the active model. Call it once per request, so that the whole request uses the same bundle."""
        return self.champion_source.active_model()

    def champion_error(self) -> str | None:
        """Return why the latest champion isn't active, or None if it is."""
        return self.champion_source.champion_error()

    def is_store_available(self) -> bool:
        """Return whether the champion log could be read at the latest attempt."""
        return self.champion_source.is_store_available()

    def describe_unreadiness(self) -> str | None:
        """Return why the service can't predict, or None if it can."""
        if self.active_model() is not None:
            return None
        return self.champion_error() or NO_CHAMPION_REASON

    def key_name(self, key: str) -> str | None:
        """Return the name of a key, or None if it's unknown."""
        return self.keys.name_of(key)

    def record(self, record: PredictionRecord) -> None:
        """Add a request to the prediction log."""
        self.log.record(record)
