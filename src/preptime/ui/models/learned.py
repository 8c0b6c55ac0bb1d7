"""What a bundle learned from: the features each of its models leans on, and the labels that came in."""

from __future__ import annotations

import streamlit as st

from preptime.domain.prediction import DEFAULT_MODEL
from preptime.domain.verdict import Reason, rule
from preptime.evaluation import aggregates, charts
from preptime.evaluation.pictured import Pictured
from preptime.evaluation.sentences import (
    importance_sentence,
)
from preptime.ui.parts import lead
from preptime.ui.show import Column, picture, table
from preptime.ui.words import counted


def learned(kept: Pictured) -> None:
    st.subheader("What it learned from")
    left, right = st.columns(2)
    with left:
        models = sorted(kept.importance, key=lambda name: name != DEFAULT_MODEL)
        model = st.selectbox("Model", models, key="importance-of")
        rows = aggregates.importance_rows(kept.importance[model])
        picture(
            "Feature importance",
            importance_sentence(rows, model),
            lambda width, palette: charts.importance(rows, width, palette),
        )
    with right:
        lead(
            f"{counted(kept.rows_read, 'row')} were read and {counted(kept.orders_fitted, 'order')} fitted on; each "
            "keeps its verdict, and none is dropped without one."
        )
        known = {str(one) for one in Reason}
        table(
            [
                {
                    "reason": one.reason,
                    "orders": one.orders,
                    "meaning": rule(Reason(one.reason)).meaning if one.reason in known else "",
                    "out": ", ".join(sorted(rule(Reason(one.reason)).keeps_out_of)) if one.reason in known else "",
                }
                for one in kept.labels
            ],
            (
                Column("reason", "reason"),
                Column("orders", "orders", "count"),
                Column("out", "kept out of"),
                Column("meaning", "meaning"),
            ),
            key="labels-read",
        )
