"""The fields of dispatch decisions on the page Predict: the ratio of the costs, and the travel times of a file."""

from __future__ import annotations

import math

import streamlit as st

from preptime.domain.dispatch import MAX_LEVEL, MIN_LEVEL, dispatch_level
from preptime.schema.schema import Schema
from preptime.scoring.column_names import is_result_column
from preptime.scoring.preview import SAMPLE_TRAVEL_COLUMN, Preview
from preptime.scoring.travel_column import TravelColumn
from preptime.settings import Settings
from preptime.ui.components import field_error

_COST_RATIOS = (*(f"1:{cost}" for cost in range(9, 0, -1)), *(f"{cost}:1" for cost in range(2, 10)))
_NO_COLUMN = "no travel times"


def cost_ratio_field(settings: Settings, key: str) -> float:
    """Draw the ratio of the costs. Return the level of the quantile at which couriers should arrive.

    The default is the configured ratio. An invalid one is reported, and the default is the closest valid ratio.
    """
    configured, level = _configured_ratio(settings)
    closest = min(_COST_RATIOS, key=lambda ratio: abs(_ratio_level(ratio) - level))
    is_option = math.isclose(_ratio_level(closest), level)
    is_valid = is_option or MIN_LEVEL < level < MAX_LEVEL
    is_added = is_valid and not is_option
    ratio = st.select_slider(
        "Cost of a waiting minute, courier : food",
        sorted([*_COST_RATIOS, configured], key=_ratio_level) if is_added else _COST_RATIOS,
        configured if is_added else closest,
        key=key,
        help="Only the ratio matters. The courier should arrive at the quantile courier / (courier + food) of the "
        "ready time.",
    )
    if not is_valid:
        field_error(
            f"The ratio of PREPTIME_COURIER_COST and PREPTIME_FOOD_COST is {configured}. It must be from "
            f"{_COST_RATIOS[0]} to {_COST_RATIOS[-1]}."
        )
    return _ratio_level(ratio)


def travel_column_field(preview: Preview, schema: Schema, settings: Settings) -> TravelColumn | None:
    """Draw the choice of a file's column with travel times. Return None without one.

    Draws nothing if the file has no column except those of the schema, or if the schema has no dispatch decisions.
    """
    known = {column.column for column in schema.orders.values()} | {feature.column for feature in schema.features}
    columns = [name for name in preview.columns if name not in known and not is_result_column(name)]
    if not columns or not schema.target.has_dispatch:
        return None
    left, right = st.columns(2, gap="large")
    with left:
        name = st.selectbox(
            "Travel times of couriers, in seconds",
            [None, *columns],
            # A column with the name of the API's field is selected by default.
            index=1 + columns.index(SAMPLE_TRAVEL_COLUMN) if SAMPLE_TRAVEL_COLUMN in columns else 0,
            format_func=lambda column: _NO_COLUMN if column is None else column,
            key="travel_column",
            help="With travel times, the predictions say when to send each courier.",
        )
    if name is None:
        return None
    with right:
        return TravelColumn(name, cost_ratio_field(settings, key="file_cost_ratio"))


def _configured_ratio(settings: Settings) -> tuple[str, float]:
    """Return the ratio of the configured costs, such as `5:2`, and its level, which can be invalid."""
    costs = settings.courier_cost, settings.food_cost
    # The shortest text of a number from 0.001 to 1,000,000 has no exponent.
    return ":".join(repr(cost).removesuffix(".0") for cost in costs), costs[0] / sum(costs)


def _ratio_level(ratio: str) -> float:
    courier_cost, _, food_cost = ratio.partition(":")
    return dispatch_level(float(courier_cost), float(food_cost))
