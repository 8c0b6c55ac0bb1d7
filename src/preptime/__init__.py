"""preptime: when will the food be ready?"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

# ONNX Runtime reports to its maker from Linux too since 1.29, models' names and hashes among it, unless it finds this
# when it is first loaded. Whoever sets it otherwise has decided so.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from preptime.client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> type[Client]:
    """`preptime.Client`, loaded when it is asked for."""
    if name != "Client":
        raise AttributeError(f"module 'preptime' has no attribute {name!r}")
    from preptime.client import Client

    return Client
