"""What a bundle learned from: the features each of its models leans on, and the labels that came in."""

from __future__ import annotations

import streamlit as st

from preptime.domain.prediction import DEFAULT_MODEL
from preptime.domain.verdict import ValidationReason, validation_rule
from preptime.evaluation import aggregates, charts
from preptime.evaluation.pictured import ReportData
from preptime.evaluation.sentences import (
    importance_caption,
)
from preptime.ui.parts import caption
from preptime.ui.show import Column, chart_card, data_table
from preptime.ui.words import format_count


def show_training_summary(report_data: ReportData) -> None:
    st.subheader("What it learned from")
    left, right = st.columns(2)
    with left:
        models = sorted(report_data.importance, key=lambda name: name != DEFAULT_MODEL)
        model = st.selectbox("Model", models, key="importance-model")
        rows = aggregates.importance_rows(report_data.importance[model])
        chart_card(
            "Feature importance",
            importance_caption(rows, model),
            lambda width, palette: charts.importance(rows, width, palette),
        )
    with right:
        caption(
            f"{format_count(report_data.rows_read, 'row')} were read and {format_count(report_data.orders_fitted, 'order')} fitted on; each "
            "keeps its verdict, and none is dropped without one."
        )
        known_reasons = {str(item) for item in ValidationReason}
        data_table(
            [
                {
                    "reason": item.reason,
                    "orders": item.orders,
                    "meaning": validation_rule(ValidationReason(item.reason)).description
                    if item.reason in known_reasons
                    else "",
                    "out": ", ".join(sorted(validation_rule(ValidationReason(item.reason)).excluded_from))
                    if item.reason in known_reasons
                    else "",
                }
                for item in report_data.label_counts
            ],
            (
                Column("reason", "reason"),
                Column("orders", "orders", "count"),
                Column("out", "kept out of"),
                Column("meaning", "meaning"),
            ),
            key="label-reasons",
        )
