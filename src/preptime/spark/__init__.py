"""Score, count histories, and prepare training data with Apache Spark (docs/scale.md).

`score` is for a job of your own, with a session of your own. The commands are in `preptime.cli.spark`. PySpark is
imported when a function needs it, and only in this package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from preptime.spark.scoring import score

__all__ = ["score"]

_MODULES = {"score": "preptime.spark.scoring"}
"""The module of each public name."""


def __getattr__(name: str) -> object:
    """Import a public name when it's first used."""
    if name not in _MODULES:
        raise AttributeError(f"module 'preptime.spark' has no attribute {name!r}")
    value: object = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value
