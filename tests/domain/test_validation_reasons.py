from __future__ import annotations

import pytest

from preptime.domain.validation_reasons import (
    VALIDATION_RULES,
    Purpose,
    ValidationReason,
    exclusion_mask,
    reasons_in_mask,
    render_markdown,
    validation_rule,
)
from tests.requirements import ROOT


def test_render_markdown_equals_the_page_in_docs() -> None:
    assert (ROOT / "docs/validation-reasons.md").read_text(encoding="utf-8") == render_markdown()


def test_rules_follow_the_order_of_reasons() -> None:
    assert [rule.reason for rule in VALIDATION_RULES] == list(ValidationReason)
    assert all(rule.description and rule.rationale for rule in VALIDATION_RULES)


def test_bits_are_distinct_and_fit_into_32() -> None:
    bits = [reason.bit for reason in ValidationReason]
    assert len({*bits}) == len(bits)
    assert sum(bits) < 2**32


def test_reasons_in_mask_most_fundamental_first() -> None:
    bits = ValidationReason.LABEL_ZERO.bit | ValidationReason.MISSING_VALUE.bit
    assert reasons_in_mask(bits) == (ValidationReason.MISSING_VALUE, ValidationReason.LABEL_ZERO)
    assert reasons_in_mask(0) == ()


@pytest.mark.parametrize(
    "reason", [ValidationReason.LABEL_ZERO, ValidationReason.LABEL_UNDER_A_MINUTE, ValidationReason.BEFORE_OPENING]
)
def test_evaluation_includes_zero_short_and_early_orders(reason: ValidationReason) -> None:
    assert not exclusion_mask(Purpose.EVALUATION) & reason.bit


def test_scoring_excludes_no_label_reason() -> None:
    assert set(reasons_in_mask(exclusion_mask(Purpose.SCORING))) == {
        ValidationReason.MALFORMED_LINE,
        ValidationReason.UNPARSABLE_TIME,
        ValidationReason.UNPARSABLE_NUMBER,
        ValidationReason.MISSING_VALUE,
        ValidationReason.NEGATIVE_VALUE,
        ValidationReason.OUT_OF_RANGE,
    }


def test_before_opening_excludes_nothing() -> None:
    assert validation_rule(ValidationReason.BEFORE_OPENING).excluded_from == frozenset()
