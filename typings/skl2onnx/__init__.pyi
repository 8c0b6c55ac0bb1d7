from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

def to_onnx(model: object, X: NDArray[np.float32], *, target_opset: Mapping[str, int]) -> ModelProto: ...
