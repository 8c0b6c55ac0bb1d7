"""The model `lookup` of the reduced set: the restaurant's shrunken median, which is a column of the features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from preptime.models.model import as_seconds

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True, slots=True)
class LookupModel:
    """Predicts the restaurant lookup, so that a bundle with few orders contains it next to `quantile`."""

    libraries: ClassVar[tuple[str, ...]] = ()

    column: int
    """The column of the features with the restaurant's median, in seconds."""
    name: str = "lookup"

    def fit(self, X: NDArray[np.float32], y: NDArray[np.float64], *, threads: int, seed: int) -> FittedLookupModel:
        """Return the model. Nothing is fitted."""
        del y, threads, seed
        return FittedLookupModel(self.column, X.shape[1])


@dataclass(frozen=True, slots=True)
class FittedLookupModel:
    """The lookup of one column."""

    column: int
    n_features: int

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return seconds, [N]."""
        return as_seconds(X[:, self.column])

    def importance(self) -> NDArray[np.float64]:
        """Return 1 for the column and 0 for the others, [F]."""
        importance = np.zeros(self.n_features)
        importance[self.column] = 1.0
        return importance

    def to_onnx(self) -> ModelProto:
        """Return the ONNX model."""
        from onnx import helper, numpy_helper

        from preptime.models import onnx_export

        nodes = [
            helper.make_node("Gather", [onnx_export.INPUT_NAME, "column"], ["raw"], axis=1),
            helper.make_node("Relu", ["raw"], [onnx_export.OUTPUT_NAME]),
        ]
        column = numpy_helper.from_array(np.array(self.column, dtype=np.int64), "column")
        inputs = [onnx_export.features_info(self.n_features)]
        return onnx_export.make_model(nodes, [column], inputs, [onnx_export.vector_info(onnx_export.OUTPUT_NAME)])
