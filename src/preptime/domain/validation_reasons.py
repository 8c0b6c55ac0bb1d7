"""Validation reasons: why an order isn't used for some purposes.

Every order is kept. Its validation result is a bit mask, so that an order with three errors counts under all three
reasons. Messages show the first reason in declared order. Only `VALIDATION_RULES` decides which purposes a reason
excludes an order from.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MAX_LABEL_SECONDS = 10_800
"""Three hours. 202 of 32,394 real labels are longer, up to three days: orders that were never closed, not cooking."""

SHORT_LABEL_SECONDS = 60
"""Shorter labels are flagged with `LABEL_UNDER_A_MINUTE`."""


class Purpose(StrEnum):
    """A use of an order."""

    FITTING = "fitting"
    HISTORY = "history"
    EVALUATION = "evaluation"
    SCORING = "scoring"


class ValidationReason(StrEnum):
    """A problem of an order, most fundamental first. The position is the bit in the mask."""

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
    RESTAURANT_DIFFERS = "restaurant_differs"
    MISSING_FEATURE = "missing_feature"
    INVALID_FEATURE = "invalid_feature"

    @property
    def bit(self) -> int:
        """The bit of this reason in a row's mask."""
        return 1 << list(ValidationReason).index(self)


@dataclass(frozen=True, slots=True)
class ValidationRule:
    """The meaning of a reason and the purposes that it excludes an order from."""

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
        "The line has more cells than the header, or a quotation mark without a closing one",
        "Any of its cells may be in the wrong column.",
    ),
    ValidationRule(
        ValidationReason.UNPARSABLE_TIME,
        _ALL_PURPOSES,
        "A time can't be read, or isn't between 2000 and 2099",
        "Without a time, an order has no hour and no weekday, and can't be assigned to a date.",
    ),
    ValidationRule(
        ValidationReason.UNPARSABLE_NUMBER,
        _ALL_PURPOSES,
        "A number can't be read, or isn't whole where it must be",
        "A guess would be an invented feature value.",
    ),
    ValidationRule(
        ValidationReason.MISSING_VALUE,
        _ALL_PURPOSES,
        "A required cell is empty",
        "A guess would be an invented feature value. An order without a label is still open.",
    ),
    ValidationRule(
        ValidationReason.NEGATIVE_VALUE,
        _ALL_PURPOSES,
        "A number is negative where it must not be",
        "A refund or a sign error isn't an order to cook.",
    ),
    ValidationRule(
        ValidationReason.OUT_OF_RANGE,
        _ALL_PURPOSES,
        "A number is outside its declared range (see the data dictionary)",
        "The number has another unit or belongs to another column, and one such row distorts a mean.",
    ),
    ValidationRule(
        ValidationReason.READY_BEFORE_ACKNOWLEDGED,
        _ALL_PURPOSES_EXCEPT_SCORING,
        "The order was completed before it was acknowledged",
        "One of the two times is wrong, so the label is wrong too.",
    ),
    ValidationRule(
        ValidationReason.LABEL_CONTRADICTS_TIMES,
        _ALL_PURPOSES_EXCEPT_SCORING,
        "The label differs from the time between acknowledgement and completion by more than one second",
        "One of the two is wrong, and it's unknown which.",
    ),
    ValidationRule(
        ValidationReason.DUPLICATE,
        _ALL_PURPOSES_EXCEPT_SCORING,
        "An earlier row is the same order",
        "The first row is kept. Counted twice, the order would have twice the weight. A row without a readable time of "
        "acknowledgement isn't compared.",
    ),
    ValidationRule(
        ValidationReason.LABEL_ZERO,
        _TRAINING_PURPOSES,
        "The label is zero",
        "An order that is complete when it's acknowledged was acknowledged late. It's still evaluated, because such "
        "orders also occur in production.",
    ),
    ValidationRule(
        ValidationReason.LABEL_UNDER_A_MINUTE,
        _NO_PURPOSES,
        "The label is between 1 and 59 seconds",
        "Some of these labels are real (a drink, a packaged meal), so the quantiles must include them.",
    ),
    ValidationRule(
        ValidationReason.LABEL_OVER_CAP,
        _ALL_PURPOSES_EXCEPT_SCORING,
        f"The label is longer than {MAX_LABEL_SECONDS:,} s",
        "An order that takes three hours was never closed. Labels of up to three days would dominate every mean.",
    ),
    ValidationRule(
        ValidationReason.UNKNOWN_RESTAURANT,
        frozenset({Purpose.HISTORY}),
        "The restaurant isn't in the restaurants file",
        "The restaurant has no history of its own. The order is predicted from coarser levels of history, and models "
        "are fitted and evaluated in the same way.",
    ),
    ValidationRule(
        ValidationReason.BEFORE_OPENING,
        _NO_PURPOSES,
        "The order was acknowledged before the restaurant usually opens (a flag)",
        "The wait until opening is real and happens again. Models use the time of day.",
    ),
    ValidationRule(
        ValidationReason.RESTAURANT_DIFFERS,
        _NO_PURPOSES,
        "The order's country or city isn't that of its restaurant (a flag)",
        "The ID may be that of a restaurant of another company or another market.",
    ),
    ValidationRule(
        ValidationReason.MISSING_FEATURE,
        _NO_PURPOSES,
        "A custom feature that isn't required is missing (a flag)",
        "Models are fitted on missing values too.",
    ),
    ValidationRule(
        ValidationReason.INVALID_FEATURE,
        _NO_PURPOSES,
        "A custom number can't be read, or is outside its range (a flag)",
        "The order is predicted as if the value were missing.",
    ),
)


def validation_rule(reason: ValidationReason) -> ValidationRule:
    """Return the rule for a reason."""
    return next(rule for rule in VALIDATION_RULES if rule.reason is reason)


def exclusion_mask(purpose: Purpose) -> int:
    """Return the bits of all reasons that exclude an order from `purpose`."""
    return sum(rule.reason.bit for rule in VALIDATION_RULES if purpose in rule.excluded_from)


def reasons_in_mask(mask: int) -> tuple[ValidationReason, ...]:
    """Return the reasons in a mask, most fundamental first."""
    return tuple(reason for reason in ValidationReason if mask & reason.bit)


def render_markdown() -> str:
    """Return the page `docs/validation-reasons.md`."""
    lines = [
        "# Validation reasons",
        "",
        "<!-- Generated from src/preptime/domain/validation_reasons.py. Edit that file instead. -->",
        "",
        (
            "No order is dropped. Each row stays in its position and gets every reason that applies to it. The columns "
            "in the middle show which purposes the order is still used for."
        ),
        "",
        "| Reason | Meaning | " + " | ".join(purpose.capitalize() for purpose in Purpose) + " | Why |",
        "|---|---|" + "---|" * len(Purpose) + "---|",
    ]
    for rule in VALIDATION_RULES:
        usage_cells = " | ".join("no" if purpose in rule.excluded_from else "yes" for purpose in Purpose)
        lines.append(f"| `{rule.reason}` | {rule.description} | {usage_cells} | {rule.rationale} |")
    lines += [
        "",
        (
            "Evaluation reports two sets of labels. `up_to_3h` contains every order that is used for evaluation: "
            f"labels from 0 to {MAX_LABEL_SECONDS:,} s, including zeros and orders before opening. "
            "`within_label_limit` contains those at or below the outlier limit of the training window, which is the "
            "third quartile plus 1.5 times the interquartile range."
        ),
    ]
    return "\n".join(lines) + "\n"
