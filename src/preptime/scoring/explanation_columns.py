"""Explanations as columns: seconds by group of features, or by feature. They add up to the p50."""

from __future__ import annotations

import polars as pl

from preptime.explanations.explanations import Explanations
from preptime.explanations.groups import BASE, ROUNDING

EXPLAIN_PREFIX, _SUFFIX = "explain_", "_seconds"


def explanation_column(name: str) -> str:
    """Return the column of a group or a feature, such as `explain_restaurant_seconds`."""
    return f"{EXPLAIN_PREFIX}{name}{_SUFFIX}"


def is_explanation_column(name: str) -> bool:
    """Return whether a column has the name of an explanation column, of any group or feature."""
    return name.startswith(EXPLAIN_PREFIX) and name.endswith(_SUFFIX)


def explanation_columns(explanations: Explanations, *, by_feature: bool = False) -> pl.DataFrame:
    """Return the base value, the contributions, and the rounding of N orders as columns of float32 seconds.

    The columns of a row add up to its p50 to 1e-3 s. `by_feature` returns a column for each feature instead of each
    group (`preptime.explanations.groups`).
    """
    if by_feature:
        names = [feature.name for feature in explanations.features]
        contributions = dict(zip(names, explanations.contributions.T, strict=True))
    else:
        contributions = explanations.by_group()
    columns = {BASE: explanations.base, **contributions, ROUNDING: explanations.rounding}
    return pl.DataFrame([pl.Series(explanation_column(name), values, pl.Float32) for name, values in columns.items()])
