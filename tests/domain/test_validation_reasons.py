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


def test_the_page_in_the_docs_is_what_the_policy_says() -> None:
    assert (ROOT / "docs/validation-reasons.md").read_text(encoding="utf-8") == render_markdown()


def test_every_reason_has_one_rule_in_its_own_place() -> None:
    assert [one.reason for one in VALIDATION_RULES] == list(ValidationReason)
    assert all(one.description and one.rationale for one in VALIDATION_RULES)


def test_bits_are_apart_and_fit_32() -> None:
    bits = [reason.bit for reason in ValidationReason]
    assert len({*bits}) == len(bits)
    assert sum(bits) < 2**32


def test_a_mask_gives_its_reasons_back_the_most_fundamental_first() -> None:
    bits = ValidationReason.LABEL_ZERO.bit | ValidationReason.MISSING_VALUE.bit
    assert reasons_in_mask(bits) == (ValidationReason.MISSING_VALUE, ValidationReason.LABEL_ZERO)
    assert reasons_in_mask(0) == ()


@pytest.mark.parametrize(
    "reason", [ValidationReason.LABEL_ZERO, ValidationReason.LABEL_UNDER_A_MINUTE, ValidationReason.BEFORE_OPENING]
)
def test_evaluation_looks_at_zeros_short_labels_and_pre_opening(reason: ValidationReason) -> None:
    assert not exclusion_mask(Purpose.EVALUATION) & reason.bit


def test_a_label_never_keeps_an_order_from_being_scored() -> None:
    scoring = exclusion_mask(Purpose.SCORING)
    kept_out = set(reasons_in_mask(scoring))
    assert kept_out == {
        ValidationReason.MALFORMED_LINE,
        ValidationReason.UNPARSABLE_TIME,
        ValidationReason.UNPARSABLE_NUMBER,
        ValidationReason.MISSING_VALUE,
        ValidationReason.NEGATIVE_VALUE,
        ValidationReason.OUT_OF_RANGE,
    }


def test_the_flag_excludes_nothing() -> None:
    assert validation_rule(ValidationReason.BEFORE_OPENING).excluded_from == frozenset()
