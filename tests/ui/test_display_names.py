"""Tests of the display names."""

from __future__ import annotations

import re

from preptime.domain.orders import FALLBACK_LEVELS
from preptime.domain.validation_reasons import ValidationReason
from preptime.features.feature_set import TAKE_HOME_FEATURES
from preptime.models.catalogue import CATALOGUE
from preptime.monitoring.rules import RULES
from preptime.ui import display_names


def test_every_fallback_level_has_a_title_and_a_description() -> None:
    assert set(display_names.FALLBACK_LEVEL_DESCRIPTIONS) == set(FALLBACK_LEVELS)
    assert set(display_names.FALLBACK_LEVEL_TITLES) == set(FALLBACK_LEVELS)


def test_every_rule_and_every_model_has_a_display_name() -> None:
    assert set(display_names.RULE_TITLES) == {rule.name for rule in RULES}
    assert set(CATALOGUE) <= set(display_names.MODEL_TITLES)


def test_display_names_are_unique_and_have_no_underscore() -> None:
    titles = [
        *(display_names.feature_title(feature.name) for feature in TAKE_HOME_FEATURES.features),
        *(display_names.reason_title(reason) for reason in ValidationReason),
        *display_names.RULE_TITLES.values(),
        *display_names.MODEL_TITLES.values(),
    ]
    assert len(set(titles)) == len(titles)
    titles_without_columns = [re.sub("`.*?`", "", title) for title in titles]  # columns of the user's own file
    assert [title for title in titles_without_columns if "_" in title] == []


def test_unknown_code_is_shown_with_spaces() -> None:
    assert display_names.readable_name("a_later_rule") == "a later rule"
    assert display_names.reason_title("a_later_reason") == "a_later_reason"


def test_names_in_sentences_become_titles() -> None:
    text = "In acknowledged_second: PSI 0.3, and in predicted_seconds. The same as for `feature_drift`, not other_name."
    title = display_names.feature_title("acknowledged_second")
    assert display_names.names_to_titles(text) == (
        f"In {title}: PSI 0.3, and in prediction. The same as for “Drift of a feature”, not other_name."
    )
