"""Text formats of the dashboard: durations, clock times, counts, and sizes."""

from __future__ import annotations

import datetime as dt
import re

from preptime.domain.time_units import MINUTES, TimeUnit, convert_times
from preptime.errors import PreptimeError
from preptime.formatting import format_count, with_minus_signs

EMPTY_CELL = "–"
"""The text of a table cell without a value."""


def format_duration(seconds: float | None, unit: TimeUnit = MINUTES) -> str:
    """Return a duration as text: `14 min`, `1 h 05 min`, or, under ten minutes, `7 min 17 s`.

    A unit other than minutes is kept: `0.083 h`.
    """
    if seconds is None:
        return EMPTY_CELL
    text = _minutes_text(abs(seconds)) if unit is MINUTES else unit.text(abs(seconds))
    return with_minus_signs(f"-{text}") if seconds < 0 and any(digit in text for digit in "123456789") else text


def _minutes_text(seconds: float) -> str:
    whole_seconds = round(seconds)
    if whole_seconds < 600:
        return f"{whole_seconds // 60} min {whole_seconds % 60:02d} s" if whole_seconds >= 60 else f"{whole_seconds} s"
    whole_minutes = round(seconds / 60)
    return f"{whole_minutes // 60} h {whole_minutes % 60:02d} min" if whole_minutes >= 60 else f"{whole_minutes} min"


def document_text(text: str, unit: TimeUnit) -> str:
    """Return a sentence of a document for people: with times in a unit, and with minus signs."""
    return with_minus_signs(convert_times(text, unit))


def escape_markdown(text: str) -> str:
    r"""Return a company's own text for the label of a Streamlit field, which is Markdown.

    Example:
        >>> print(escape_markdown("Distance [m]: $1"))
        Distance \[m\]\: \$1
    """
    return re.sub(r"([\\`*_\[\]$~:<>#])", r"\\\1", text)


def capitalize_first(text: str) -> str:
    """Return a text with a capital first letter. Other letters keep their case."""
    return text[:1].upper() + text[1:]


def format_interval(low_seconds: float, high_seconds: float, unit: TimeUnit = MINUTES) -> str:
    """Return an interval in whole minutes, or about as exact in another unit: `2 to 13 min`."""
    return f"{unit.number(low_seconds, 0)} to {unit.text(high_seconds, 0)}"


def format_clock_time(moment: dt.datetime) -> str:
    """Return the wall-clock time of a timestamp, to the nearest minute: `19:07`."""
    return f"{moment + dt.timedelta(seconds=30):%H:%M}"


def format_clock_time_rounded_up(moment: dt.datetime) -> str:
    """Return the first whole minute at or after a timestamp, for a time by which orders are completed."""
    return f"{moment + dt.timedelta(seconds=60, microseconds=-1):%H:%M}"


def format_day(date: dt.date) -> str:
    """Return a date without its year: `7 Jun`."""
    return f"{date.day} {date:%b}"


def format_size(size_bytes: int) -> str:
    """Return a size as text: `312 bytes`, `830 kB`, `12.3 MB`."""
    if size_bytes < 1e3:
        return format_count(size_bytes, "byte")
    return f"{size_bytes / 1e6:,.1f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:,.0f} kB"


def error_message(error: PreptimeError) -> tuple[str, str]:
    """Return the facts and the hint of an error. Both can contain uploaded text: show them with `components`."""
    return error.facts, error.hint
