"""Servers that the API is measured against. Each is a program: `python -m benchmarks.references.NAME PORT …`."""
