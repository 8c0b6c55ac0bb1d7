"""Fitting a window: the same bits, nothing from after it, and the export's own word for how near it comes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from preptime.domain.orders import upper_outlier_limit
from preptime.errors import DataError, OperationError
from preptime.models.catalogue import CATALOGUE
from preptime.models.sklearn_models import RandomForestModel
from preptime.training.as_of_features import FeatureMatrix, build_feature_matrix
from preptime.training.fitting import FitPlan, FittedWindow, fit_window
from preptime.training.training_data import day_number
from tests.training.factories import SyntheticData, june, quick_plan, full_plan


def test_fit_window_is_byte_identical_for_any_threads(days: FeatureMatrix) -> None:
    one, again, two = (fit_window(days, june(10), full_plan(threads)) for threads in (1, 1, 2))
    assert one.graph == again.graph == two.graph
    assert one.calibration == again.calibration == two.calibration
    assert one.names == tuple(CATALOGUE)


def test_fit_window_other_seed_gives_other_graph(days: FeatureMatrix, fitted: FittedWindow) -> None:
    assert fit_window(days, june(10), quick_plan(seed=13)).graph != fitted.graph


def test_fit_window_reports_parity_of_each_model(days: FeatureMatrix, fitted: FittedWindow) -> None:
    assert fitted.parity_seconds.keys() == {"rf", "quantile"}
    assert all(0 <= seconds <= 0.1 for seconds in fitted.parity_seconds.values())
    points, quantiles = fitted.load_graph(days.X.shape[1]).run(days.X)
    assert points["rf"].shape == (len(days),)
    assert (np.diff(quantiles, axis=1) >= 0).all()
    assert {name: round(float(shares.sum()), 9) for name, shares in fitted.importance.items()} == {
        "rf": 1.0,
        "quantile": 1.0,
    }


def test_fit_window_uses_usable_orders_ready_by_the_last_day(
    data: SyntheticData, days: FeatureMatrix, fitted: FittedWindow
) -> None:
    usable = data.training_data.is_fitting & (data.training_data.ready_day <= day_number(june(10)))
    assert fitted.orders == int(usable.sum())
    assert fitted.label_limit_seconds == upper_outlier_limit(data.training_data.labels[usable])


def test_fit_window_excludes_order_open_at_the_end(data: SyntheticData, fitted: FittedWindow) -> None:
    last = np.flatnonzero(
        data.training_data.is_fitting & (data.training_data.acknowledged_day == day_number(june(10)))
    )[-1]
    ready_at = data.training_data.completed.ready_at.copy()
    ready_at[last] = day_number(june(11)) * 86_400  # midnight
    still_open = replace(data.training_data, completed=replace(data.training_data.completed, ready_at=ready_at))
    assert (
        fit_window(build_feature_matrix(still_open, june(1), june(10)), june(10), quick_plan()).orders
        == fitted.orders - 1
    )


def test_fit_window_ignores_labels_after_the_window(data: SyntheticData, fitted: FittedWindow) -> None:
    later = data.training_data.ready_day > day_number(june(10))
    label = data.training_data.completed.prep_time_seconds
    changed = replace(data.training_data.completed, prep_time_seconds=np.where(later, label + 1_000, label))
    other = build_feature_matrix(replace(data.training_data, completed=changed), june(1), june(15))
    assert fit_window(other, june(10), quick_plan()).graph == fitted.graph
    # The control: the day after the window is the first that would.
    assert (
        fit_window(other, june(11), quick_plan()).graph
        != fit_window(build_feature_matrix(data.training_data, june(1), june(15)), june(11), quick_plan()).graph
    )


def test_fit_window_reports_progress(days: FeatureMatrix) -> None:
    told: list[tuple[str, float]] = []
    fit_window(days, june(10), quick_plan(), lambda stage, done: told.append((stage, done)))
    assert [done for _, done in told] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert {stage for stage, _ in told} >= {
        "Models: rf fitted",
        "Models: quantile fitted",
        "Models: quantiles calibrated",
    }


def test_upper_outlier_limit_matches_the_notebook() -> None:
    # Quartiles 200 and 400 by linear interpolation: 400 + 1.5 · 200.
    assert upper_outlier_limit(np.array([100.0, 200.0, 300.0, 400.0, 500.0])) == 700.0


def test_fit_window_rejects_window_without_ready_orders(days: FeatureMatrix) -> None:
    with pytest.raises(DataError, match="No order that can be fitted was ready by the end of 2015-05-31"):
        fit_window(days, june(1) - (june(2) - june(1)), quick_plan())


def test_fit_window_rejects_uncalibratable_default_model(days: FeatureMatrix) -> None:
    impostor = RandomForestModel(name="quantile", tree_count=2, max_leaf_nodes=4)
    with pytest.raises(OperationError, match="cannot be calibrated"):
        fit_window(days, june(10), FitPlan({"quantile": impostor}, 1))
