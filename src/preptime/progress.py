"""How a long step says where it is."""

from __future__ import annotations

from collections.abc import Callable

ProgressCallback = Callable[[str, float], None]
"""Told the name of the stage and the share of it that is done, 0 to 1."""


def no_progress(stage: str, fraction: float) -> None:
    """Say nothing."""
