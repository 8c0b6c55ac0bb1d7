"""How a long step says where it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, float], None]
"""Told the name of the stage and the share of it that is done, 0 to 1."""


def silent(stage: str, done: float) -> None:
    """Say nothing."""
