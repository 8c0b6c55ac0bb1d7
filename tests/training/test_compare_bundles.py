"""Tests of the comparison of two bundles on orders that neither was fitted on."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from preptime.bundle.bundle import Bundle, fetch_verified
from preptime.bundle.store import Store
from preptime.errors import UsageError
from preptime.schema.schema import TAKE_HOME_SCHEMA, Target
from preptime.training.as_of_features import build_feature_matrix
from preptime.training.backtest import backtest, evaluate_graphs
from preptime.training.comparison import compare_bundles, evaluate_bundle
from preptime.training.training_data import ONE_DAY, day_number
from tests.training.factories import SyntheticData, TrainedStore, copy_bundle, june, make_challenger, quick_plan

TARGET = Target()


@pytest.fixture(scope="module")
def older(good: TrainedStore) -> Bundle:
    """Return a bundle fitted through 12 June."""
    return fetch_verified(Store.open(str(good.root)), good.document.bundle)


@pytest.fixture(scope="module")
def newer(data: SyntheticData, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return a bundle fitted through 13 June."""
    store = Store.open(str(tmp_path_factory.mktemp("newer")))
    challenger = make_challenger(data.audited, data.training_data.as_of(june(14)), june(14), store, quick_plan())
    return fetch_verified(store, challenger.manifest.id)


def test_compare_bundles_uses_days_after_both_fits(data: SyntheticData, older: Bundle, newer: Bundle) -> None:
    forward, backward = (
        compare_bundles(data.training_data, *pair, june(15), target=TARGET) for pair in ((newer, older), (older, newer))
    )
    assert (forward.first_day, forward.last_day) == (backward.first_day, backward.last_day) == (june(14), june(15))
    assert forward.orders == backward.orders
    assert (forward.challenger_mae, forward.champion_mae) == (backward.champion_mae, backward.challenger_mae)
    assert forward.lookup_mae == backward.lookup_mae
    assert (forward.challenger, forward.champion) == (newer.manifest.id, older.manifest.id)


def test_compare_bundles_same_bundle_fails(data: SyntheticData, older: Bundle) -> None:
    comparison = compare_bundles(data.training_data, older, older, june(15), target=TARGET)
    assert not comparison.passed
    assert comparison.challenger_mae == comparison.champion_mae


@pytest.mark.parametrize("last", [12, 13])
def test_compare_bundles_without_common_days_fails(
    data: SyntheticData, older: Bundle, newer: Bundle, last: int
) -> None:
    for pair in ((older, newer), (newer, older)):
        comparison = compare_bundles(data.training_data, *pair, june(last), target=TARGET)
        assert (comparison.orders, comparison.passed) == (0, False)
        assert "fitted on days through 2015-06-13" in comparison.summary
        assert "Use --to 2015-06-14 or later: there are orders through 2015-06-15." in comparison.summary
        assert "Compare them again" not in comparison.summary


def test_compare_bundles_on_days_without_orders_says_so(data: SyntheticData, older: Bundle, newer: Bundle) -> None:
    """The champion has no error on 14 June because there are no labels, and not because it didn't serve."""
    gap = data.training_data.take(data.training_data.acknowledged_day != day_number(june(14)))
    comparison = compare_bundles(gap, newer, older, june(14), target=TARGET)
    assert comparison.orders == 0
    assert "Significantly better than the champion: no labels." in comparison.summary
    assert "no day on which it served" not in comparison.summary


def test_compare_bundles_refuses_other_targets(
    data: SyntheticData, newer: Bundle, good: TrainedStore, tmp_path: Path
) -> None:
    delivery = Target(name="delivery", title="delivery time")
    schema = msgspec.structs.replace(TAKE_HOME_SCHEMA, target=delivery)
    store = good.copy(tmp_path / "models")
    other = fetch_verified(store, copy_bundle(store, good.document.bundle, schema=schema))
    for pair in ((newer, other), (other, newer)):
        with pytest.raises(UsageError, match=r"The challenger .* and the champion") as refused:
            compare_bundles(data.training_data, *pair, target=TARGET)
        assert refused.value.hint == "Compare bundles that predict the same target."
    with pytest.raises(UsageError, match=r"orders have the target preparation .* predict delivery \(delivery time"):
        compare_bundles(data.training_data, other, other, target=TARGET)
    assert compare_bundles(data.training_data, other, other, target=delivery).orders > 0
    with pytest.raises(UsageError, match=r"orders have the target delivery .* predict preparation"):
        compare_bundles(data.training_data, newer, newer, target=delivery)


def test_compare_bundles_uses_no_order_that_was_fitted(data: SyntheticData, older: Bundle, newer: Bundle) -> None:
    """The bundles are compared on the first day after both, and not before its orders are known."""
    fitted_through = max(bundle.manifest.window.fitted_through for bundle in (older, newer))
    assert fitted_through == june(13) == newer.manifest.date - ONE_DAY
    known = data.as_of(newer.manifest.date).training_data
    right_after_training = compare_bundles(known, newer, older, target=TARGET)
    assert "Compare them again after the orders of 2015-06-14 are complete." in right_after_training.summary
    next_day = compare_bundles(data.training_data.as_of(june(15)), newer, older, june(14), target=TARGET)
    assert (next_day.first_day, next_day.last_day) == (june(14), june(14))
    evaluated = evaluate_bundle(data.training_data.as_of(june(15)), newer, june(14), june(14))
    assert next_day.orders == len(evaluated) > 0
    assert (evaluated.day > day_number(fitted_through)).all()


def test_evaluate_bundle_equals_backtest_of_its_date(data: SyntheticData, older: Bundle) -> None:
    evaluated = evaluate_bundle(data.training_data, older, june(13), june(15))
    expected = backtest(data.training_data, june(13), june(15), quick_plan())
    assert np.array_equal(evaluated.quantiles, expected.quantiles)
    assert np.array_equal(evaluated.point_predictions["rf"], expected.point_predictions["rf"])
    assert np.array_equal(evaluated.day, expected.day)


def test_evaluate_bundle_uses_category_codes_of_the_fit(data: SyntheticData, older: Bundle) -> None:
    """A new city and food that sort first change all codes, which must not affect older models."""
    new_restaurant = data.restaurants.tail(1).with_columns(
        pl.col("restaurant_id") + 1, city=pl.lit("Aachen"), type_of_food=pl.lit("aam panna")
    )
    changed = SyntheticData.from_frames(data.orders, pl.concat([data.restaurants, new_restaurant]))
    assert not np.array_equal(changed.training_data.orders.city, data.training_data.orders.city)
    before, after = (evaluate_bundle(source.training_data, older, june(10), june(15)) for source in (data, changed))
    assert np.array_equal(before.quantiles, after.quantiles)
    assert np.array_equal(before.point_predictions["rf"], after.point_predictions["rf"])
    assert np.array_equal(before.segment_columns.city, after.segment_columns.city)
    # Control: with the new codes, the predictions differ.
    new_features = build_feature_matrix(changed.training_data, june(10), june(15))
    assert not np.array_equal(evaluate_graphs(new_features, older.graphs, 0.0).quantiles, after.quantiles)
