"""What the libraries' estimators have in common, so that strict types reach through them."""

from __future__ import annotations

from typing import Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Estimator(Protocol):
    """The part of scikit-learn's estimator interface that is used here."""

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learn from rows X [N, F] and labels y [N]."""
        ...

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """One number per row, unclipped."""
        ...
