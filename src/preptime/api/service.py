"""What every endpoint leans on: the champion, the keys, the queue, the log, the metrics. Parts are given, not made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from preptime.api.active_model import ActiveModel
from preptime.api.batching import MAX_CONCURRENT_REJECTIONS, ConcurrencyLimiter, RequestBatcher
from preptime.api.predict import MAX_BATCH_BYTES, PredictionJob, PredictionResult, predict_batch
from preptime.api.schema import ApiError


class ApiSettings(Protocol):
    """The settings that endpoints read."""

    @property
    def max_body_bytes(self) -> int:
        """The largest request body."""

    @property
    def max_orders(self) -> int:
        """The most orders in one request."""

    @property
    def max_concurrent_requests(self) -> int:
        """The most prediction requests that one worker has in hand at once; one more is told to come back."""

    @property
    def vertex_health_route(self) -> str | None:
        """`AIP_HEALTH_ROUTE`: where Vertex AI asks whether the container is ready."""

    @property
    def vertex_predict_route(self) -> str | None:
        """`AIP_PREDICT_ROUTE`: where Vertex AI sends instances. No key is asked for: IAM stands in front of it."""


class ChampionSource(Protocol):
    """What watches the store."""

    def active_model(self) -> ActiveModel | None:
        """The champion in use, or nothing before the first one."""

    def champion_error(self) -> str | None:
        """Why the latest champion is not the one in use, or nothing when it is."""


class Keys(Protocol):
    """The keys that the server knows."""

    def name_of(self, presented: str) -> str | None:
        """The name of a presented key, in constant time; None for a key that is not known."""


class PredictionRecorder(Protocol):
    """Where predictions are remembered."""

    def record(self, record: PredictionRecord) -> None:
        """Take a record. Never blocks and never raises; what cannot be kept is counted."""


class RequestMetrics(Protocol):
    """What is counted."""

    def observe(self, endpoint: str, status: int, seconds: float, orders: int, key_name: str | None) -> None:
        """Count one answered request. `orders` are those that it asked for, `key_name` None where no key was known."""

    def render(self) -> bytes:
        """Everything counted by all workers, in Prometheus' text format."""


class PredictionRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One answered request, as the prediction log keeps it: one line of JSON."""

    time: float
    """When it was answered, seconds since 1970-01-01 00:00 UTC."""
    request_id: str
    key_name: str | None
    endpoint: str
    bundle: str
    orders: Sequence[object]
    """The orders asked for, in order, as decoded: only the fields that a prediction reads, and `order_id`."""
    response: bytes
    """The response's body."""

    def to_json_line(self) -> bytes:
        """One line of JSON without its end. For the writer's thread: an answer does not wait for it.

        An order nested so deeply that this thread cannot write what another could read is a null.
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
    """The parts together. One per worker."""

    settings: ApiSettings
    champion_source: ChampionSource
    keys: Keys
    log: PredictionRecorder
    metrics: RequestMetrics
    batcher: RequestBatcher[PredictionJob, PredictionResult | ApiError] = field(init=False, repr=False)
    """What answers requests, for all threads."""
    limiter: ConcurrencyLimiter = field(init=False, repr=False)
    """Of requests in hand."""
    rejecting: ConcurrencyLimiter = field(init=False, repr=False)
    """Of those that are heard out before they are refused."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "batcher", RequestBatcher(predict_batch, MAX_BATCH_BYTES))
        object.__setattr__(self, "limiter", ConcurrencyLimiter(self.settings.max_concurrent_requests))
        object.__setattr__(self, "rejecting", ConcurrencyLimiter(MAX_CONCURRENT_REJECTIONS))

    def active_model(self) -> ActiveModel | None:
        """The champion in use. Ask once per request, so that a request ends on the bundle it began with."""
        return self.champion_source.active_model()

    def champion_error(self) -> str | None:
        """Why the latest champion is not the one in use."""
        return self.champion_source.champion_error()

    def key_name(self, key: str) -> str | None:
        """The name of a presented key, or None."""
        return self.keys.name_of(key)

    def record(self, record: PredictionRecord) -> None:
        """Remember an answered request."""
        self.log.record(record)
