"""Results that the page Monitoring has something to show of: synthetic weeks, answered and looked at every morning."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from preptime.monitoring.document import encode
from preptime.monitoring.monitor import monitor
from preptime.tables.results import MONITORING, Results
from preptime.tables.synthetic import Drift, SynthesisPlan
from tests.monitoring.months import make_month

LOOKED_AT = 10
"""Mornings with a document."""
PLAN = SynthesisPlan(orders=30_000, restaurants=400, days=42, drift=Drift("London", 38, 1.15))
"""London takes 15 % longer in the last five days."""


def mornings(own: Path, folder: Path) -> Path:
    """The folder of results to show: `own` where it has a monitored morning, else one made up in `folder`."""
    if Results(own).days(MONITORING):
        return own
    month = make_month(PLAN, folder / "results")
    for back in range(LOOKED_AT):
        date = month.last + dt.timedelta(days=1 - back)
        month.results.write(date, MONITORING, encode(monitor(month.watch(date), date)))
    return month.results.root
