"""Synthetic orders with known true quantiles, so that statements about models can be measured exactly.

Rule: `world` holds the aggregate facts, and everything else is drawn from them: restaurants, times, order contents, and
kitchens. Modules here read no file and contain no row of real data. For what is modeled, see docs/synthetic-data.md.
"""

from __future__ import annotations

from preptime.synthetic.synthesize import (
    SynthesisReport,
    synthesize,
    synthesize_frames,
    write_frames,
    write_integer_coded_orders,
)
from preptime.synthetic.world import Drift, SynthesisPlan

__all__ = [
    "Drift",
    "SynthesisPlan",
    "SynthesisReport",
    "synthesize",
    "synthesize_frames",
    "write_frames",
    "write_integer_coded_orders",
]
