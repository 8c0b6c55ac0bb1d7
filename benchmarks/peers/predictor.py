"""The same work for every peer: raw orders to features, one run of the bundle's graph, and predictions.

Each peer imports this module in its own environment. It's vectorized, so that a peer with batches runs the graph once
per batch.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from preptime.bundle.bundle import fetch_verified
from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.store import Store
from preptime.domain.orders import FALLBACK_LEVELS, UNKNOWN_CODE, OrderColumns, Predictions

STORE_VARIABLE = "PEER_STORE"
"""The environment variable with the location of the store."""
MAX_BATCH_ORDERS = 16
"""Limit of adaptive batching: the number of connections of the load."""

ORDER_COLUMNS = ("order_acknowledged_at", "order_value_gbp", "restaurant_id", "number_of_items")
QUANTILES = ("p10", "p50", "p80", "p90")


class Predictor:
    """The champion of the store in `PEER_STORE`."""

    def __init__(self) -> None:
        store = Store.open(os.environ[STORE_VARIABLE])
        champion = ChampionLog(store).current()
        if champion is None:
            raise SystemExit(f"{store} has no champion.")
        self._bundle = fetch_verified(store, champion.bundle)

    def predict(
        self, timestamps: Sequence[str], values: Sequence[float], restaurants: Sequence[int], items: Sequence[int]
    ) -> Predictions:
        """Return predictions for N orders in columns, in the order of `ORDER_COLUMNS`."""
        local = [int(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp()) for text in timestamps]
        known, ids = self._bundle.history.restaurants, np.array(restaurants, np.int64)
        found = np.minimum(np.searchsorted(known.restaurant_id, ids), len(known.restaurant_id) - 1)
        is_known = known.restaurant_id[found] == ids
        country, city, food = (
            np.where(is_known, codes[found], UNKNOWN_CODE).astype(np.int32)
            for codes in (known.country, known.city, known.type_of_food)
        )
        columns = OrderColumns(
            np.array(local, np.int64),
            ids,
            np.array(values, np.float64),
            np.array(items, np.int64),
            country,
            city,
            food,
        )
        return self._bundle.predict(columns)

    def predict_rows(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return one prediction per order, as a client receives it."""
        predictions = self.predict(*([row[name] for row in rows] for name in ORDER_COLUMNS))
        points = {name: seconds.tolist() for name, seconds in predictions.points.items()}
        return [
            {
                "prep_time_seconds": round(quantiles[1]),
                **dict(zip(QUANTILES, quantiles, strict=True)),
                "fallback_level": FALLBACK_LEVELS[predictions.fallback_level[row]],
                "models": {name: seconds[row] for name, seconds in points.items()},
            }
            for row, quantiles in enumerate(predictions.quantiles.tolist())
        ]
