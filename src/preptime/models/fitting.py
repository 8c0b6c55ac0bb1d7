"""Threads that fit models side by side.

Fitting many models at once, without fitting anything twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from importlib import import_module

import numpy as np
from numpy.typing import NDArray

from preptime.models.catboost_models import hold_catboost_logger
from preptime.models.model import FittedModel, Model, StackedModel, check_training_rows


@contextmanager
def fitting_threads(threads: int | None) -> Iterator[ThreadPoolExecutor]:
    """A pool of `threads` (None: as many as the library likes); every fit that has company runs in one.

    The thread that opens it only waits: it fits nothing itself until the pool is gone.
    """
    with hold_catboost_logger(), ThreadPoolExecutor(threads) as pool:
        yield pool


def fit_all(
    models: Mapping[str, Model],
    X: NDArray[np.float32],
    y: NDArray[np.float64],
    *,
    threads: int,
    seed: int,
    on_fitted: Callable[[str], None] = lambda _: None,
) -> dict[str, FittedModel]:
    """Every model fitted on X [N, F] and y [N] seconds, in the order of `models`; `on_fitted` is called with each model's name when its fit ends.

    Models that stand on others come last and take those as fitted. Each fit has one thread and several run at once, so
    that the result is the same to the bit for every number of `threads`. Raises DataError as `Model.fit` does.
    """
    check_training_rows(X, y)
    _import_libraries(models)
    stacked = {name: model for name, model in models.items() if isinstance(model, StackedModel)}
    fitted: dict[str, FittedModel] = {}
    with fitting_threads(threads) as pool:
        jobs = {
            pool.submit(model.fit, X, y, threads=1, seed=seed): name
            for name, model in models.items()
            if name not in stacked
        }
        for job in as_completed(jobs):
            fitted[jobs[job]] = job.result()
            on_fitted(jobs[job])
    for name, model in stacked.items():
        fitted_bases = {base.name: fitted[base.name] for base in model.models if models.get(base.name) == base}
        fitted[name] = model.fit_with_bases(fitted_bases, X, y, threads=threads, seed=seed)
        on_fitted(name)
    return {name: fitted[name] for name in models}


def _import_libraries(models: Mapping[str, Model]) -> None:
    """Import the learning libraries, one after the other.

    They look for each other (and for Polars) among the modules loaded already, and must not find one half imported by
    another thread.
    """
    for library in sorted({library for model in models.values() for library in model.libraries}):
        import_module(library)
