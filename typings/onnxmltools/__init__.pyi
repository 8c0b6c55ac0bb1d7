from collections.abc import Sequence

from onnx import ModelProto
from onnxmltools.convert.common.data_types import FloatTensorType

def convert_xgboost(
    model: object, *, initial_types: Sequence[tuple[str, FloatTensorType]], target_opset: int
) -> ModelProto: ...
def convert_lightgbm(
    model: object, *, initial_types: Sequence[tuple[str, FloatTensorType]], target_opset: int
) -> ModelProto: ...
