from __future__ import annotations

import numpy as np

from preptime.features.feature_set import TAKE_HOME_FEATURES
from preptime.features.kitchen import LIVE_FEATURES
from preptime.features.spec import (
    DINNER_START_SECOND,
    FIRST_DINNER_COLUMN,
    FIRST_LUNCH_COLUMN,
    HISTORY_FEATURES,
    MEDIAN_COLUMN,
    NIGHT_END_SECOND,
    meal_period,
    render_markdown,
)
from tests.requirements import ROOT


def test_features_page_matches_declaration() -> None:
    assert (ROOT / "docs/features.md").read_text(encoding="utf-8") == render_markdown(LIVE_FEATURES)


def test_features_have_unique_names_units_and_meanings() -> None:
    assert len(set(TAKE_HOME_FEATURES.names)) == len(TAKE_HOME_FEATURES.features)
    assert all(feature.name and feature.unit and feature.meaning for feature in TAKE_HOME_FEATURES.features)


def test_meanings_of_meal_features_name_the_meal_periods() -> None:
    meanings = {feature.name: feature.meaning for feature in HISTORY_FEATURES}
    lunch = [meanings[name] for name in ("restaurant_lunch_share", "restaurant_first_lunch_second")]
    assert all("from 05:00 to 16:45" in meaning for meaning in lunch)
    assert "from 16:45 to midnight" in meanings["restaurant_first_dinner_second"]
    limits = np.array([0, NIGHT_END_SECOND - 1, NIGHT_END_SECOND, DINNER_START_SECOND - 1, DINNER_START_SECOND])
    assert limits[[2, 4]].tolist() == [5 * 3600, 16.75 * 3600]
    assert meal_period(limits).tolist() == [1, 1, 0, 0, 1]


def test_column_constants_point_to_their_features() -> None:
    names = [HISTORY_FEATURES[column].name for column in (MEDIAN_COLUMN, FIRST_LUNCH_COLUMN, FIRST_DINNER_COLUMN)]
    assert names == ["restaurant_p50_seconds", "restaurant_first_lunch_second", "restaurant_first_dinner_second"]
