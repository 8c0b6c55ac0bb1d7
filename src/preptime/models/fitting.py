"""Concurrent fitting of several models, without fitting a base model twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib import import_module

import numpy as np
from numpy.typing import NDArray

from preptime.models.custom import CustomModel
from preptime.models.model import FittedModel, Model, StackedModel, check_training_rows


def fit_all(
    models: Mapping[str, Model],
    X: NDArray[np.float32],
    y: NDArray[np.float64],
    *,
    threads: int,
    seed: int,
    on_fitted: Callable[[str], None] = lambda _: None,
) -> dict[str, FittedModel]:
    """Return every model fitted on the same rows, in the order of `models`.

    Several of our own models are fitted concurrently, with one thread each. A custom model is fitted alone, with all
    threads, because its library may not allow concurrent fits, as CatBoost. Stacked models are fitted last and reuse
    the base models that are fitted already. The result is identical for every number of threads.

    Args:
        models: The models by name.
        X: Features, float32 [N, F].
        y: Labels, float64 [N] seconds.
        threads: How many fits run concurrently, or how many threads a fit that runs alone can use.
        seed: Seed of every model.
        on_fitted: Called with the name of each model when its fit ends.

    Raises:
        DataError: As `Model.fit`.
    """
    if not models:
        return {}
    check_training_rows(X, y)
    _import_libraries(models)
    stacked = {name: model for name, model in models.items() if isinstance(model, StackedModel)}
    custom: dict[str, Model] = {name: model for name, model in models.items() if isinstance(model, CustomModel)}
    fitted: dict[str, FittedModel] = {}
    with ThreadPoolExecutor(threads) as pool:
        jobs = {
            pool.submit(model.fit, X, y, threads=1, seed=seed): name
            for name, model in models.items()
            if name not in stacked and name not in custom
        }
        for job in as_completed(jobs):
            fitted[jobs[job]] = job.result()
            on_fitted(jobs[job])
    for name, model in custom.items():
        fitted[name] = model.fit(X, y, threads=threads, seed=seed)
        on_fitted(name)
    for name, stack in stacked.items():
        fitted_bases = {base.name: fitted[base.name] for base in stack.models if models.get(base.name) == base}
        fitted[name] = stack.fit_with_bases(fitted_bases, X, y, threads=threads, seed=seed)
        on_fitted(name)
    return {name: fitted[name] for name in models}


def _import_libraries(models: Mapping[str, Model]) -> None:
    """Import the learning libraries one after the other.

    Each library checks which others (and whether Polars) are in `sys.modules`. Concurrent imports would let it find a
    partially imported module.
    """
    for library in sorted({library for model in models.values() for library in model.libraries}):
        import_module(library)
