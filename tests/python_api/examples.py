"""A pytest plugin: the names that the examples in the docstrings of the Python API use. `-p tests.python_api.examples`.

`orders` and `restaurants` are twelve synthetic days, `schema` has small models, `training` is a training with them, and
`bundle` its bundle.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
import pytest

from preptime.schema.schema import TAKE_HOME_SCHEMA, ModelSettings, Schema


def small_models() -> Schema:
    """Return the built-in schema with few trees for each model."""
    quantile: dict[str, int | float | str | bool] = {
        "tree_count": 40,
        "learning_rate": 0.1,
        "depth": 4,
        "border_count": 32,
    }
    models = {"quantile": ModelSettings(parameters=quantile), "xgb": ModelSettings(parameters={"tree_count": 10})}
    return msgspec.structs.replace(TAKE_HOME_SCHEMA, models=models)


@cache
def example_names() -> dict[str, Any]:
    """Return the names and their values."""
    import polars as pl

    import preptime

    orders, restaurants, _ = preptime.synthesize(3_000, restaurants=40, days=12, seed=7)
    training = preptime.train(orders, restaurants, models=["xgb"], schema=small_models(), threads=2, progress=False)
    return {
        "pl": pl,
        "preptime": preptime,
        "orders": orders,
        "restaurants": restaurants,
        "training": training,
        "bundle": training.bundle,
        "schema": small_models(),
    }


@pytest.fixture(autouse=True)
def api_examples(request: pytest.FixtureRequest, doctest_namespace: dict[str, Any]) -> None:
    """Add the names to the examples of the Python API."""
    if "python_api" in str(request.path):
        doctest_namespace.update(example_names())
