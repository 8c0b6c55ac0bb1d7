"""The names that the examples of the Python API use, made once for all tests of this folder."""

from __future__ import annotations

import polars as pl
import pytest

from preptime.python_api.bundles import LoadedBundle
from preptime.python_api.training import TrainingResult
from tests.python_api.examples import example_names


@pytest.fixture(scope="session")
def orders() -> pl.DataFrame:
    """Return 3,000 orders from 1 to 12 June."""
    frame: pl.DataFrame = example_names()["orders"]
    return frame


@pytest.fixture(scope="session")
def restaurants() -> pl.DataFrame:
    """Return their 40 restaurants."""
    frame: pl.DataFrame = example_names()["restaurants"]
    return frame


@pytest.fixture(scope="session")
def training() -> TrainingResult:
    """Return a training of `xgb` and `quantile` on them."""
    result: TrainingResult = example_names()["training"]
    return result


@pytest.fixture(scope="session")
def bundle(training: TrainingResult) -> LoadedBundle:
    """Return its bundle."""
    return training.bundle
