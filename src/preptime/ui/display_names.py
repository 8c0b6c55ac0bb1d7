"""Display names: what the dashboard shows instead of the code's names of reasons, rules, models, and levels.

The names of features are next to their definitions, in `preptime.features.spec`. A name without an entry is shown with
spaces instead of underscores.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from preptime.domain.validation_reasons import ValidationReason, validation_rule
from preptime.evaluation.documents import SegmentDimension
from preptime.evaluation.summary_text import WEAK_MODEL_NOTE
from preptime.features.feature_set import TAKE_HOME_FEATURES, FeatureSet
from preptime.scoring.scorer import PREDICTED_SECONDS

FALLBACK_LEVEL_TITLES = {
    "restaurant": "restaurant",
    "city_food": "city and type of food",
    "food": "type of food",
    "city": "city",
    "global": "all orders",
}
"""The name of each fallback level, in tables and charts."""

FALLBACK_LEVEL_DESCRIPTIONS = {
    "restaurant": "this restaurant's own orders",
    "city_food": "orders of this type of food in this city",
    "food": "orders of this type of food in all cities",
    "city": "orders of this city",
    "global": "all orders, because the restaurant, its city, and its type of food have no history",
}
"""The meaning of each fallback level, as the end of a sentence."""

DIMENSION_TITLES: dict[SegmentDimension, str] = {
    "city": "city",
    "type_of_food": "type of food",
    "hour": "local hour",
    "items": "number of items",
    "fallback_level": "fallback level",
}
"""Names of the segment dimensions."""

MODEL_TITLES = {
    "quantile": "quantile (default)",
    "rf": "random forest",
    "gbr": "gradient boosting",
    "cat": "CatBoost",
    "xgb": "XGBoost",
    "stacking": "stacking",
    "live": "live model",
    "restaurant_lookup": "restaurant lookup",
    "global_median": "median of all orders",
}
"""Names of the models and the baselines."""

RULE_TITLES = {
    "slower_than_predicted": "Slower than predicted",
    "faster_than_predicted": "Faster than predicted",
    "coverage": "Coverage of the interval",
    "worse_than_backtest": "Worse than in the backtest",
    "worse_than_lookup": "Worse than the restaurant lookup",
    "feature_drift": "Drift of a feature",
    "prediction_drift": "Drift of the predictions",
    "fallback_rate": "Predictions without restaurant history",
    "unknown_restaurants": "Unknown restaurants",
    "unknown_categories": "Unknown cities or types of food",
    "volume_low": "Too few orders",
    "volume_high": "Too many orders",
    "invalid_labels": "Invalid labels",
    "missing_predictions": "Orders without a prediction",
    "missing_outcomes": "Predictions without an outcome",
}
"""Names of the monitoring rules."""

_NAME_PATTERN = re.compile("`?(?P<name>[a-z0-9]+(?:_[a-z0-9]+)+)`?")
"""A name in the code, with an underscore."""
UNIT_TITLES = {"standard errors": "standard errors from the expected value", "s": "seconds", "share": "share"}
"""Names of units in tables."""


def readable_name(name: str) -> str:
    """Return the display name of a rule or a model, or else the name with spaces."""
    return RULE_TITLES.get(name) or MODEL_TITLES.get(name) or name.replace("_", " ")


def model_title(name: str, weak_models: Collection[str]) -> str:
    """Return the display name of a model, with a note if it's one of `weak_models`."""
    return f"{readable_name(name)} ({WEAK_MODEL_NOTE})" if name in weak_models else readable_name(name)


def reason_title(reason: str) -> str:
    """Return the meaning of a validation reason. A reason of another version is shown as it is."""
    try:
        return validation_rule(ValidationReason(reason)).description
    except ValueError:
        return reason


def feature_title(name: str, features: FeatureSet = TAKE_HOME_FEATURES) -> str:
    """Return the display name of a feature of a bundle, or of the prediction where it's treated like one."""
    return "prediction" if name == PREDICTED_SECONDS else features.titles.get(name, readable_name(name))


def names_to_titles(text: str, features: FeatureSet = TAKE_HOME_FEATURES) -> str:
    """Return a sentence with the names of features and rules replaced by their display names."""

    def title_of_match(match: re.Match[str]) -> str:
        name = match["name"]
        if name in RULE_TITLES:
            return f"“{RULE_TITLES[name]}”"
        is_feature = name == PREDICTED_SECONDS or name in features.titles
        return feature_title(name, features) if is_feature else match[0]

    return _NAME_PATTERN.sub(title_of_match, text)
