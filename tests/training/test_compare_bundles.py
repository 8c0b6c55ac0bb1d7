"""Two bundles on the same orders, neither fitted on any of them."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from preptime.bundle.bundle import Bundle, fetch_verified
from preptime.bundle.store import Store
from preptime.training.as_of_features import build_feature_matrix
from preptime.training.backtest import evaluate_graph
from preptime.training.comparison import compare_bundles, evaluate_bundle
from preptime.training.train import train_challenger
from tests.training.factories import SyntheticData, TrainedStore, june, quick_plan


@pytest.fixture(scope="module")
def older(good: TrainedStore) -> Bundle:
    """Fitted through 9 June."""
    return fetch_verified(Store.open(str(good.root)), good.document.bundle)


@pytest.fixture(scope="module")
def newer(data: SyntheticData, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Fitted through 10 June."""
    store = Store.open(str(tmp_path_factory.mktemp("newer")))
    made = train_challenger(
        data.audited, data.training_data.as_of(june(14)), june(14), store, plan=quick_plan(), with_report=False
    )
    return fetch_verified(store, made.manifest.id)


def test_compare_bundles_uses_days_after_both_fits(data: SyntheticData, older: Bundle, newer: Bundle) -> None:
    there, back = (compare_bundles(data.training_data, *pair, june(15)) for pair in ((newer, older), (older, newer)))
    assert (there.first_day, there.last_day) == (back.first_day, back.last_day) == (june(11), june(15))
    assert there.orders == back.orders
    assert (there.challenger_mae, there.champion_mae) == (back.champion_mae, back.challenger_mae)
    assert there.lookup_mae == back.lookup_mae
    assert (there.challenger, there.champion) == (newer.manifest.id, older.manifest.id)


def test_compare_bundles_same_bundle_fails(data: SyntheticData, older: Bundle) -> None:
    found = compare_bundles(data.training_data, older, older, june(15))
    assert not found.passed
    assert found.challenger_mae == found.champion_mae


@pytest.mark.parametrize("last", [9, 10])
def test_compare_bundles_without_common_days_fails(
    data: SyntheticData, older: Bundle, newer: Bundle, last: int
) -> None:
    for pair in ((older, newer), (newer, older)):
        found = compare_bundles(data.training_data, *pair, june(last))
        assert (found.orders, found.passed) == (0, False)
        assert "fitted on days up to 2015-06-10" in found.summary


def test_evaluate_bundle_matches_evaluation_at_training(data: SyntheticData, good: TrainedStore, older: Bundle) -> None:
    known = data.training_data.as_of(june(13))
    found = evaluate_bundle(known, older, june(10), june(12))
    assert len(found) == good.document.evaluation.scores[0].n
    assert good.document.comparison is not None
    assert float(np.mean(np.abs(found.default_predictions - found.actual))) == pytest.approx(
        good.document.comparison.challenger_mae
    )


def test_evaluate_bundle_uses_category_codes_of_the_fit(data: SyntheticData, older: Bundle) -> None:
    """A city and a food that sort first move every code of today's vocabularies; the old models must not see that."""
    opened = data.restaurants.tail(1).with_columns(
        pl.col("restaurant_id") + 1, city=pl.lit("Aachen"), type_of_food=pl.lit("aam panna")
    )
    now = SyntheticData.from_frames(data.orders, pl.concat([data.restaurants, opened]))
    assert not np.array_equal(now.training_data.orders.city, data.training_data.orders.city)
    before, after = (evaluate_bundle(one.training_data, older, june(10), june(15)) for one in (data, now))
    assert np.array_equal(before.quantiles, after.quantiles)
    assert np.array_equal(before.point_predictions["rf"], after.point_predictions["rf"])
    assert np.array_equal(before.segment_columns.city, after.segment_columns.city)
    # The control: with today's codes they would answer otherwise.
    rows = build_feature_matrix(now.training_data, june(10), june(15))
    assert not np.array_equal(evaluate_graph(rows, older.graph, 0.0).quantiles, after.quantiles)
