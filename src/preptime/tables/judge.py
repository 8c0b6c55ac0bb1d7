"""What any column can have against it: missing, unreadable, negative, outside its declared range."""

from __future__ import annotations

import numpy as np

from preptime.domain.dictionary import order_column
from preptime.domain.verdict import ValidationReason
from preptime.tables.findings import FindingCollector
from preptime.tables.numbers import ParsedFloats, ParsedIntegers
from preptime.tables.times import ParsedTimestamps


def check_column(
    findings: FindingCollector,
    name: str,
    parsed: ParsedIntegers | ParsedFloats | ParsedTimestamps,
    *,
    optional: bool = False,
) -> None:
    """Add the findings of one declared column of orders; an optional one may be empty."""
    column = order_column(name)
    if not optional:
        findings.add(ValidationReason.MISSING_VALUE, name, parsed.missing, column.expected_text)
    if isinstance(parsed, ParsedTimestamps):
        findings.add(ValidationReason.UNPARSABLE_TIME, name, parsed.invalid, column.expected_text)
        return
    findings.add(ValidationReason.UNPARSABLE_NUMBER, name, parsed.invalid, column.expected_text)
    findings.add(ValidationReason.NEGATIVE_VALUE, name, parsed.values < 0, column.expected_text)
    minimum = -np.inf if column.minimum is None else column.minimum
    maximum = np.inf if column.maximum is None else column.maximum
    is_outside = parsed.values > maximum
    if minimum > 0:
        # Unusable cells are 0, and what is negative has its own reason.
        is_outside |= (parsed.values < minimum) & (parsed.values >= 0) & ~(parsed.missing | parsed.invalid)
    findings.add(ValidationReason.OUT_OF_RANGE, name, is_outside, column.expected_text)
