"""The only thing that predicts, and where it is kept.

Rule: NumPy, onnxruntime, msgspec, fsspec and the standard library.
Whatever is imported here is imported by the service.
"""
