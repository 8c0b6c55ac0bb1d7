"""Timestamp grammar and time rules, shared by the parsers of one order (`api`) and of columns (`validation`).

Rules (decision 5):

- A time with an offset other than UTC is local time at the restaurant, as written.
- `Z`, `UTC`, `+00:00`, an epoch, and a datetime with a time zone (from a database) are instants. They are converted to
  the restaurant's time zone.
- A time without an offset is local time at the restaurant.
- An epoch is in seconds, milliseconds, microseconds, or nanoseconds. The magnitude decides, which is unambiguous
  between 2000 and 2099.
- A local time that occurs twice (01:30 in autumn) means the first occurrence.
- A local time that is skipped (02:30 in spring) keeps its digits and the offset from before the change.

A London file therefore reads the same in winter, when `+00:00` is both the offset and UTC. In June, `12:00+00:00` in
London becomes 13:00.
"""

from __future__ import annotations

import math

SECONDS_PER_DAY = 86_400
MICROSECONDS = 1_000_000
"""Microseconds in a second."""

EARLIEST_SECONDS = 946_684_800
"""2000-01-01 00:00 UTC. Earlier times are rejected."""
LATEST_SECONDS = 4_102_444_800
"""2100-01-01 00:00 UTC, exclusive."""

EPOCH_SCALES = (MICROSECONDS, 1_000, 1)
"""Microseconds per unit of an epoch in seconds, milliseconds, and microseconds. Nanoseconds are divided instead."""

# Character classes are written out because \\d and \\s match more characters in Rust's regular expressions.
TIMESTAMP_PATTERN = (
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]((?:[01][0-9]|2[0-3]):[0-5][0-9])(?::([0-5][0-9])(?:[.,]([0-9]{1,9}))?)?"
    r" ?(Z|z|UTC|[+-](?:0[0-9]|1[0-4])(?::?[0-5][0-9])?)?$"
)
"""Groups: date, hours and minutes, seconds, fraction, offset."""
EPOCH_PATTERN = r"^[0-9]{9,19}$"
WHITESPACE = " \t\r\n"
"""Characters that parsers strip from both ends of a cell."""


def parse_utc_offset(text: str) -> int:
    """Return the last group of `TIMESTAMP_PATTERN` in seconds; 0 for `Z` and `UTC`."""
    if text in {"Z", "z", "UTC"}:
        return 0
    digits = text[1:].replace(":", "").ljust(4, "0")
    seconds = int(digits[:2]) * 3600 + int(digits[2:]) * 60
    return -seconds if text[0] == "-" else seconds


def parse_epoch(value: float) -> int | None:
    """Return an epoch of any unit in microseconds, or None if it isn't between 2000 and 2099 in any unit."""
    if not math.isfinite(value):
        return None
    for scale in EPOCH_SCALES:
        microseconds = math.floor(value * scale)
        if EARLIEST_SECONDS * MICROSECONDS <= microseconds < LATEST_SECONDS * MICROSECONDS:
            return microseconds
    microseconds = math.floor(value // 1_000)
    return microseconds if EARLIEST_SECONDS * MICROSECONDS <= microseconds < LATEST_SECONDS * MICROSECONDS else None
