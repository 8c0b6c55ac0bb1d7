"""Why one order has its prediction: a waterfall chart with one sentence."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from preptime.domain.time_units import TimeUnit
from preptime.ui import prediction_charts
from preptime.ui.components import unframed_chart
from preptime.ui.theme import palette


@dataclass(frozen=True, slots=True)
class OrderExplanation:
    """Why one order has its p50. All numbers are seconds: the base value and the parts add up to the p50."""

    base: float
    p50: float
    parts: tuple[tuple[str, float], ...]
    """The title of each group of features, or of the rounding, and what it adds."""
    sentence: str


def draw_explanation(explanation: OrderExplanation, unit: TimeUnit) -> None:
    """Draw the chart, with the sentence as its title."""
    st.subheader("Why this prediction?")
    unframed_chart(
        explanation.sentence,
        f"From the average order to this one, in {unit.name}. The parts add up to the prediction (p50).",
        prediction_charts.explanation_waterfall(explanation.base, explanation.parts, palette(), unit),
    )
