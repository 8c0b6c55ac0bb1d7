"""The meaning of one cell, shared by the parsers of one order (`api`) and of columns (`validation`).

Defines missing values, exact whole numbers, and category codes.
"""

from __future__ import annotations

from collections.abc import Mapping

from preptime.domain.orders import UNKNOWN_CODE
from preptime.domain.timestamps import WHITESPACE

MISSING_TOKENS = frozenset({"", "na", "n/a", "nan", "null", "none", "<na>", "nat"})
"""Texts that mean a missing value, in lower case and without whitespace around them."""
MAX_MISSING_LENGTH = 8
"""A longer text isn't missing, whatever its whitespace: parsers skip the comparison for most cells."""
MAX_EXACT_FLOAT = 2.0**53
"""The largest magnitude at which a 64-bit float still distinguishes whole numbers."""


def parse_category_text(text: str, codes_by_name: Mapping[str, int]) -> int:
    """Return the code of a category given by name or as a code in text, or `UNKNOWN_CODE`."""
    name = text.strip(WHITESPACE)
    if name in codes_by_name:
        return codes_by_name[name]
    digits = name.removesuffix(".0")  # pandas writes 3 as 3.0 in a column with empty cells
    if digits.isascii() and digits.isdigit() and len(digits) < 10 and int(digits) < len(codes_by_name):
        return int(digits)
    return UNKNOWN_CODE
