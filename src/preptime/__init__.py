"""preptime: predict when food will be ready.

The Python API trains models, inspects them, and predicts with them (docs/python.md). Its names are imported when they
are first used, so that `import preptime` is fast.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

# Since 1.29, ONNX Runtime sends telemetry on Linux too, including names and hashes of models, unless this variable is
# set before its first import. A value that the user sets is kept.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from preptime.client import Client
    from preptime.client.asynchronous import AsyncClient
    from preptime.errors import PreptimeError
    from preptime.python_api.bundles import load_bundle
    from preptime.python_api.checking import check
    from preptime.python_api.reading import read_orders, read_restaurants, read_schema, synthesize
    from preptime.python_api.schemas import infer_schema
    from preptime.python_api.stores import open_store
    from preptime.python_api.training import backtest, feature_names, features, train
    from preptime.python_api.tuning import tune

__all__ = [
    "AsyncClient",
    "Client",
    "PreptimeError",
    "backtest",
    "check",
    "feature_names",
    "features",
    "infer_schema",
    "load_bundle",
    "open_store",
    "read_orders",
    "read_restaurants",
    "read_schema",
    "synthesize",
    "train",
    "tune",
]

_MODULES = {
    "AsyncClient": "preptime.client.asynchronous",
    "Client": "preptime.client",
    "PreptimeError": "preptime.errors",
    "backtest": "preptime.python_api.training",
    "check": "preptime.python_api.checking",
    "feature_names": "preptime.python_api.training",
    "features": "preptime.python_api.training",
    "infer_schema": "preptime.python_api.schemas",
    "load_bundle": "preptime.python_api.bundles",
    "open_store": "preptime.python_api.stores",
    "read_orders": "preptime.python_api.reading",
    "read_restaurants": "preptime.python_api.reading",
    "read_schema": "preptime.python_api.reading",
    "synthesize": "preptime.python_api.reading",
    "train": "preptime.python_api.training",
    "tune": "preptime.python_api.tuning",
}
"""The module of each public name."""


class _Package(ModuleType):
    """The package itself. Its function `features` has the same name as the package `preptime.features`."""

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute, except for what an import of `preptime.features` would replace the function with."""
        if name not in _MODULES or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> object:
    """Import a public name when it's first used."""
    if name not in _MODULES:
        raise AttributeError(f"module 'preptime' has no attribute {name!r}")
    try:
        module = import_module(_MODULES[name])
    except ModuleNotFoundError as error:
        from preptime.python_api.extras import missing_extra_error

        raise missing_extra_error(error, f"preptime.{name}", None if name.endswith("Client") else "train") from error
    value: object = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__]
