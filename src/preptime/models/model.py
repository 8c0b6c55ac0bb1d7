"""What the libraries' estimators have in common, so that strict types reach through them.

What a model is: something that fits, and what a fit leaves behind.

Arrays: `X` is float32 [N, F] and finite, `y` is float64 [N], seconds. A prediction is float32 seconds, [N] for a point
model and [N, 4] (`preptime.domain.orders.QUANTILE_LEVELS`) for `quantile`; it is never negative and quantiles never cross.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from preptime.errors import DataError

if TYPE_CHECKING:
    from onnx import ModelProto


class Estimator(Protocol):
    """The part of scikit-learn's estimator interface that is used here."""

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learn from rows X [N, F] and labels y [N]."""
        ...

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """One number per row, unclipped."""
        ...


MIN_ROWS = 2
"""What every library can fit; a model that needs more says so."""


class FittedModel(Protocol):
    """What a fit leaves: predicts, says what it looked at, and leaves training as ONNX."""

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Seconds, [N] or [N, 4]; the same bits on every call and for every grouping of the rows."""
        ...

    def importance(self) -> NDArray[np.float64]:
        """[F], each feature's share of what the model learned; sums to 1."""
        ...

    def to_onnx(self) -> ModelProto:
        """The same prediction as a graph with one output, `seconds`, [N] or [N, 4].

        Its input is `features`, float32 [N, F]; for a `FittedStackedModel`, one input float32 [N] per base, by its name.
        """
        ...


@runtime_checkable
class FittedStackedModel(FittedModel, Protocol):
    """A fitted model that reads other models' predictions instead of features."""

    @property
    def bases(self) -> Mapping[str, FittedModel]:
        """The fitted models it reads, by name."""
        ...


class Model(Protocol):
    """A recipe: a frozen dataclass with its hyperparameters as fields."""

    @property
    def name(self) -> str:
        """Its name in the catalogue, in files and in answers."""
        ...

    @property
    def libraries(self) -> tuple[str, ...]:
        """The packages that its `fit` imports."""
        ...

    def fit(self, X: NDArray[np.float32], y: NDArray[np.float64], *, threads: int, seed: int) -> FittedModel:
        """Fit; the same rows and seed give the same bits. Raises DataError for rows it cannot learn from."""
        ...


@runtime_checkable
class StackedModel(Model, Protocol):
    """A model that stands on others, and can take them as they are already fitted on the same rows."""

    @property
    def models(self) -> tuple[Model, ...]:
        """The models it stands on."""
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
        """`fit`, but for those of `models` that `fitted` has already, from this X, y and seed."""
        ...


def check_training_rows(X: NDArray[np.float32], y: NDArray[np.float64], min_rows: int = MIN_ROWS) -> None:
    """Raise DataError for rows no model can learn from: too few, not finite, or every feature constant."""
    if len(X) != len(y):
        raise DataError(f"{len(X)} rows of features, {len(y)} labels.", "Pass one label per row.")
    if len(X) < min_rows:
        raise DataError(f"{len(X)} rows to fit on; at least {min_rows} are needed.", "Widen the training window.")
    finite = np.isfinite(X)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise DataError(
            f"Feature {column} of row {row} is {X[row, column]}; features are finite.",
            "Fill it where the matrix is built.",
        )
    if not np.isfinite(y).all():
        row = int(np.argmin(np.isfinite(y)))
        raise DataError(f"The label of row {row} is {y[row]}; labels are finite seconds.", "Keep that row out.")
    if (X[0] == X).all():
        raise DataError(f"All {len(X)} rows have the same features.", "Widen the training window.")


def as_seconds(raw: NDArray[np.floating]) -> NDArray[np.float32]:
    """What an estimator said, as a prediction: float32, and nothing is ready before it is ordered."""
    seconds: NDArray[np.float32] = np.maximum(raw, 0.0).astype(np.float32)
    return seconds


def normalized_shares(weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """Weights [F] scaled to sum 1; equal ones where a model learned nothing (no split at all)."""
    magnitudes = np.nan_to_num(np.abs(np.asarray(weights, dtype=np.float64)))
    total = float(magnitudes.sum())
    return magnitudes / total if total > 0 else np.full(len(magnitudes), 1 / len(magnitudes))
