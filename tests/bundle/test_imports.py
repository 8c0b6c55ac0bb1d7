"""Serving doesn't depend on training (decision 3), tested in a new process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TRAINING_ONLY = (
    "polars",
    "pandas",
    "sklearn",
    "catboost",
    "xgboost",
    "onnx",
    "skl2onnx",
    "onnxmltools",
    "scipy",
    "altair",
)
MODULES = "bundle, champion_log, inventory, store, writer"


def modules_loaded_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(process.stdout.split())


def test_bundle_import_loads_no_training_library() -> None:
    loaded = modules_loaded_after(f"from preptime.bundle import {MODULES}")
    assert {"numpy", "onnxruntime", "msgspec", "preptime.bundle.bundle"} <= loaded
    assert loaded.isdisjoint(TRAINING_ONLY)
    assert "fsspec" not in loaded, "a store in a folder must not load fsspec"


def test_scoring_and_monitoring_load_no_library_of_models() -> None:
    """docs/deploy-docker.md: these commands need none of the 526 MB for training in the jobs image."""
    load = "import importlib, pkgutil, preptime.monitoring as m, preptime.scoring as s\n"
    names = "for package in (m, s): [importlib.import_module(i.name) for i in pkgutil.walk_packages("
    loaded = modules_loaded_after(f"{load}{names}package.__path__, package.__name__ + '.')]")
    assert {"polars", "preptime.monitoring.monitor", "preptime.scoring"} <= loaded
    assert loaded.isdisjoint({"catboost", "matplotlib", "onnx", "pandas", "plotly", "sklearn", "skl2onnx", "xgboost"})


@pytest.mark.parametrize("library", ["polars", "onnx"])
def test_modules_loaded_after_detects_library(library: str) -> None:
    assert library in modules_loaded_after(f"import {library}")


def test_bundle_import_sends_no_telemetry(tmp_path: Path) -> None:
    """ONNX Runtime's telemetry would create a session file in the temporary folder when it's loaded."""
    environ = {name: value for name, value in os.environ.items() if name not in {"CI", "ORT_DISABLE_TELEMETRY"}}
    environ |= {"TMPDIR": str(tmp_path), "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    load = [sys.executable, "-c", "import preptime.bundle.bundle, preptime.bundle.graph"]
    subprocess.run(load, env=environ, check=True)
    assert list(tmp_path.iterdir()) == []
