"""BentoML: a service with one worker, without and with its adaptive batching."""

from __future__ import annotations

import bentoml
import pydantic

from benchmarks.peers.predictor import MAX_BATCH_ORDERS, Predictor


class Order(pydantic.BaseModel):
    """One order."""

    order_acknowledged_at: str
    order_value_gbp: float
    restaurant_id: int
    number_of_items: int


class Prediction(pydantic.BaseModel):
    """One prediction."""

    prep_time_seconds: int
    p10: float
    p50: float
    p80: float
    p90: float
    fallback_level: str
    models: dict[str, float]


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class Plain:
    """Runs the graph once per request."""

    def __init__(self) -> None:
        self.predictor = Predictor()

    @bentoml.api
    def predict(self, orders: list[Order]) -> list[Prediction]:
        """Predict the orders of one request."""
        return [Prediction(**row) for row in self.predictor.predict_rows([order.model_dump() for order in orders])]


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class Batched:
    """Runs the graph once for up to 16 waiting requests."""

    def __init__(self) -> None:
        self.predictor = Predictor()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH_ORDERS, max_latency_ms=1000)
    def predict(self, orders: list[Order]) -> list[Prediction]:
        """Predict the orders of a batch."""
        return [Prediction(**row) for row in self.predictor.predict_rows([order.model_dump() for order in orders])]
