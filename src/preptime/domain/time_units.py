"""The units in which people see predicted and actual times. Documents, files, and the API are always in seconds."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MINUTE_SECONDS = 60
_NUMBER = r"\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?"
_TIMES_PATTERN = re.compile(
    rf"(?:(?P<low>{_NUMBER}) to )?(?P<high>{_NUMBER}) (?P<unit>s|min|minutes)\b"
    rf"(?: \(backtest: (?P<backtest>{_NUMBER})\))?"
)
"""A time, a range of times, or a mean error with that of the backtest, which has no unit."""


@dataclass(frozen=True, slots=True)
class TimeUnit:
    """A unit of times for people.

    Example:
        >>> TIME_UNITS["h"].text(5400)
        '1.500 h'
    """

    name: str
    """After a number in a sentence."""
    short: str
    """After a number in a table or a chart."""
    seconds: int
    extra_digits: int
    """How many more decimals a number needs than in minutes."""
    five_minutes: str
    """The error that a good prediction has at most, in words."""
    five_minutes_short: str

    def digits(self, digits: int = 1) -> int:
        """Return the decimals for a number that has `digits` decimals in minutes."""
        return max(0, digits + self.extra_digits)

    def number(self, seconds: float, digits: int = 1) -> str:
        """Return seconds as a number in this unit. Never returns a negative zero."""
        digits = self.digits(digits)
        return f"{round(seconds / self.seconds, digits) + 0.0:.{digits}f}"

    def text(self, seconds: float, digits: int = 1) -> str:
        """Return seconds with the short name of the unit."""
        return f"{self.number(seconds, digits)} {self.short}"

    def words(self, seconds: float, digits: int = 1) -> str:
        """Return seconds with the name of the unit."""
        return f"{self.number(seconds, digits)} {self.name}"

    def from_minutes(self, minutes: float) -> float:
        """Return minutes in this unit."""
        return minutes * (_MINUTE_SECONDS / self.seconds)

    def tick(self, minutes: float) -> str:
        """Return the edge of a bar of a chart, which is in minutes, without zeros at the end."""
        return f"{self.from_minutes(minutes):.4g}"


MINUTES = TimeUnit("minutes", "min", 60, 0, "five minutes", "5 min")
TIME_UNITS = {
    "s": TimeUnit("seconds", "s", 1, -1, "300 seconds", "300 s"),
    "min": MINUTES,
    "h": TimeUnit("hours", "h", 3600, 2, "0.083 hours", "0.083 h"),
}
"""By the value of the key `unit` of a schema's target."""


def convert_times(text: str, unit: TimeUnit) -> str:
    """Return a sentence of a document with its times (`387.8 s`, `412 to 455 s`, `6.4 minutes`) in another unit.

    Documents are for programs too, so their sentences don't depend on the unit of the target.

    Example:
        >>> convert_times("10,800 s", MINUTES)
        '180 min'
    """
    converted = _TIMES_PATTERN.sub(lambda match: _convert_match(match, unit), text)
    return converted.replace(MINUTES.five_minutes, unit.five_minutes)


def convert_minutes(text: str, unit: TimeUnit) -> str:
    """Return a sentence as `convert_times` does, or unchanged if the unit is minutes: seconds stay seconds."""
    return text if unit is MINUTES else convert_times(text, unit)


def _convert_match(match: re.Match[str], unit: TimeUnit) -> str:
    if match["unit"] in {unit.short, unit.name}:
        return match[0]
    source = TIME_UNITS["s"] if match["unit"] == "s" else MINUTES
    low, high, backtest = (
        _convert_number(match[name], source, unit) if match[name] else "" for name in ("low", "high", "backtest")
    )
    unit_text = unit.name if match["unit"] == source.name else unit.short
    range_text = f"{low} to {high}" if low else high
    return f"{range_text} {unit_text}" + (f" (backtest: {backtest})" if backtest else "")


def _convert_number(text: str, source: TimeUnit, unit: TimeUnit) -> str:
    decimals = len(text.partition(".")[2])
    seconds = float(text.replace(",", "")) * source.seconds
    if not decimals and seconds % unit.seconds == 0:
        return f"{seconds / unit.seconds:,.0f}"
    return unit.number(seconds, 2 if source.seconds == 1 else decimals)
