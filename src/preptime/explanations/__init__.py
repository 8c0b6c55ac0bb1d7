"""Explanations: how many seconds each feature adds to a p50.

Rule: modules here import NumPy, the standard library, and the layers `features`, `domain`, and `errors`.
"""
