"""Tests of fitting a window: identical bytes, no later data, and the reported parity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from preptime.bundle.manifest import GRAPH_FILES, LIVE_FILE
from preptime.domain.orders import upper_outlier_limit
from preptime.errors import DataError, OperationError
from preptime.models.catalogue import CATALOGUE
from preptime.models.sklearn_models import RandomForestModel
from preptime.training.as_of_features import FeatureMatrix, build_feature_matrix
from preptime.training.fitting import FitPlan, FittedWindow, fit_window
from preptime.training.training_data import day_number
from tests.training.factories import SyntheticData, full_plan, june, quick_plan


def test_fit_window_is_byte_identical_for_any_threads(features: FeatureMatrix) -> None:
    first, again, two_threads = (fit_window(features, june(10), full_plan(threads)) for threads in (1, 1, 2))
    assert first.graphs == again.graphs == two_threads.graphs
    assert first.calibration == again.calibration == two_threads.calibration
    assert first.live_calibration == two_threads.live_calibration
    assert first.names == tuple(CATALOGUE)
    assert tuple(first.graphs) == GRAPH_FILES


def test_fit_window_other_seed_gives_other_graph(features: FeatureMatrix, fitted: FittedWindow) -> None:
    assert fit_window(features, june(10), quick_plan(seed=13)).graphs != fitted.graphs


def test_fit_window_reports_parity_of_each_model(features: FeatureMatrix, fitted: FittedWindow) -> None:
    assert fitted.parity_seconds.keys() == {"rf", "quantile"}
    assert all(0 <= seconds <= 0.1 for seconds in fitted.parity_seconds.values())
    points, quantiles = fitted.load_graphs().models.run(features.X)
    assert points["rf"].shape == (len(features),)
    assert (np.diff(quantiles, axis=1) >= 0).all()
    assert {name: round(float(shares.sum()), 9) for name, shares in fitted.importance.items()} == {
        "rf": 1.0,
        "quantile": 1.0,
    }


def test_live_model_changes_no_other_prediction(features: FeatureMatrix, fitted: FittedWindow) -> None:
    with_live = fit_window(features, june(10), quick_plan(with_live_model=True))
    assert {name: graph for name, graph in with_live.graphs.items() if name != LIVE_FILE} == fitted.graphs
    live = with_live.load_graphs().live
    assert live is not None
    assert not np.array_equal(
        live.run_quantiles(features.live_matrix), fitted.load_graphs().quantile.run_quantiles(features.X)
    )


def test_reduced_plan_fits_the_lookup_and_a_small_quantile(features: FeatureMatrix) -> None:
    plan = quick_plan(with_live_model=True).reduced(features.data.restaurants.feature_set)
    reduced = fit_window(features, june(3), plan, min_calibration_orders=30)
    assert (reduced.names, reduced.live_calibration, list(reduced.graphs)) == (
        ("lookup", "quantile"), None, ["model.onnx", "quantile.onnx"],
    )  # fmt: skip
    points, _ = reduced.load_graphs().models.run(features.X)
    assert np.array_equal(points["lookup"], features.lookup_seconds)


def test_fit_window_uses_usable_orders_ready_by_the_last_day(
    data: SyntheticData, features: FeatureMatrix, fitted: FittedWindow
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
    changed_features = build_feature_matrix(replace(data.training_data, completed=changed), june(1), june(15))
    assert fit_window(changed_features, june(10), quick_plan()).graphs == fitted.graphs
    # Control: with a window that ends one day later, the graph changes.
    assert (
        fit_window(changed_features, june(11), quick_plan()).graphs
        != fit_window(build_feature_matrix(data.training_data, june(1), june(15)), june(11), quick_plan()).graphs
    )


def test_fit_window_reports_progress(features: FeatureMatrix) -> None:
    expected = ["rf fitted", "quantile fitted and calibrated", "exported with equal predictions"]
    for plan in (quick_plan(), quick_plan(with_live_model=True)):
        reports: list[tuple[str, float]] = []
        fit_window(features, june(10), plan, lambda *report: reports.append(report))  # noqa: B023 — called in this round
        assert [stage for stage, _ in reports] == [f"Models: {stage}" for stage in expected]
        steps = len(expected)
        assert [fraction for _, fraction in reports] == pytest.approx([(step + 1) / steps for step in range(steps)])
        expected.insert(2, "live model fitted and calibrated")


def test_upper_outlier_limit_matches_the_notebook() -> None:
    # Quartiles 200 and 400 by linear interpolation: 400 + 1.5 · 200.
    assert upper_outlier_limit(np.array([100.0, 200.0, 300.0, 400.0, 500.0])) == 700.0


def test_fit_window_rejects_window_without_ready_orders(features: FeatureMatrix) -> None:
    with pytest.raises(DataError, match="No order that can be used for fitting was ready by the end of 2015-05-31"):
        fit_window(features, june(1) - (june(2) - june(1)), quick_plan())


def test_fit_window_rejects_uncalibratable_default_model(features: FeatureMatrix) -> None:
    forest = RandomForestModel(name="quantile", tree_count=2, max_leaf_nodes=4)
    with pytest.raises(OperationError, match="can't be calibrated"):
        fit_window(features, june(10), FitPlan({"quantile": forest}, 1))
