"""MLflow: the bundle as a pyfunc model, for `mlflow models serve`."""

from __future__ import annotations

from typing import Any

import mlflow
import pandas as pd
import pydantic
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema

from benchmarks.peers.predictor import ORDER_COLUMNS, QUANTILES, Predictor

COLUMN_TYPES = ("string", "double", "long", "long")


class Order(pydantic.BaseModel):
    """One order."""

    order_acknowledged_at: str
    order_value_gbp: float
    restaurant_id: int
    number_of_items: int


class _Model(mlflow.pyfunc.PythonModel):
    def load_context(self, context: object) -> None:
        """Load the bundle."""
        del context  # The store is in the environment.
        self.predictor = Predictor()


class Frames(_Model):
    """Orders and predictions as DataFrames."""

    def predict(self, model_input: pd.DataFrame) -> pd.DataFrame:
        """Predict the orders of a request."""
        predictions = self.predictor.predict(*(model_input[name].tolist() for name in ORDER_COLUMNS))
        quantiles = dict(zip(QUANTILES, predictions.quantiles.T, strict=True))
        return pd.DataFrame({**quantiles, **predictions.points})


class Hints(_Model):
    """Orders as pydantic objects, which MLflow validates."""

    def predict(self, model_input: list[Order]) -> list[dict[str, Any]]:
        """Predict the orders of a request."""
        return self.predictor.predict_rows([order.model_dump() for order in model_input])


def save(kind: str, folder: str) -> None:
    """Save the model `frames`, which has a signature, or `hints`, which has type hints.

    The saved model refers to this module, so this module must be importable when the model is served.
    """
    if kind == "hints":
        mlflow.pyfunc.save_model(folder, python_model=Hints(), pip_requirements=[])
        return
    inputs = [ColSpec(type_, name) for type_, name in zip(COLUMN_TYPES, ORDER_COLUMNS, strict=True)]
    mlflow.pyfunc.save_model(
        folder, python_model=Frames(), signature=ModelSignature(Schema(inputs)), pip_requirements=[]
    )
