"""The prediction models, the catalogue that lists them, and their export as one ONNX graph.

Rule: one library, one file. `catboost_models.py` imports `catboost`, `xgboost_models.py` imports `xgboost`, and they do
so inside functions, so that listing the catalogue loads no learning library.
"""
