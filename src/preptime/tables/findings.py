"""What an audit found: which rows, in which column, against which expectation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.domain.verdict import ValidationReason


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason in one column."""

    reason: ValidationReason
    column: str
    rows: NDArray[np.intp]
    """Positions, ascending."""
    expected: str


class FindingCollector:
    """Collects findings over N rows; memory grows with faults, not with rows times checks."""

    def __init__(self, row_count: int) -> None:
        self.reason_masks = np.zeros(row_count, np.uint32)
        """[N] the reasons so far, one bit each."""
        self._findings: list[Finding] = []

    def add(self, reason: ValidationReason, column: str, is_affected: NDArray[np.bool_], expected: str) -> None:
        """Give `reason` to the rows where `where` is true."""
        if not is_affected.any():
            return
        rows = np.flatnonzero(is_affected)
        self.reason_masks[rows] |= np.uint32(reason.bit)
        self._findings.append(Finding(reason, column, rows, expected))

    def sorted_findings(self) -> tuple[Finding, ...]:
        """All findings, the most fundamental reason first."""
        order = list(ValidationReason)
        return tuple(sorted(self._findings, key=lambda found: order.index(found.reason)))
