"""preptime: when will the food be ready?"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from preptime.client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> type[Client]:
    """`preptime.Client`, loaded when it is asked for."""
    if name != "Client":
        raise AttributeError(f"module 'preptime' has no attribute {name!r}")
    from preptime.client import Client

    return Client
