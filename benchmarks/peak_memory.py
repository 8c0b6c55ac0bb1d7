"""The peak memory of a process of a benchmark."""

from __future__ import annotations

import sys


def peak_mb() -> float:
    """Return the peak resident memory of this process, or NaN if the system doesn't report it (Windows)."""
    try:
        import resource
    except ImportError:
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)
