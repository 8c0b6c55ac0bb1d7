"""The demo's way: Flask's development server, pandas, and the libraries' own models, one after the other.

    python -m benchmarks.references.demo PORT ORDERS RESTAURANTS

The notebook's five estimators with its hyperparameters, fitted at the start and kept in memory: the five numbers that
the demo answered. Its stacking is scikit-learn's, which asks the other four once more for itself. The server does what
one does without second thoughts: a table per request, joined with the restaurants.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from flask import Flask, abort, request
from flask.typing import ResponseReturnValue
from numpy.typing import NDArray
from sklearn.ensemble import StackingRegressor
from sklearn.linear_model import Ridge

from preptime.models.estimator import Estimator
from preptime.training.notebook import estimators

pandas = importlib.import_module("pandas")

Frame = Any
"""A DataFrame: pandas comes without types."""
FITTED = ("rf", "gbr", "cat", "xgb")
COLUMNS = [
    *("order_value_gbp", "number_of_items", "hour", "weekday", "is_weekend"),
    *("country", "city", "type_of_food", "restaurant_mean_seconds"),
]


class Demo:
    """Restaurants as a table, and the fitted models."""

    def __init__(self, orders: str, restaurants: str) -> None:
        frame = pandas.read_csv(orders).dropna(subset=["prep_time_seconds", "restaurant_id", "order_acknowledged_at"])
        frame = frame[frame["prep_time_seconds"].between(60, 5400)]
        self.restaurants = pandas.read_csv(restaurants)
        for name in ("country", "city", "type_of_food"):
            self.restaurants[name] = self.restaurants[name].astype("category").cat.codes
        means = frame.groupby("restaurant_id")["prep_time_seconds"].mean().rename("restaurant_mean_seconds")
        self.restaurants = self.restaurants.merge(means, on="restaurant_id", how="left")
        self.usual = float(frame["prep_time_seconds"].mean())
        label = frame["prep_time_seconds"].to_numpy()
        features, made = self._features(frame), estimators()
        fitted = {name: made[name]().fit(features, label) for name in FITTED}
        # Weights from predictions of rows that were learned: as quick to ask as the notebook's, in a fifth of the fits.
        stacking = StackingRegressor(list(fitted.items()), final_estimator=Ridge(alpha=0.3), cv="prefit", n_jobs=1)
        self.models: Mapping[str, Estimator] = {**fitted, "stacking": stacking.fit(features, label)}

    def predict(self, text: str) -> dict[str, list[float]]:
        """Seconds by model for `DataFrame.to_json()` of orders."""
        features = self._features(pandas.read_json(io.StringIO(text)))
        return {name: model.predict(features).tolist() for name, model in self.models.items()}

    def _features(self, frame: Frame) -> NDArray[np.float64]:
        frame = frame.merge(self.restaurants, on="restaurant_id", how="left")
        moment = pandas.to_datetime(frame["order_acknowledged_at"], utc=True, errors="coerce", format="mixed")
        frame["hour"] = moment.dt.hour
        frame["weekday"] = moment.dt.dayofweek
        frame["is_weekend"] = (frame["weekday"] >= 5).astype(int)
        frame["restaurant_mean_seconds"] = frame["restaurant_mean_seconds"].fillna(self.usual)
        matrix: NDArray[np.float64] = frame[COLUMNS].fillna(-1).to_numpy(dtype=np.float64)
        return matrix


def main(port: str, orders: str, restaurants: str) -> None:
    """Fit, then serve until the process is ended."""
    demo = Demo(orders, restaurants)
    key = os.environ["AIKEY"]
    app = Flask("demo")

    @app.get("/readyz")
    def ready() -> ResponseReturnValue:
        return "ready"

    @app.post("/predict")
    def predict() -> ResponseReturnValue:
        if request.headers.get("aikey") != key:
            abort(401)
        return demo.predict(request.get_json()["json_data"]), 201

    app.run(port=int(port))


if __name__ == "__main__":
    main(*sys.argv[1:])
