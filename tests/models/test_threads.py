"""CatBoost in several threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from catboost import CatBoostRegressor

from preptime.models.catboost_models import CatBoostTrees, notebook_estimator

X = np.random.default_rng(1).random((60, 3)).astype(np.float32)
Y = X.sum(1).astype(np.float64)


@pytest.fixture
def concurrent_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the number of threads in CatBoost at each call to a method that uses the library's log."""
    counts: list[int] = []
    inside = 0
    lock = threading.Lock()

    def watch(original: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            nonlocal inside
            with lock:
                inside += 1
                counts.append(inside)
            time.sleep(0.01)  # lets the other threads start
            try:
                return original(*arguments, **named)
            finally:
                with lock:
                    inside -= 1

        return call

    for name in ("_train", "_base_predict", "_calc_fstr", "_save_model"):
        monkeypatch.setattr(CatBoostRegressor, name, watch(getattr(CatBoostRegressor, name)))
    return counts


def use_trees(_: int) -> None:
    fitted = CatBoostTrees(tree_count=2, depth=2).fit(X, Y, threads=1, seed=1)
    fitted.predict_raw(X)
    fitted.importance()
    fitted.to_ensemble()


def use_notebook_estimator(_: int) -> None:
    notebook_estimator().fit(X, Y).predict(X)


@pytest.mark.parametrize(("use", "calls"), [(use_trees, 5), (use_notebook_estimator, 3)])
def test_one_thread_at_a_time_calls_catboost(
    use: Callable[[int], None], calls: int, concurrent_calls: list[int]
) -> None:
    """CatBoost's log belongs to the process, and concurrent calls can crash it. A fit also computes importances."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(use, range(8)))
    assert concurrent_calls == [1] * (8 * calls)


@pytest.mark.parametrize("loss", ["RMSE", "MultiQuantile:alpha=0.1,0.5,0.9"])
def test_number_of_threads_does_not_change_the_trees(loss: str) -> None:
    rows = np.random.default_rng(2).normal(size=(3_000, 8)).astype(np.float32)
    labels = 600 + 200 * rows[:, 0].astype(np.float64) + 90 * np.random.default_rng(3).normal(size=3_000)
    one, four = (CatBoostTrees(loss=loss).fit(rows, labels, threads=threads, seed=1) for threads in (1, 4))
    assert one.to_tree_node().SerializeToString() == four.to_tree_node().SerializeToString()
    assert one.importance().tolist() == four.importance().tolist()
