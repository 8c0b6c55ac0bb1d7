"""What any column can have against it: missing, unreadable, negative, outside its declared range."""

from __future__ import annotations

import numpy as np

from preptime.domain.dictionary import order_column
from preptime.domain.verdict import Reason
from preptime.tables.findings import Findings
from preptime.tables.numbers import Floats, Integers
from preptime.tables.times import Times


def judge(findings: Findings, name: str, read: Integers | Floats | Times, *, optional: bool = False) -> None:
    """Add the findings of one declared column of orders; an optional one may be empty."""
    column = order_column(name)
    if not optional:
        findings.add(Reason.MISSING_VALUE, name, read.missing, column.expected)
    if isinstance(read, Times):
        findings.add(Reason.UNPARSABLE_TIME, name, read.bad, column.expected)
        return
    findings.add(Reason.UNPARSABLE_NUMBER, name, read.bad, column.expected)
    findings.add(Reason.NEGATIVE_VALUE, name, read.value < 0, column.expected)
    low = -np.inf if column.minimum is None else column.minimum
    high = np.inf if column.maximum is None else column.maximum
    outside = read.value > high
    if low > 0:
        # Unusable cells are 0, and what is negative has its own reason.
        outside |= (read.value < low) & (read.value >= 0) & ~(read.missing | read.bad)
    findings.add(Reason.OUT_OF_RANGE, name, outside, column.expected)
