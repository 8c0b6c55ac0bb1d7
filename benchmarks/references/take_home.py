"""The method of the take-home demo: Flask's development server, pandas, and native models, one after the other.

    python -m benchmarks.references.take_home PORT ORDERS RESTAURANTS

The notebook's five estimators with its hyperparameters are fitted at the start and kept in memory. The stacking is
scikit-learn's, which runs the other four models again. Each request becomes a DataFrame that's joined with the
restaurants.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from flask import Flask, abort, request
from flask.typing import ResponseReturnValue
from sklearn.ensemble import StackingRegressor
from sklearn.linear_model import Ridge

from preptime.models.model import Estimator
from preptime.training.notebook import estimators

pandas = importlib.import_module("pandas")

Frame = Any
"""A DataFrame, because pandas has no types here."""
FITTED = ("rf", "gbr", "cat", "xgb")
LABEL = "prep_time_seconds"
COLUMNS = [
    *("order_value_gbp", "number_of_items", "times_seen", "day", "hour", "weekday"),
    *("city", "country", "type_of_food", "restaurant_id", "restaurant_mean_seconds"),
]


class TakeHomeModels:
    """The restaurants as a table, and the fitted models."""

    def __init__(self, orders: str, restaurants: str) -> None:
        frame = pandas.read_csv(orders).dropna(subset=[LABEL, "restaurant_id", "order_acknowledged_at"])
        frame = frame[frame[LABEL].between(60, 5400)]
        self.restaurants = pandas.read_csv(restaurants)
        for name in ("country", "city", "type_of_food"):
            self.restaurants[name] = self.restaurants[name].astype("category").cat.codes
        means = frame.groupby("restaurant_id")[LABEL].mean().rename("restaurant_mean_seconds")
        self.restaurants = self.restaurants.merge(means, on="restaurant_id", how="left")
        features, factories = self.features(frame), estimators()
        label = frame.loc[features.index, LABEL].to_numpy()
        fitted = {name: factories[name]().fit(features, label) for name in FITTED}
        # The weights come from predictions on training rows, which needs a fifth of the fits and predicts as fast.
        stacking = StackingRegressor(list(fitted.items()), final_estimator=Ridge(alpha=0.3), cv="prefit", n_jobs=1)
        self.models: Mapping[str, Estimator] = {**fitted, "stacking": stacking.fit(features, label)}

    def predict(self, text: str) -> dict[str, list[float]]:
        """Return seconds by model for `DataFrame.to_json()` of orders. Computes the features again for each model."""
        frame = pandas.DataFrame(json.loads(text))
        return {name: model.predict(self.features(frame)).tolist() for name, model in self.models.items()}

    def features(self, frame: Frame) -> Frame:
        """Return the columns of the demo for every order that has all of them."""
        timestamps = [pandas.to_datetime(frame["order_acknowledged_at"], utc=True) for _ in range(3)]
        clock = [timestamps[0].dt.hour, timestamps[1].dt.weekday, timestamps[2].dt.day]
        seen = frame["restaurant_id"].map(frame["restaurant_id"].value_counts())
        known = pandas.concat([*clock, seen], axis=1, keys=["hour", "weekday", "day", "times_seen"])
        merged = pandas.concat([known, frame], axis=1).merge(self.restaurants, on="restaurant_id", how="left")
        return merged.set_axis(frame.index)[COLUMNS].dropna()


def main(port: str, orders: str, restaurants: str) -> None:
    """Fit the models, then serve until the process ends."""
    models = TakeHomeModels(orders, restaurants)
    key = os.environ["AIKEY"]
    app = Flask("take_home")

    @app.get("/readyz")
    def ready() -> ResponseReturnValue:
        return "ready"

    @app.post("/predict")
    def predict() -> ResponseReturnValue:
        if request.headers.get("aikey") != key:
            abort(401)
        return models.predict(request.get_json()["json_data"]), 201

    app.run(port=int(port))


if __name__ == "__main__":
    main(*sys.argv[1:])
