"""Serving knows nothing of training (D3), seen from a fresh process."""

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


def loaded_after(statement: str) -> set[str]:
    looking = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", looking], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_a_process_that_opens_bundles_loads_nothing_of_training() -> None:
    loaded = loaded_after(f"from preptime.bundle import {MODULES}")
    assert {"numpy", "onnxruntime", "msgspec", "preptime.bundle.bundle"} <= loaded
    assert loaded.isdisjoint(TRAINING_ONLY)
    assert "fsspec" not in loaded, "a store that is a folder needs no fsspec"


@pytest.mark.parametrize("library", ["polars", "onnx"])
def test_the_look_would_find_one(library: str) -> None:
    assert library in loaded_after(f"import {library}")


def test_what_opens_bundles_reports_to_nobody(tmp_path: Path) -> None:
    """ONNX Runtime's telemetry leaves its session's file among the temporary ones as soon as it is loaded."""
    environ = {name: value for name, value in os.environ.items() if name not in {"CI", "ORT_DISABLE_TELEMETRY"}}
    environ |= {"TMPDIR": str(tmp_path), "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    load = [sys.executable, "-c", "import preptime.bundle.bundle, preptime.bundle.graph"]
    subprocess.run(load, env=environ, check=True)
    assert list(tmp_path.iterdir()) == []
