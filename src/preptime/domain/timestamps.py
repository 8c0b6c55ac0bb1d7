"""Timestamp grammar and time rules, shared by the parsers of one order (`api`) and of columns (`validation`).

Rules (decision 5):

- A time with any UTC offset (also `Z` and `UTC`), an epoch, and a datetime with a time zone (from a database) are
  instants. They are converted to the restaurant's time zone.
- A time without an offset is local time in the time zone of its `TimestampFormat`. If that has none, it's local time at
  the restaurant.
- An epoch is in seconds, milliseconds, microseconds, or nanoseconds. The magnitude decides, which is unambiguous
  between 2000 and 2099.
- A local time that occurs twice (01:30 in autumn) means the first occurrence.
- A local time at the restaurant that is skipped (02:30 in spring) keeps its digits and the offset from before the
  change.
- With a pattern of `strptime` directives, text must match the pattern, and numbers are still epochs.

A London file therefore reads the same in winter, when `+00:00` is both the offset and UTC. In June, `12:00+00:00` in
London becomes 13:00, as does `14:00+02:00`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

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
_OFFSET = r"Z|z|UTC|[+-](?:0[0-9]|1[0-4])(?::?[0-5][0-9])?"
TIMESTAMP_PATTERN = (
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]((?:[01][0-9]|2[0-3]):[0-5][0-9])(?::([0-5][0-9])(?:[.,]([0-9]{1,9}))?)?"
    rf" ?({_OFFSET})?$"
)
"""Groups: date, hours and minutes, seconds, fraction, offset."""
EPOCH_PATTERN = r"^[0-9]{1,19}(\.[0-9]*)?([eE]\+?[0-9]{1,2})?$"
"""An epoch as text. Without a fraction (group 1) and an exponent (group 2), it's a whole number."""
WHITESPACE = " \t\r\n"
"""Characters that parsers strip from both ends of a cell."""


@dataclass(frozen=True, slots=True)
class TimestampFormat:
    """How a company writes the timestamps of a column."""

    pattern: str = ""
    """`strptime` directives, such as `%d/%m/%Y %I:%M %p`, or an empty string for the grammar of this module."""
    time_zone: str = ""
    """IANA time zone of times without an offset. Empty: local time at the restaurant."""


ISO_TIMESTAMPS = TimestampFormat()
"""The grammar of this module. Times without an offset are local time at the restaurant."""


def parse_utc_offset(text: str) -> int:
    """Return the offset at the end of a time in seconds; 0 for `Z`, `UTC`, and `GMT`."""
    if text in {"Z", "z", "UTC", "GMT"}:
        return 0
    digits = text[1:].replace(":", "").ljust(4, "0")
    seconds = int(digits[:2]) * 3600 + int(digits[2:]) * 60
    return -seconds if text[0] == "-" else seconds


def format_utc_offset(minutes: int) -> str:
    """Return an offset as ISO text.

    Example:
        >>> format_utc_offset(60), format_utc_offset(-570)
        ('+01:00', '-09:30')
    """
    hours, remaining_minutes = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02d}:{remaining_minutes:02d}"


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


def parse_epoch_text(text: str) -> int | None:
    """Return an epoch in text in microseconds, or None. `1433161708.0` means the same as `1433161708`."""
    match = _EPOCH_REGEX.match(text)
    if match is None:
        return None
    return parse_epoch(int(text) if match.lastindex is None else float(text))


_EPOCH_REGEX = re.compile(EPOCH_PATTERN)

PATTERN_GROUPS = ("year", "month", "day", "hour", "half", "minute", "second", "fraction", "offset")
"""The groups of a compiled pattern. `half` is AM or PM."""
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
MONTH_NUMBERS = {name: str(number) for number, name in enumerate(_MONTHS, 1)}
"""By the first three letters of the English name."""
_MONTH_NAMES = (
    "January|February|March|April|May|June|July|August|September|October|November|December|Sept|"
    "Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
)
_DAY_NAMES = "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday|Tues|Thurs|Thur|Mon|Tue|Wed|Thu|Fri|Sat|Sun"


def _in_any_case(names: str) -> str:
    """Return the expression for names in any case. An option of the expression would depend on the language."""
    return re.sub("[A-Za-z]", lambda letter: f"[{letter[0].upper()}{letter[0].lower()}]", names)


# By directive: the group of the expression, which the five parts are built from, and its expression.
_DIRECTIVES = {
    "Y": ("year", "[0-9]{4}"),
    "y": ("year", "[0-5][0-9]|6[0-8]"),
    "m": ("month", "0?[1-9]|1[0-2]"),
    "b": ("month", _in_any_case(_MONTH_NAMES)),
    "B": ("month", _in_any_case(_MONTH_NAMES)),
    "d": ("day", "0?[1-9]|[12][0-9]|3[01]"),
    "H": ("hour", "[01]?[0-9]|2[0-3]"),
    "I": ("hour", "0?[1-9]|1[0-2]"),
    "p": ("half", r"[AaPp]\.?[Mm]\.?"),
    "M": ("minute", "[0-5]?[0-9]"),
    "S": ("second", "[0-5]?[0-9]"),
    "f": ("fraction", "[0-9]{1,9}"),
    "z": ("offset", _OFFSET),
    "Z": ("offset", "Z|UTC|GMT"),
    "a": ("", _in_any_case(_DAY_NAMES)),
    "A": ("", _in_any_case(_DAY_NAMES)),
}
_TWO_DIGITS = {
    "m": "0[1-9]|1[0-2]",
    "d": "0[1-9]|[12][0-9]|3[01]",
    "H": "[01][0-9]|2[0-3]",
    "I": "0[1-9]|1[0-2]",
    "M": "[0-5][0-9]",
    "S": "[0-5][0-9]",
}
"""Expressions for a number next to another one, such as in `%Y%m%d`: `2015111` would have two meanings."""
_NUMBER_DIRECTIVES = frozenset("YymdHIMSf")
_COMBINATIONS = {"F": "%Y-%m-%d", "D": "%m/%d/%y", "T": "%H:%M:%S", "R": "%H:%M", "e": "%d", "h": "%b"}
_TOKENS = re.compile(r"%[-#]?(.)|([^%]+)|%", re.DOTALL)
_WHITESPACE_RUN = re.compile(r"[ \t]+")
_ANY_SPACES = "[ \t\u00a0\u202f]+"
"""Some browsers write a narrow no-break space before AM and PM."""
_UTC_WORD = re.compile(r"(?<![A-Za-z])(?:Z|UTC|GMT)(?![A-Za-z])")
_SUPPORTED = " ".join(f"%{directive}" for directive in (*_DIRECTIVES, *_COMBINATIONS, "%"))


def check_pattern(pattern: str) -> str | None:
    """Return the problem of a `strptime` pattern and what to write instead, or None if it's supported.

    Example:
        >>> check_pattern("%d/%m/%Y %I:%M %p")
        >>> check_pattern("%d/%m/%Y %I:%M")
        'the format has %I without %p; add %p, or write %H for hours from 0 to 23'
    """
    tokens = list(_read_tokens(pattern))
    directives = [directive for directive, _ in tokens if directive]
    for directive in directives:
        if directive not in _DIRECTIVES:
            return f"the format has %{directive}, which isn't supported; supported: {_SUPPORTED}"
    groups = [group for group, _ in map(_DIRECTIVES.__getitem__, directives) if group]
    for group, written in (("year", "%Y"), ("month", "%m"), ("day", "%d"), ("hour", "%H")):
        if group not in groups:
            return f"the format has no {group}; add a directive such as {written}"
    for group in groups:
        if groups.count(group) > 1:
            return f"the format has two directives for the {group}; keep one of them"
    if "I" in directives and "p" not in directives:
        return "the format has %I without %p; add %p, or write %H for hours from 0 to 23"
    if "p" in directives and "I" not in directives:
        return "the format has %p without %I; write %I for hours from 1 to 12"
    word = None if "offset" in groups else next(filter(None, (_UTC_WORD.search(text) for _, text in tokens)), None)
    return None if word is None else f"the format has the text {word[0]}, which isn't read as UTC; write %z instead"


@lru_cache(maxsize=64)
def compile_pattern(pattern: str) -> str:
    """Return the regular expression of a supported pattern, for Python and for Polars.

    It has the groups of `PATTERN_GROUPS` that occur. `%d`, `%m`, and times accept one digit, except next to another
    number. `.%f` is optional, because Python omits a fraction of zero. Names of days aren't compared with the date.
    """
    tokens = list(_read_tokens(pattern.strip(WHITESPACE)))
    expressions = []
    for position, (directive, text) in enumerate(tokens):
        following = tokens[position + 1][0] if position + 1 < len(tokens) else ""
        preceding = tokens[position - 1] if position else ("", "")
        if not directive:
            literal = text[:-1] if following == "f" and text.endswith((".", ",")) else text
            expressions.append(_ANY_SPACES.join(map(re.escape, _WHITESPACE_RUN.split(literal))))
            continue
        group, expression = _DIRECTIVES[directive]
        if following in _NUMBER_DIRECTIVES or preceding[0] in _NUMBER_DIRECTIVES:
            expression = _TWO_DIGITS.get(directive, expression)
        expression = f"(?P<{group}>{expression})" if group else f"(?:{expression})"
        is_optional = directive == "f" and preceding[1].endswith((".", ","))
        expressions.append(f"(?:[.,]{expression})?" if is_optional else expression)
    return f"^{''.join(expressions)}$"


def _read_tokens(pattern: str) -> Iterator[tuple[str, str]]:
    """Yield (directive, "") or ("", text) for each part of a pattern. Combinations are expanded."""
    for directive, text in _TOKENS.findall(pattern):
        if directive in _COMBINATIONS:
            yield from _read_tokens(_COMBINATIONS[directive])
        elif directive == "%" or text:
            yield "", text or "%"
        else:
            yield directive or " ", ""


def time_parts(groups: Mapping[str, str | None]) -> tuple[str, str, str | None, str | None, str | None]:
    """Return the groups of `TIMESTAMP_PATTERN` from the groups of a compiled pattern."""
    get = groups.get
    year, month, hour = get("year") or "", (get("month") or "").lower()[:3], get("hour") or ""
    year = f"20{year}" if len(year) == 2 else year
    if half := get("half"):
        hour = str(int(hour) % 12 + 12 * (half[0] in "pP"))
    day = f"{year}-{MONTH_NUMBERS.get(month, month):0>2}-{get('day'):0>2}"
    second = get("second")
    clock = f"{hour:0>2}:{get('minute') or '':0>2}"
    return day, clock, None if second is None else second.zfill(2), get("fraction"), get("offset")
