"""The protocols of models and fitted models, and the checks that every model shares.

Shapes: `X` is float32 [N, F] and finite; `y` is float64 [N], seconds. A prediction is float32 seconds, [N] for a point
model and [N, 4] (`preptime.domain.orders.QUANTILE_LEVELS`) for `quantile`. It's never negative, and the quantiles of a
row never cross.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from preptime.errors import DataError

if TYPE_CHECKING:
    from onnx import ModelProto

MIN_ROWS = 2
"""The number of rows that every library can fit. A model that needs more passes `min_rows`."""


class Model(Protocol):
    """An unfitted model: a frozen dataclass whose fields are its hyperparameters."""

    @property
    def name(self) -> str:
        """The name in the catalogue, in files, and in predictions."""
        ...

    @property
    def libraries(self) -> tuple[str, ...]:
        """The packages that `fit` imports."""
        ...

    def fit(self, X: NDArray[np.float32], y: NDArray[np.float64], *, threads: int, seed: int) -> FittedModel:
        """Return the fitted model. The same rows and seed give the same bits, for every number of threads.

        Raises `DataError` for rows that the model can't learn from.
        """
        ...


class FittedModel(Protocol):
    """A fitted model: it predicts, reports feature importance, and exports to ONNX."""

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return seconds, [N] or [N, 4]. A row gets the same bits in every call and in every batch."""
        ...

    def importance(self) -> NDArray[np.float64]:
        """Return the importance of each feature, [F], as shares with the sum 1."""
        ...

    def to_onnx(self) -> ModelProto:
        """Return the same prediction as an ONNX model with one output, `seconds`, [N] or [N, 4].

        The input is `features`, float32 [N, F]. A `FittedStackedModel` has one input float32 [N] per base model
        instead, with the base model's name.
        """
        ...


@runtime_checkable
class StackedModel(Model, Protocol):
    """A model that reads the predictions of base models, and can reuse base models that are fitted already."""

    @property
    def models(self) -> tuple[Model, ...]:
        """The base models."""
        ...

    def fit_with_bases(
        self,
        fitted: Mapping[str, FittedModel],
        X: NDArray[np.float32],
        y: NDArray[np.float64],
        *,
        threads: int,
        seed: int,
    ) -> FittedModel:
        """Return the same as `fit`, but reuse the base models in `fitted`, from the same X, y, and seed."""
        ...


@runtime_checkable
class FittedStackedModel(FittedModel, Protocol):
    """A fitted model that reads the predictions of base models instead of features."""

    @property
    def bases(self) -> Mapping[str, FittedModel]:
        """The fitted base models by name."""
        ...


class Estimator(Protocol):
    """The part of scikit-learn's estimator interface that `training.notebook` uses."""

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit on rows X [N, F] and labels y [N]."""
        ...

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return one unclipped number per row, [N]."""
        ...


def check_training_rows(X: NDArray[np.float32], y: NDArray[np.float64], min_rows: int = MIN_ROWS) -> None:
    """Raise `DataError` for rows that no model can learn from: too few, not finite, or all identical."""
    if len(X) != len(y):
        raise DataError(f"{len(X)} rows of features, {len(y)} labels.", "Pass one label per row.")
    if len(X) < min_rows:
        raise DataError(f"{len(X)} rows to fit on; at least {min_rows} are needed.", "Widen the training window.")
    finite = np.isfinite(X)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise DataError(
            f"Feature {column} of row {row} is {X[row, column]}; expected a finite number.",
            "Fill missing values before you build the matrix.",
        )
    if not np.isfinite(y).all():
        row = int(np.argmin(np.isfinite(y)))
        raise DataError(f"The label of row {row} is {y[row]}; expected finite seconds.", "Exclude that row.")
    if (X[0] == X).all():
        raise DataError(f"All {len(X)} rows have the same features.", "Widen the training window.")


def as_seconds(raw: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return an estimator's output as a prediction: float32, and at least 0."""
    seconds: NDArray[np.float32] = np.maximum(raw, 0.0).astype(np.float32)
    return seconds


def normalized_shares(weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the sizes of the weights [F], scaled to the sum 1. All 0 (a model without splits) gives equal shares."""
    magnitudes = np.nan_to_num(np.abs(np.asarray(weights, dtype=np.float64)))
    total = float(magnitudes.sum())
    return magnitudes / total if total > 0 else np.full(len(magnitudes), 1 / len(magnitudes))
