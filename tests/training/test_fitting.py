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
from tests.training.factories import Data, june, quick_plan, whole_plan


def test_fitting_again_gives_the_same_bytes_and_so_does_another_number_of_threads(days: FeatureMatrix) -> None:
    one, again, two = (fit_window(days, june(10), whole_plan(threads)) for threads in (1, 1, 2))
    assert one.graph == again.graph == two.graph
    assert one.calibration == again.calibration == two.calibration
    assert one.names == tuple(CATALOGUE)


def test_another_seed_gives_another_graph(days: FeatureMatrix, fitted: FittedWindow) -> None:
    assert fit_window(days, june(10), quick_plan(seed=13)).graph != fitted.graph


def test_the_export_says_how_far_it_is_from_each_estimator(days: FeatureMatrix, fitted: FittedWindow) -> None:
    assert fitted.parity_seconds.keys() == {"rf", "quantile"}
    assert all(0 <= seconds <= 0.1 for seconds in fitted.parity_seconds.values())
    points, quantiles = fitted.load_graph(days.X.shape[1]).run(days.X)
    assert points["rf"].shape == (len(days),)
    assert (np.diff(quantiles, axis=1) >= 0).all()
    assert {name: round(float(shares.sum()), 9) for name, shares in fitted.importance.items()} == {
        "rf": 1.0,
        "quantile": 1.0,
    }


def test_it_fits_on_clean_orders_that_were_ready_by_then(data: Data, days: FeatureMatrix, fitted: FittedWindow) -> None:
    usable = data.corpus.is_fitting & (data.corpus.ready_day <= day_number(june(10)))
    assert fitted.orders == int(usable.sum())
    assert fitted.label_limit_seconds == upper_outlier_limit(data.corpus.labels[usable])


def test_an_order_still_open_at_the_end_of_the_window_is_not_fitted_on(data: Data, fitted: FittedWindow) -> None:
    last = np.flatnonzero(data.corpus.is_fitting & (data.corpus.acknowledged_day == day_number(june(10))))[-1]
    ready_at = data.corpus.completed.ready_at.copy()
    ready_at[last] = day_number(june(11)) * 86_400  # midnight
    still_open = replace(data.corpus, completed=replace(data.corpus.completed, ready_at=ready_at))
    assert (
        fit_window(build_feature_matrix(still_open, june(1), june(10)), june(10), quick_plan()).orders
        == fitted.orders - 1
    )


def test_nothing_after_the_window_changes_what_is_fitted(data: Data, fitted: FittedWindow) -> None:
    later = data.corpus.ready_day > day_number(june(10))
    label = data.corpus.completed.prep_time_seconds
    changed = replace(data.corpus.completed, prep_time_seconds=np.where(later, label + 1_000, label))
    other = build_feature_matrix(replace(data.corpus, completed=changed), june(1), june(15))
    assert fit_window(other, june(10), quick_plan()).graph == fitted.graph
    # The control: the day after the window is the first that would.
    assert (
        fit_window(other, june(11), quick_plan()).graph
        != fit_window(build_feature_matrix(data.corpus, june(1), june(15)), june(11), quick_plan()).graph
    )


def test_it_says_where_it_is(days: FeatureMatrix) -> None:
    told: list[tuple[str, float]] = []
    fit_window(days, june(10), quick_plan(), lambda stage, done: told.append((stage, done)))
    assert [done for _, done in told] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert {stage for stage, _ in told} >= {
        "Models: rf fitted",
        "Models: quantile fitted",
        "Models: quantiles calibrated",
    }


def test_the_fence_is_the_notebooks() -> None:
    # Quartiles 200 and 400 by linear interpolation: 400 + 1.5 · 200.
    assert upper_outlier_limit(np.array([100.0, 200.0, 300.0, 400.0, 500.0])) == 700.0


def test_days_before_any_order_was_ready_are_refused(days: FeatureMatrix) -> None:
    with pytest.raises(DataError, match="No order that can be fitted was ready by the end of 2015-05-31"):
        fit_window(days, june(1) - (june(2) - june(1)), quick_plan())


def test_a_default_model_that_cannot_be_calibrated_is_a_fault(days: FeatureMatrix) -> None:
    impostor = RandomForestModel(name="quantile", tree_count=2, max_leaf_nodes=4)
    with pytest.raises(OperationError, match="cannot be calibrated"):
        fit_window(days, june(10), FitPlan({"quantile": impostor}, 1))
