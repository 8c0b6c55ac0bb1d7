"""Text formats that the command line and the dashboard share."""

from __future__ import annotations


def format_count(count: int, noun: str) -> str:
    """Return a count with its noun: `1 order`, `2,500 orders`."""
    return f"{count:,} {noun if count == 1 else noun + 's'}"
