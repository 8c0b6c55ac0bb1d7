"""The folder of a model version: a bundle in the format of MLflow, for `mlflow.pyfunc.load_model`.

The file `MLmodel` is YAML, of which JSON is a part. Nothing here imports MLflow, because its signatures need pandas,
which the commands don't.
"""

from __future__ import annotations

import json
import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from preptime.bundle.manifest import Manifest
from preptime.domain.orders import DEFAULT_MODEL, QUANTILE_LEVELS
from preptime.schema.schema import Schema
from preptime.scoring.scorer import (
    FALLBACK_LEVEL,
    PREDICTED_READY_AT,
    PREDICTED_SECONDS,
    PREDICTION_BUNDLE,
    PREDICTION_REASON,
    model_column,
    quantile_column,
)

LOADER_MODULE = "preptime.python_api.mlflow_model"
"""The module whose `_load_pyfunc` MLflow calls. A string, because it's in a higher layer."""
BUNDLE_FOLDER = "bundle"
MODEL_FILE = "MLmodel"
REQUIREMENTS_FILE = "requirements.txt"


def write_model_folder(bundle_folder: Path, manifest: Manifest, folder: Path) -> None:
    """Write a bundle as a model of MLflow to the existing `folder`."""
    shutil.copytree(bundle_folder, folder / BUNDLE_FOLDER)
    requirements = [f"preptime[batch]=={version('preptime')}", "pandas>=3", "pyarrow>=25"]
    (folder / REQUIREMENTS_FILE).write_text("\n".join(requirements) + "\n", encoding="utf-8")
    python_environment = {"python": platform.python_version(), "dependencies": [f"-r {REQUIREMENTS_FILE}"]}
    (folder / "python_env.yaml").write_text(json.dumps(python_environment, indent=1), encoding="utf-8")
    (folder / MODEL_FILE).write_text(json.dumps(model_description(manifest), indent=1), encoding="utf-8")


def model_description(manifest: Manifest) -> dict[str, Any]:
    """Return the content of `MLmodel`: how to load the bundle, and its signature."""
    return {
        "flavors": {
            "python_function": {
                "loader_module": LOADER_MODULE,
                "data": BUNDLE_FOLDER,
                "env": {"virtualenv": "python_env.yaml"},
                "python_version": platform.python_version(),
            }
        },
        "mlflow_version": version("mlflow-skinny"),
        "signature": {
            "inputs": json.dumps(input_columns(manifest.schema)),
            "outputs": json.dumps(output_columns(manifest)),
            "params": None,
        },
        "metadata": {"bundle": manifest.id, "target": manifest.schema.target.name},
    }


def input_columns(schema: Schema) -> list[dict[str, Any]]:
    """Return the columns of orders to predict, in the signature's format.

    All have the type `any`: the bundle accepts text, numbers, and times, and reports an invalid value in the row. A
    stricter type would reject the whole frame.
    """
    required = set(schema.required_columns("scoring").values())
    return [
        {"name": column, "type": "any", "required": column in required} for column in schema.request_fields().values()
    ]


def output_columns(manifest: Manifest) -> list[dict[str, Any]]:
    """Return the columns that a prediction adds to those of the orders, in the signature's format."""
    seconds = [
        PREDICTED_SECONDS,
        *map(quantile_column, QUANTILE_LEVELS),
        *(model_column(name) for name in manifest.models if name != DEFAULT_MODEL),
    ]
    columns = dict.fromkeys(seconds, "float") | {
        PREDICTED_READY_AT: "any",  # text or a time, as in the orders
        FALLBACK_LEVEL: "string",
        PREDICTION_REASON: "string",
        PREDICTION_BUNDLE: "string",
    }
    return [{"name": name, "type": kind, "required": False} for name, kind in columns.items()]
