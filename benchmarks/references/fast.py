"""FastAPI and pydantic on uvicorn, over the same bundle: the same features, the same ONNX graph, the same key.

    python -m benchmarks.references.fast PORT STORE

Answered in the event loop: handing each request to a thread, as a plain `def` would, is slower here.
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
    """One order and what is asked of it."""

    order_acknowledged_at: dt.datetime
    order_value_gbp: float
    restaurant_id: int
    number_of_items: int
    order_id: str | int | None = None
    models: list[str] = []


class Prediction(BaseModel):
    """One answer."""

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
    """What goes back."""

    bundle: str
    predictions: list[Prediction]


def make_app(store: str) -> FastAPI:
    """The application over the store's champion."""
    bundle = open_active_model(store).bundle
    directory = bundle.history.restaurants
    app = FastAPI()

    @app.get("/readyz")
    async def ready() -> str:
        return "ready"

    @app.post("/v1/predictions")
    async def predict(order: Order, aikey: str = Header()) -> PredictionResponse:
        if aikey != KEY:
            raise HTTPException(401)
        local = int(order.order_acknowledged_at.replace(tzinfo=dt.UTC).timestamp())
        found = int(np.searchsorted(directory.restaurant_id, order.restaurant_id))
        known = found < len(directory.restaurant_id) and directory.restaurant_id[found] == order.restaurant_id
        codes = (directory.country, directory.city, directory.type_of_food)
        country, city, food = (np.array([of[found] if known else UNKNOWN_CODE], np.int32) for of in codes)
        columns = OrderColumns(
            np.array([local], np.int64),
            np.array([order.restaurant_id], np.int64),
            np.array([order.order_value_gbp], np.float64),
            np.array([order.number_of_items], np.int64),
            country,
            city,
            food,
        )
        answer = bundle.predict(columns, [name for name in order.models if name != "quantile"])
        p10, p50, p80, p90 = answer.quantiles[0].tolist()
        prediction = Prediction(
            order_id=order.order_id,
            prep_time_seconds=round(p50),
            p10=p10,
            p50=p50,
            p80=p80,
            p90=p90,
            ready_at=order.order_acknowledged_at + dt.timedelta(seconds=p50),
            fallback_level=FALLBACK_LEVELS[int(answer.fallback_level[0])],
            models={name: float(seconds[0]) for name, seconds in answer.points.items()},
        )
        return PredictionResponse(bundle=bundle.manifest.id, predictions=[prediction])

    return app


if __name__ == "__main__":
    uvicorn.run(make_app(sys.argv[2]), port=int(sys.argv[1]), access_log=False, log_level="warning")
