"""The catalogue of models, and their export as one ONNX graph.

Rule: one vendor, one file. `catboost` is imported in `cat`, `xgboost` in `xgb`, and inside functions, so that the names
in the catalogue cost nothing to know.
"""
