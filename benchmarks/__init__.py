"""Figures, each from a command: `python -m benchmarks.NAME [--json]`, or `python -m benchmarks` for all in one run.

A benchmark prints a Markdown table, with --json one JSON document. It asserts nothing: what must hold is in tests/.
"""
