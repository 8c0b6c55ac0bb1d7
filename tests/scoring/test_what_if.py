"""Tests that the what-if curves are predictions of the bundle."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest

from preptime.bundle.bundle import Bundle
from preptime.scoring.scorer import PREDICTION_REASON, BundleScorer
from preptime.scoring.what_if import VARIABLES, OrderInput, predict_what_if, predicted_seconds

ORDER = OrderInput(1, dt.datetime(2015, 6, 20, 19, 12, 30), 21.4, 3)


def test_what_if_curves_contain_the_prediction(bundle: Bundle) -> None:
    what_if = predict_what_if(ORDER, BundleScorer(bundle).predict)
    prediction = predicted_seconds(what_if.prediction)
    assert prediction is not None
    at = {"items": 3.0, "hour": 19.0, "day": 5.0}
    for variable, value in at.items():
        (p50,) = what_if.curves.filter((pl.col("variable") == variable) & (pl.col("at") == value))["p50"]
        assert p50 * 60 == pytest.approx(prediction, abs=1e-3)
    assert what_if.curves["variable"].unique(maintain_order=True).to_list() == list(VARIABLES)
    assert (what_if.curves["p10"] <= what_if.curves["p90"]).all()


def test_what_if_point_equals_prediction_of_that_order(bundle: Bundle) -> None:
    predict = BundleScorer(bundle).predict
    curves = predict_what_if(ORDER, predict).curves
    other_prediction = predict_what_if(
        OrderInput(1, ORDER.acknowledged_at.replace(hour=13), 21.4, 3), predict
    ).prediction
    (p90,) = curves.filter((pl.col("variable") == "hour") & (pl.col("at") == 13.0))["p90"]
    assert p90 * 60 == pytest.approx(predicted_seconds(other_prediction, 0.9), abs=1e-3)


def test_what_if_invalid_order_has_reason_and_valid_curves(bundle: Bundle) -> None:
    what_if = predict_what_if(OrderInput(1, ORDER.acknowledged_at, 21.4, 99_999), BundleScorer(bundle).predict)
    assert what_if.prediction[PREDICTION_REASON] == "out_of_range"
    assert predicted_seconds(what_if.prediction) is None
    assert set(what_if.curves["variable"]) == {"items"}
