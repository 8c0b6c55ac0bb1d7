"""What an audit found: which rows, in which column, against which expectation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.domain.verdict import Reason


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason in one column."""

    reason: Reason
    column: str
    rows: NDArray[np.intp]
    """Positions, ascending."""
    expected: str


class Findings:
    """Collects findings over N rows; memory grows with faults, not with rows times checks."""

    def __init__(self, rows: int) -> None:
        self.bits = np.zeros(rows, np.uint32)
        """[N] the reasons so far, one bit each."""
        self._found: list[Finding] = []

    def add(self, reason: Reason, column: str, where: NDArray[np.bool_], expected: str) -> None:
        """Give `reason` to the rows where `where` is true."""
        if not where.any():
            return
        rows = np.flatnonzero(where)
        self.bits[rows] |= np.uint32(reason.bit)
        self._found.append(Finding(reason, column, rows, expected))

    def listed(self) -> tuple[Finding, ...]:
        """All findings, the most fundamental reason first."""
        order = list(Reason)
        return tuple(sorted(self._found, key=lambda found: order.index(found.reason)))
