"""FastAPI and pydantic on uvicorn, with the same bundle, features, ONNX graph, and API key.

    python -m benchmarks.references.fast PORT STORE

It handles requests in the event loop. A plain `def` would pass each request to a thread, which is slower here.
"""

from __future__ import annotations

import datetime as dt
import os
import sys

import numpy as np
import uvicorn
from fastapi import FastAPI, Header, HTTPException
from pydantic import BaseModel

from benchmarks.references.bare import open_active_model
from preptime.domain.orders import FALLBACK_LEVELS, UNKNOWN_CODE, OrderColumns

KEY = os.environ.get("AIKEY", "")


class Order(BaseModel):
    """One order, with the requested models."""

    order_acknowledged_at: dt.datetime
    order_value_gbp: float
    restaurant_id: int
    number_of_items: int
    order_id: str | int | None = None
    models: list[str] = []


class Prediction(BaseModel):
    """One prediction."""

    order_id: str | int | None
    prep_time_seconds: int
    p10: float
    p50: float
    p80: float
    p90: float
    ready_at: dt.datetime
    fallback_level: str
    models: dict[str, float]


class PredictionResponse(BaseModel):
    """The response."""

    bundle: str
    predictions: list[Prediction]


def make_app(store: str) -> FastAPI:
    """Return the application with the champion of the store."""
    bundle = open_active_model(store).bundle
    restaurants = bundle.history.restaurants
    app = FastAPI()

    @app.get("/readyz")
    async def ready() -> str:
        return "ready"

    @app.post("/v1/predictions")
    async def predict(order: Order, aikey: str = Header()) -> PredictionResponse:
        if aikey != KEY:
            raise HTTPException(401)
        local = int(order.order_acknowledged_at.replace(tzinfo=dt.UTC).timestamp())
        index = int(np.searchsorted(restaurants.restaurant_id, order.restaurant_id))
        is_known = index < len(restaurants.restaurant_id) and restaurants.restaurant_id[index] == order.restaurant_id
        codes = (restaurants.country, restaurants.city, restaurants.type_of_food)
        country, city, food = (np.array([values[index] if is_known else UNKNOWN_CODE], np.int32) for values in codes)
        columns = OrderColumns(
            np.array([local], np.int64),
            np.array([order.restaurant_id], np.int64),
            np.array([order.order_value_gbp], np.float64),
            np.array([order.number_of_items], np.int64),
            country,
            city,
            food,
        )
        predictions = bundle.predict(columns, [name for name in order.models if name != "quantile"])
        p10, p50, p80, p90 = predictions.quantiles[0].tolist()
        prediction = Prediction(
            order_id=order.order_id,
            prep_time_seconds=round(p50),
            p10=p10,
            p50=p50,
            p80=p80,
            p90=p90,
            ready_at=order.order_acknowledged_at + dt.timedelta(seconds=p50),
            fallback_level=FALLBACK_LEVELS[int(predictions.fallback_level[0])],
            models={name: float(seconds[0]) for name, seconds in predictions.points.items()},
        )
        return PredictionResponse(bundle=bundle.manifest.id, predictions=[prediction])

    return app


if __name__ == "__main__":
    uvicorn.run(make_app(sys.argv[2]), port=int(sys.argv[1]), access_log=False, log_level="warning")
