"""Prediction accuracy: metrics, segments, JSON documents, charts, and the training report.

This package takes arrays and returns documents, charts, and one HTML file. It reads no tables, loads no models, and
predicts nothing. Only `charts`, `daily_charts`, and `html_report` import chart libraries, so that other code doesn't
pay for them.
"""
