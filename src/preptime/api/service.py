"""What every endpoint leans on: the champion, the keys, the queue, the log, the metrics. Parts are given, not made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from preptime.api.limits import REFUSING, Places
from preptime.api.predict import MOST_TOGETHER, Answer, Job, answer_all
from preptime.api.problems import RefusedRequestError
from preptime.api.serving import Serving
from preptime.api.turns import Turns


class ApiSettings(Protocol):
    """The settings that endpoints read."""

    @property
    def max_body_bytes(self) -> int:
        """The largest request body."""

    @property
    def max_orders(self) -> int:
        """The most orders in one request."""

    @property
    def max_waiting(self) -> int:
        """The most prediction requests that one worker has in hand at once; one more is told to come back."""

    @property
    def vertex_health_route(self) -> str | None:
        """`AIP_HEALTH_ROUTE`: where Vertex AI asks whether the container is ready."""

    @property
    def vertex_predict_route(self) -> str | None:
        """`AIP_PREDICT_ROUTE`: where Vertex AI sends instances. No key is asked for: IAM stands in front of it."""


class Champions(Protocol):
    """What watches the store."""

    def serving(self) -> Serving | None:
        """The champion in use, or nothing before the first one."""

    def refusal(self) -> str | None:
        """Why the latest champion is not the one in use, or nothing when it is."""


class Keys(Protocol):
    """The keys that the server knows."""

    def name_of(self, presented: str) -> str | None:
        """The name of a presented key, in constant time; None for a key that is not known."""


class Log(Protocol):
    """Where predictions are remembered."""

    def record(self, record: PredictionRecord) -> None:
        """Take a record. Never blocks and never raises; what cannot be kept is counted."""


class Metrics(Protocol):
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
    answer: bytes
    """The response's body."""

    def line(self) -> bytes:
        """One line of JSON without its end. For the writer's thread: an answer does not wait for it.

        An order nested so deeply that this thread cannot write what another could read is a null.
        """
        try:
            return self._line(self.orders)
        except RecursionError:
            return self._line([None] * len(self.orders))

    def _line(self, orders: Sequence[object]) -> bytes:
        return msgspec.json.encode(
            {
                "time": self.time,
                "request_id": self.request_id,
                "key_name": self.key_name,
                "endpoint": self.endpoint,
                "bundle": self.bundle,
                "orders": orders,
                "answer": msgspec.Raw(self.answer),
            }
        )


@dataclass(frozen=True)
class Service:
    """The parts together. One per worker."""

    settings: ApiSettings
    champions: Champions
    keys: Keys
    log: Log
    metrics: Metrics
    turns: Turns[Job, Answer | RefusedRequestError] = field(init=False, repr=False)
    """What answers requests, for all threads."""
    places: Places = field(init=False, repr=False)
    """Of requests in hand."""
    refusing: Places = field(init=False, repr=False)
    """Of those that are heard out before they are refused."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "turns", Turns(answer_all, MOST_TOGETHER))
        object.__setattr__(self, "places", Places(self.settings.max_waiting))
        object.__setattr__(self, "refusing", Places(REFUSING))

    def serving(self) -> Serving | None:
        """The champion in use. Ask once per request, so that a request ends on the bundle it began with."""
        return self.champions.serving()

    def refusal(self) -> str | None:
        """Why the latest champion is not the one in use."""
        return self.champions.refusal()

    def key_name(self, presented: str) -> str | None:
        """The name of a presented key, or None."""
        return self.keys.name_of(presented)

    def record(self, record: PredictionRecord) -> None:
        """Remember an answered request."""
        self.log.record(record)
