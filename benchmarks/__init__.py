"""Benchmarks: `python -m benchmarks.NAME [--json]` runs one, `python -m benchmarks` runs all.

A benchmark prints a Markdown table, or one JSON document with --json. It asserts nothing; tests do.
"""
