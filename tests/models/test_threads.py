"""CatBoost's logger while several threads fit."""

from __future__ import annotations

import sys
import threading

import numpy as np

from preptime.models.catboost_models import CatBoostTrees
from preptime.models.fitting import fitting_threads


def test_what_catboost_says_goes_where_it_went_when_the_pool_was_opened() -> None:
    """None of its calls in the pool takes the logger away from another: they leave it to the thread that waits."""
    from catboost import core

    seen = set[int | None]()
    all_in = threading.Barrier(4)
    X = np.random.default_rng(1).random((60, 3)).astype(np.float32)

    def fit(_: int) -> None:
        all_in.wait(30)
        CatBoostTrees(tree_count=2, depth=2).fit(X, X.sum(1).astype(np.float64), threads=1, seed=1)
        seen.add(core._custom_loggers_stack._owning_thread_id)

    with fitting_threads(4) as pool:
        assert core._custom_loggers_stack._stack == [(sys.stdout, sys.stderr)]
        for _ in pool.map(fit, range(4)):
            pass
        assert seen == {threading.get_ident()}
    assert core._custom_loggers_stack._stack == []
