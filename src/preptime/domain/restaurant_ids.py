"""Restaurant identifiers and their keys, shared by the parsers of one order (`api`) and of columns (`validation`).

An identifier is a name: text of up to 200 characters whose spelling matters, so `007` and `7` are different
restaurants. Inside the program, a restaurant is a key, a 64-bit integer, so that features and histories use arrays:

- A decimal integer from 0 to 2^63 - 1 without leading zeros is its own key, as a number or as text.
- Any other text has a negative key: 8 bytes of its BLAKE2b hash.
- -1 is the key of an unknown restaurant. No identifier has it.

Spaces at both ends aren't part of an identifier. `7.0` means 7, because pandas writes whole numbers this way in a
column with missing values.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from hashlib import blake2b
from struct import Struct

from preptime.domain.cells import MAX_EXACT_FLOAT, WHOLE_FLOAT_PATTERN
from preptime.domain.timestamps import WHITESPACE
from preptime.domain.validation_reasons import ValidationReason

MAX_ID_CHARACTERS = 200
"""A longer identifier is rejected."""
UNKNOWN_RESTAURANT_KEY = -1
"""The key of an order's restaurant that isn't known."""
EXPECTED_ID = f"an identifier of 1 to {MAX_ID_CHARACTERS} characters"
"""The expected content of a cell, for messages."""
LARGEST_KEY = 2**63 - 1
"""The largest integer that is its own key."""
CACHED_TEXTS = 2**14
"""Number of texts of requests whose keys are kept, because the orders of a restaurant repeat its identifier. They need
4 MB as UUIDs, and at most 17 MB. `benchmarks/restaurant_ids.py` has the times."""

_MAX_DIGITS = len(str(LARGEST_KEY))
_MAX_BITS = 700
"""A larger integer has more than 200 digits. Python refuses to write an integer of thousands of digits as text."""
_WHOLE_FLOAT = re.compile(WHOLE_FLOAT_PATTERN)
_HASH = blake2b(digest_size=8)
_unpack_integer = Struct(">q").unpack


def restaurant_key(identifier: str | int) -> int:
    """Return the key of an identifier.

    Example:
        >>> restaurant_key("1326"), restaurant_key(1326), restaurant_key("1326.0")
        (1326, 1326, 1326)
        >>> restaurant_key("007") < -1
        True
    """
    if type(identifier) is int and 0 <= identifier <= LARGEST_KEY:
        return identifier
    return _text_key(str(identifier).strip(WHITESPACE))


def restaurant_id_text(text: str) -> str:
    """Return the spelling of an identifier: without spaces at both ends, and without the `.0` of a whole number.

    Two identifiers are the same restaurant exactly if these texts are equal.
    """
    text = text.strip(WHITESPACE)
    if text[-2:] == ".0" and _WHOLE_FLOAT.match(text) and abs(int(text[:-2])) <= MAX_EXACT_FLOAT:
        return str(int(text[:-2]))
    return text


def parse_restaurant_id(cell: object) -> int | ValidationReason:
    """Return the key of the identifier in a JSON value, or the reason why it isn't one.

    Only null and empty text are missing: `NA` and `null` can be names.
    """
    if type(cell) is int and 0 <= cell <= LARGEST_KEY:
        return cell
    if type(cell) is str:
        return _parse_text(cell) if len(cell) <= MAX_ID_CHARACTERS else _parse_text.__wrapped__(cell)
    if type(cell) is int:
        is_short = cell.bit_length() <= _MAX_BITS and len(str(cell)) <= MAX_ID_CHARACTERS
        return restaurant_key(cell) if is_short else ValidationReason.OUT_OF_RANGE
    if type(cell) is float and abs(cell) <= MAX_EXACT_FLOAT and cell.is_integer():
        return restaurant_key(int(cell))
    # pandas writes NaN for a missing value.
    is_missing = cell is None or (type(cell) is float and math.isnan(cell))
    return ValidationReason.MISSING_VALUE if is_missing else ValidationReason.UNPARSABLE_NUMBER


@lru_cache(CACHED_TEXTS)
def _parse_text(cell: str) -> int | ValidationReason:
    text = cell.strip(WHITESPACE)
    return _text_key(text) if 0 < len(text) <= MAX_ID_CHARACTERS else _rejection(text)


def forget_cached_texts() -> None:
    """Forget the keys of the texts that `parse_restaurant_id` keeps. For measurements."""
    _parse_text.cache_clear()


def _rejection(text: str) -> ValidationReason:
    return ValidationReason.OUT_OF_RANGE if text else ValidationReason.MISSING_VALUE


def _text_key(text: str) -> int:
    """Return the key of an identifier without spaces at its ends."""
    if text[-2:] == ".0":
        text = restaurant_id_text(text)
    if text.isdigit() and text.isascii() and (text[0] != "0" or text == "0") and len(text) <= _MAX_DIGITS:
        number = int(text)
        if number <= LARGEST_KEY:
            return number
    text_hash = _HASH.copy()  # twice as fast as a new one
    text_hash.update(text.encode())
    key: int = _unpack_integer(text_hash.digest())[0]
    if key >= 0:
        key = ~key
    return key if key != UNKNOWN_RESTAURANT_KEY else UNKNOWN_RESTAURANT_KEY - 1
