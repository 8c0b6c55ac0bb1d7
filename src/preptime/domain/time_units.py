"""The units in which people see predicted and actual times. Documents, files, and the API are always in seconds."""

from __future__ import annotations

from dataclasses import dataclass

_MINUTE_SECONDS = 60


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
