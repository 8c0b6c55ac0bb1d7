from catboost import CatBoostRegressor
from onnx import ModelProto

def convert_to_onnx_object(model: CatBoostRegressor) -> ModelProto: ...
