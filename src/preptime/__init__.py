"""preptime: predict when food will be ready."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

# Since 1.29, ONNX Runtime sends telemetry on Linux too, including names and hashes of models, unless this variable is
# set before its first import. A value that the user sets is kept.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from preptime.client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> type[Client]:
    """Import `preptime.Client` when it's first used."""
    if name != "Client":
        raise AttributeError(f"module 'preptime' has no attribute {name!r}")
    from preptime.client import Client

    return Client
