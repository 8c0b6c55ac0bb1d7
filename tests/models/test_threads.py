"""CatBoost's logger while several threads fit."""

from __future__ import annotations

import sys
import threading

import numpy as np

from preptime.models.catboost_models import CatBoostTrees
from preptime.models.fitting import fitting_threads


def test_fitting_threads_keep_catboost_logger() -> None:
    """No call in the pool removes the logger of another: the waiting thread holds it."""
    from catboost import core

    owners = set[int | None]()
    all_started = threading.Barrier(4)
    X = np.random.default_rng(1).random((60, 3)).astype(np.float32)

    def fit(_: int) -> None:
        all_started.wait(30)
        CatBoostTrees(tree_count=2, depth=2).fit(X, X.sum(1).astype(np.float64), threads=1, seed=1)
        owners.add(core._custom_loggers_stack._owning_thread_id)

    with fitting_threads(4) as pool:
        assert core._custom_loggers_stack._stack == [(sys.stdout, sys.stderr)]
        for _ in pool.map(fit, range(4)):
            pass
        assert owners == {threading.get_ident()}
    assert core._custom_loggers_stack._stack == []
