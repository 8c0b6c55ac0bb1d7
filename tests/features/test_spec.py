from __future__ import annotations

from preptime.features.feature_set import TAKE_HOME_FEATURES
from preptime.features.kitchen import LIVE_FEATURES
from preptime.features.spec import (
    FIRST_DINNER_COLUMN,
    FIRST_LUNCH_COLUMN,
    HISTORY_FEATURES,
    MEDIAN_COLUMN,
    render_markdown,
)
from tests.requirements import ROOT


def test_features_page_matches_declaration() -> None:
    assert (ROOT / "docs/features.md").read_text(encoding="utf-8") == render_markdown(LIVE_FEATURES)


def test_features_have_unique_names_units_and_meanings() -> None:
    assert len(set(TAKE_HOME_FEATURES.names)) == len(TAKE_HOME_FEATURES.features)
    assert all(feature.name and feature.unit and feature.meaning for feature in TAKE_HOME_FEATURES.features)


def test_column_constants_point_to_their_features() -> None:
    names = [HISTORY_FEATURES[column].name for column in (MEDIAN_COLUMN, FIRST_LUNCH_COLUMN, FIRST_DINNER_COLUMN)]
    assert names == ["restaurant_p50_seconds", "restaurant_first_lunch_second", "restaurant_first_dinner_second"]
