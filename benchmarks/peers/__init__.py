"""Benchmark of the API next to other model servers: `python -m benchmarks peers`.

Every server runs on one core with the same bundle, features, and ONNX graph: raw orders in, all quantiles and point
models out, JSON both ways.
"""
