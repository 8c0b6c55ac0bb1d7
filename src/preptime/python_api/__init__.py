"""The Python API: the functions and objects that `preptime` exports (docs/python.md).

Frames are pandas or Polars data frames. This package converts them, and calls the functions that the commands call.
"""
