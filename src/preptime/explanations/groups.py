"""Groups of features for people: an explanation has a few groups instead of dozens of features."""

from __future__ import annotations

from dataclasses import dataclass

from preptime.features.feature_set import FeatureSet, indicator_name, orders_name
from preptime.features.kitchen import LIVE_FEATURES
from preptime.features.spec import HISTORY_FEATURES, Feature

CUSTOM_PREFIX = "custom_"
"""Start of the name of a custom feature's group, so that it's never the name of another group."""
BASE, ROUNDING = "base", "rounding"
"""The names of the base value, and of what follows from the steps after the trees. They're shown like groups."""

_RESTAURANT_FEATURES = (*(feature.name for feature in HISTORY_FEATURES), "slot_mean_seconds")
_BASE_GROUPS = (
    ("restaurant", "the restaurant's usual time", _RESTAURANT_FEATURES),
    (
        "time",
        "the time of day and weekday",
        ("acknowledged_second", "weekday", "seconds_to_lunch", "seconds_to_dinner"),
    ),
    ("basket", "the basket", ("order_value", "number_of_items")),
    ("place", "the city and type of food", ("city", "type_of_food")),
    ("kitchen", "the state of the kitchen", tuple(feature.name for feature in LIVE_FEATURES)),
)


@dataclass(frozen=True, slots=True)
class FeatureGroup:
    """The features that a person sees as one."""

    name: str
    """In columns and responses."""
    title: str
    """For people, in a sentence."""
    features: tuple[Feature, ...]


def feature_groups(features: FeatureSet, *, with_kitchen: bool) -> tuple[FeatureGroup, ...]:
    """Return the groups of a feature set. Each feature is in exactly one group.

    Custom features and ratios have a group each, which includes their indicators, means, and counts. `with_kitchen`
    includes the live features.

    Example:
        >>> from preptime.features.feature_set import TAKE_HOME_FEATURES
        >>> [group.name for group in feature_groups(TAKE_HOME_FEATURES, with_kitchen=True)]
        ['restaurant', 'time', 'basket', 'place', 'kitchen']
    """
    by_name = {feature.name: feature for feature in explained_features(features, with_kitchen=with_kitchen)}
    named = [
        *_BASE_GROUPS,
        *(
            (
                f"{CUSTOM_PREFIX}{custom.name}",
                custom.display_name,
                (custom.name, indicator_name(custom), f"{custom.name}_mean_seconds", orders_name(custom)),
            )
            for custom in features.custom
        ),
        *((f"{CUSTOM_PREFIX}{ratio.name}", ratio.display_name, (ratio.name,)) for ratio in features.ratios),
    ]
    groups = (
        FeatureGroup(name, title, tuple(by_name[feature] for feature in members if feature in by_name))
        for name, title, members in named
    )
    return tuple(group for group in groups if group.features)


def explained_features(features: FeatureSet, *, with_kitchen: bool) -> tuple[Feature, ...]:
    """Return the features that contribute, in order: those of the feature set, and the live features."""
    return (*features.features, *(LIVE_FEATURES if with_kitchen else ()))
