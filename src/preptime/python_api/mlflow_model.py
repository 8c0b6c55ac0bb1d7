"""Loads a bundle for `mlflow.pyfunc.load_model` (docs/mlflow.md). A model in MLflow has the name of this module."""

from __future__ import annotations

from pathlib import Path

from preptime.python_api.bundles import LoadedBundle, load_bundle


def _load_pyfunc(path: str) -> LoadedBundle:
    """Return the bundle in a folder, after checking it in a separate process. MLflow calls `predict` of the result."""
    return load_bundle(Path(path))
