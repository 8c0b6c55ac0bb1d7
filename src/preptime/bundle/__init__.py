"""Bundles: the only objects that predict, the store that keeps them, and the champion log.

Rule: modules here import NumPy, ONNX Runtime, msgspec, fsspec, platformdirs, and the standard library. The prediction
service imports everything that they import.
"""
