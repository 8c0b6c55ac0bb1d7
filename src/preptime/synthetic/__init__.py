"""Orders from a world whose truth is known, so that claims about models can be measured exactly.

`world` holds the aggregate facts, everything else is drawn from them: restaurants, times, baskets, kitchens.
Nothing here reads a file, and no row of anybody's data is in it. What it models and what it doesn't:
docs/synthetic-data.md.
"""

from __future__ import annotations

from preptime.synthetic.synthesize import SynthesisReport, synthesize, synthesize_frames, write_integer_coded_orders
from preptime.synthetic.world import Drift, SynthesisPlan

__all__ = [
    "Drift",
    "SynthesisPlan",
    "SynthesisReport",
    "synthesize",
    "synthesize_frames",
    "write_integer_coded_orders",
]
