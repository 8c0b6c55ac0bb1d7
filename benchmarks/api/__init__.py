"""Benchmarks of the API, compared with reference servers."""
