from __future__ import annotations

import pytest

from preptime.domain.verdict import POLICY, Purpose, Reason, markdown, mask, reasons, rule
from tests.requirements import ROOT


def test_the_page_in_the_docs_is_what_the_policy_says() -> None:
    assert (ROOT / "docs/row-verdicts.md").read_text(encoding="utf-8") == markdown()


def test_every_reason_has_one_rule_in_its_own_place() -> None:
    assert [one.reason for one in POLICY] == list(Reason)
    assert all(one.meaning and one.why for one in POLICY)


def test_bits_are_apart_and_fit_32() -> None:
    bits = [reason.bit for reason in Reason]
    assert len({*bits}) == len(bits)
    assert sum(bits) < 2**32


def test_a_mask_gives_its_reasons_back_the_most_fundamental_first() -> None:
    bits = Reason.LABEL_ZERO.bit | Reason.MISSING_VALUE.bit
    assert reasons(bits) == (Reason.MISSING_VALUE, Reason.LABEL_ZERO)
    assert reasons(0) == ()


@pytest.mark.parametrize("reason", [Reason.LABEL_ZERO, Reason.LABEL_UNDER_A_MINUTE, Reason.BEFORE_OPENING])
def test_evaluation_looks_at_zeros_short_labels_and_pre_opening(reason: Reason) -> None:
    assert not mask(Purpose.EVALUATION) & reason.bit


def test_a_label_never_keeps_an_order_from_being_scored() -> None:
    scoring = mask(Purpose.SCORING)
    kept_out = set(reasons(scoring))
    assert kept_out == {
        Reason.MALFORMED_LINE,
        Reason.UNPARSABLE_TIME,
        Reason.UNPARSABLE_NUMBER,
        Reason.MISSING_VALUE,
        Reason.NEGATIVE_VALUE,
        Reason.OUT_OF_RANGE,
    }


def test_the_flag_excludes_nothing() -> None:
    assert rule(Reason.BEFORE_OPENING).keeps_out_of == frozenset()
