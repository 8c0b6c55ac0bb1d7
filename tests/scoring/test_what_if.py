"""What if: the curves are the bundle's own answers."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest

from preptime.bundle.bundle import Bundle
from preptime.scoring.answering import BundleScorer
from preptime.scoring.columns import REASON
from preptime.scoring.what_if import THINGS, OneOrder, ask_what_if, seconds_of

ORDER = OneOrder(1, dt.datetime(2015, 6, 20, 19, 12, 30), 21.4, 3)


def test_every_curve_passes_through_the_answer(bundle: Bundle) -> None:
    found = ask_what_if(ORDER, BundleScorer(bundle).answers)
    answer = seconds_of(found.answer)
    assert answer is not None
    at = {"items": 3.0, "hour": 19.0, "day": 5.0}
    for thing, place in at.items():
        (p50,) = found.curves.filter((pl.col("thing") == thing) & (pl.col("at") == place))["p50"]
        assert p50 * 60 == pytest.approx(answer, abs=1e-3)
    assert found.curves["thing"].unique(maintain_order=True).to_list() == list(THINGS)
    assert (found.curves["p10"] <= found.curves["p90"]).all()


def test_a_point_of_a_curve_is_what_that_order_would_get(bundle: Bundle) -> None:
    ask = BundleScorer(bundle).answers
    curves = ask_what_if(ORDER, ask).curves
    other = ask_what_if(OneOrder(1, ORDER.acknowledged_at.replace(hour=13), 21.4, 3), ask).answer
    (p90,) = curves.filter((pl.col("thing") == "hour") & (pl.col("at") == 13.0))["p90"]
    assert p90 * 60 == pytest.approx(seconds_of(other, 0.9), abs=1e-3)


def test_an_order_that_cannot_be_predicted_has_a_reason_and_curves_of_what_can(bundle: Bundle) -> None:
    found = ask_what_if(OneOrder(1, ORDER.acknowledged_at, 21.4, 99_999), BundleScorer(bundle).answers)
    assert found.answer[REASON] == "out_of_range"
    assert seconds_of(found.answer) is None
    assert set(found.curves["thing"]) == {"items"}
