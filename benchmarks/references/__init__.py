"""Reference servers for the API benchmark. Each is a program: `python -m benchmarks.references.NAME PORT …`."""
