"""What if: the curves are the bundle's own answers."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest

from preptime.bundle.bundle import Bundle
from preptime.scoring.scorer import PREDICTION_REASON, BundleScorer
from preptime.scoring.what_if import VARIABLES, OrderInput, predict_what_if, predicted_seconds

ORDER = OrderInput(1, dt.datetime(2015, 6, 20, 19, 12, 30), 21.4, 3)


def test_what_if_curves_contain_the_prediction(bundle: Bundle) -> None:
    found = predict_what_if(ORDER, BundleScorer(bundle).predict)
    answer = predicted_seconds(found.prediction)
    assert answer is not None
    at = {"items": 3.0, "hour": 19.0, "day": 5.0}
    for thing, place in at.items():
        (p50,) = found.curves.filter((pl.col("variable") == thing) & (pl.col("at") == place))["p50"]
        assert p50 * 60 == pytest.approx(answer, abs=1e-3)
    assert found.curves["variable"].unique(maintain_order=True).to_list() == list(VARIABLES)
    assert (found.curves["p10"] <= found.curves["p90"]).all()


def test_what_if_point_equals_prediction_of_that_order(bundle: Bundle) -> None:
    ask = BundleScorer(bundle).predict
    curves = predict_what_if(ORDER, ask).curves
    other = predict_what_if(OrderInput(1, ORDER.acknowledged_at.replace(hour=13), 21.4, 3), ask).prediction
    (p90,) = curves.filter((pl.col("variable") == "hour") & (pl.col("at") == 13.0))["p90"]
    assert p90 * 60 == pytest.approx(predicted_seconds(other, 0.9), abs=1e-3)


def test_what_if_invalid_order_has_reason_and_valid_curves(bundle: Bundle) -> None:
    found = predict_what_if(OrderInput(1, ORDER.acknowledged_at, 21.4, 99_999), BundleScorer(bundle).predict)
    assert found.prediction[PREDICTION_REASON] == "out_of_range"
    assert predicted_seconds(found.prediction) is None
    assert set(found.curves["variable"]) == {"items"}
