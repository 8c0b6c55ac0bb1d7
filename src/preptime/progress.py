"""The callback with which long steps report their progress."""

from __future__ import annotations

from collections.abc import Callable

ProgressCallback = Callable[[str, float], None]
"""Called with the name of the stage and the completed fraction of it, from 0 to 1."""


def no_progress(stage: str, fraction: float) -> None:
    """Report nothing."""
