"""Verdicts: every order is kept; a reason says what it is not used for.

A row's verdict is a bit mask, so that an order with three faults counts under all three; the reason shown for it is
the first in declared order. `VALIDATION_RULES` is the one place that decides what a reason keeps an order out of.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MAX_LABEL_SECONDS = 10_800
"""Three hours. 202 of 32,394 real labels lie above it, up to three days: pickups nobody closed, not cooking."""

SHORT_LABEL_SECONDS = 60


class Purpose(StrEnum):
    """What an order can be used for."""

    FITTING = "fitting"
    HISTORY = "history"
    EVALUATION = "evaluation"
    SCORING = "scoring"


class ValidationReason(StrEnum):
    """What can be said against an order, most fundamental first. The position is the bit in the mask."""

    MALFORMED_LINE = "malformed_line"
    UNPARSABLE_TIME = "unparsable_time"
    UNPARSABLE_NUMBER = "unparsable_number"
    MISSING_VALUE = "missing_value"
    NEGATIVE_VALUE = "negative_value"
    OUT_OF_RANGE = "out_of_range"
    READY_BEFORE_ACKNOWLEDGED = "ready_before_acknowledged"
    LABEL_CONTRADICTS_TIMES = "label_contradicts_times"
    DUPLICATE = "duplicate"
    LABEL_ZERO = "label_zero"
    LABEL_UNDER_A_MINUTE = "label_under_a_minute"
    LABEL_OVER_CAP = "label_over_cap"
    UNKNOWN_RESTAURANT = "unknown_restaurant"
    BEFORE_OPENING = "before_opening"

    @property
    def bit(self) -> int:
        """The bit of this reason in a row's mask."""
        return 1 << list(ValidationReason).index(self)


@dataclass(frozen=True, slots=True)
class ValidationRule:
    """What one reason means and what it keeps an order out of."""

    reason: ValidationReason
    excluded_from: frozenset[Purpose]
    description: str
    rationale: str


_NO_PURPOSES: frozenset[Purpose] = frozenset()
_ALL_PURPOSES = frozenset(Purpose)
_TRAINING_PURPOSES = frozenset({Purpose.FITTING, Purpose.HISTORY})
_ALL_PURPOSES_EXCEPT_SCORING = _TRAINING_PURPOSES | {Purpose.EVALUATION}

VALIDATION_RULES: tuple[ValidationRule, ...] = (
    ValidationRule(
        ValidationReason.MALFORMED_LINE,
        _ALL_PURPOSES,
        "The line has more cells than the header",
        "Every cell after the surplus one may stand in the wrong column.",
    ),
    ValidationRule(
        ValidationReason.UNPARSABLE_TIME,
        _ALL_PURPOSES,
        "A time cannot be read, or lies outside 2000 to 2099",
        "Without its moment an order has no hour, no weekday and no place before or after a midnight.",
    ),
    ValidationRule(
        ValidationReason.UNPARSABLE_NUMBER,
        _ALL_PURPOSES,
        "A number cannot be read, or is not whole where it should be",
        "A guess in its place would be a feature value nobody gave.",
    ),
    ValidationRule(
        ValidationReason.MISSING_VALUE,
        _ALL_PURPOSES,
        "A required cell is empty",
        "A guess in its place would be a feature value nobody gave; an order without label is still open.",
    ),
    ValidationRule(
        ValidationReason.NEGATIVE_VALUE,
        _ALL_PURPOSES,
        "A number is negative that cannot be",
        "A refund or a sign error describes no food to cook.",
    ),
    ValidationRule(
        ValidationReason.OUT_OF_RANGE,
        _ALL_PURPOSES,
        "A number lies outside its declared range (see the data dictionary)",
        "It is another unit or another column, and one such row moves a mean.",
    ),
    ValidationRule(
        ValidationReason.READY_BEFORE_ACKNOWLEDGED,
        _ALL_PURPOSES_EXCEPT_SCORING,
        "The food was ready before the order was acknowledged",
        "One of the two clocks is wrong, so the label is too.",
    ),
    ValidationRule(
        ValidationReason.LABEL_CONTRADICTS_TIMES,
        _ALL_PURPOSES_EXCEPT_SCORING,
        "`prep_time_seconds` differs by more than a second from ready minus acknowledged",
        "One of the two is wrong and nothing says which.",
    ),
    ValidationRule(
        ValidationReason.DUPLICATE,
        _ALL_PURPOSES_EXCEPT_SCORING,
        "An earlier row is the same order",
        "The first one stays; counted twice it would weigh twice.",
    ),
    ValidationRule(
        ValidationReason.LABEL_ZERO,
        _TRAINING_PURPOSES,
        "The label is zero",
        "Ready in the second it was acknowledged is a button pressed late, not cooking; it is still evaluated, "
        "because such orders arrive and are asked for.",
    ),
    ValidationRule(
        ValidationReason.LABEL_UNDER_A_MINUTE,
        _NO_PURPOSES,
        "The label is between 1 and 59 seconds",
        "Some of it is real (a drink, a ready meal) and the quantiles must know that it happens.",
    ),
    ValidationRule(
        ValidationReason.LABEL_OVER_CAP,
        _ALL_PURPOSES_EXCEPT_SCORING,
        f"The label is over {MAX_LABEL_SECONDS:,} s",
        "Three hours is an order nobody closed; up to three days of them would rule every mean.",
    ),
    ValidationRule(
        ValidationReason.UNKNOWN_RESTAURANT,
        frozenset({Purpose.HISTORY}),
        "The restaurant is not in the restaurants file",
        "It has no place in the directory; the order is predicted from coarser levels, and learned and judged that "
        "way.",
    ),
    ValidationRule(
        ValidationReason.BEFORE_OPENING,
        _NO_PURPOSES,
        "A flag: acknowledged before the restaurant usually opens",
        "The wait until opening is real and it will happen again; models are told the hour.",
    ),
)


def validation_rule(reason: ValidationReason) -> ValidationRule:
    """The policy for one reason."""
    return next(candidate for candidate in VALIDATION_RULES if candidate.reason is reason)


def exclusion_mask(purpose: Purpose) -> int:
    """All bits that keep an order out of `purpose`."""
    return sum(rule.reason.bit for rule in VALIDATION_RULES if purpose in rule.excluded_from)


def reasons_in_mask(mask: int) -> tuple[ValidationReason, ...]:
    """The reasons in a mask, the one to show first."""
    return tuple(reason for reason in ValidationReason if mask & reason.bit)


def render_markdown() -> str:
    """The policy as the page `docs/validation-reasons.md`."""
    lines = [
        "# Validation reasons",
        "",
        "<!-- Generated from src/preptime/domain/validation_reasons.py. Edit that file instead. -->",
        "",
        "No order is dropped: each row keeps its place and gets every reason that holds for it.",
        "",
        "| reason | meaning | " + " | ".join(Purpose) + " | why |",
        "|---|---|" + "---|" * len(Purpose) + "---|",
    ]
    for rule in VALIDATION_RULES:
        usage_cells = " | ".join("no" if purpose in rule.excluded_from else "yes" for purpose in Purpose)
        lines.append(f"| `{rule.reason}` | {rule.description} | {usage_cells} | {rule.rationale} |")
    lines += [
        "",
        (
            f"Evaluation reports two sets of labels: `up_to_3h` is every order used for evaluation above, so 0 to "
            f"{MAX_LABEL_SECONDS:,} s with zeros and pre-opening orders included; `within_label_limit` is those of them "
            "at or under the upper IQR fence (third quartile + 1.5 times the interquartile range) of the training "
            "window."
        ),
    ]
    return "\n".join(lines) + "\n"
