"""What the models are given lately, who answered, and what the audit says of the outcomes."""

from __future__ import annotations

import streamlit as st

from preptime.evaluation import day_charts
from preptime.monitoring import rows
from preptime.monitoring.document import Feature, Monitoring
from preptime.ui.monitoring.alerts import fields_of
from preptime.ui.parts import lead, notice
from preptime.ui.show import Column, picture, table
from preptime.ui.words import counted

_FEATURES = (
    Column("name", "feature"),
    Column("unit", "unit"),
    Column("psi", "PSI", "r", "Population stability index: by custom above 0.25 is another population"),
    Column("p_adjusted", "p after Holm", "r", "Probability of such a difference, were nothing different"),
    Column("drifted", "drifted"),
    Column("reference_median", "median before", "number"),
    Column("recent_median", "median lately", "number"),
)
_BUNDLES = (
    Column("bundle", "bundle"),
    Column("answered", "answered", "count"),
    Column("days", "days"),
    Column("n", "with outcome", "count"),
    Column("mae", "mean error", "minutes"),
    Column("coverage", "inside p10–p90", "percent"),
)
_LABELS = (
    Column("reason", "reason"),
    Column("orders", "orders", "count"),
    Column("latest", "on the last day", "count"),
    Column("meaning", "meaning"),
)


def drift(document: Monitoring) -> None:
    """What the models are given lately, beside what they were trained on."""
    found = document.drift
    drawn = rows.stability_rows(document)
    if found.reference is None or found.recent is None or not drawn:
        notice(found.why_not or "There is nothing to compare.", "It takes some days after the champion's training.")
        return
    lead(
        f"The latest days, {found.recent.first} to {found.recent.last} ({found.recent_orders:,} orders), beside "
        f"{found.reference.first} to {found.reference.last} of the champion's training ({found.reference_orders:,})."
    )
    features = {one.name: one for one in found.features if one.bins}
    moved = rows.most_moved(document)
    left, right = st.columns(2)
    with left:
        picture(
            "How far each feature has moved",
            "The dashed line is what custom calls another population; orange has drifted by the rule, pale is shown "
            "and not tested, since it grows with time by its nature.",
            lambda width, palette: day_charts.stability(drawn, width, palette),
        )
    with right:
        names = sorted(features, key=lambda name: name != (moved.name if moved else ""))
        if names:
            _distribution(features[st.selectbox("Feature", names, key="drift-feature")])
    told = [fields_of(one) | {"drifted": "drifted" if one.drifted else ""} for one in found.features]
    table(told, _FEATURES, key="features")


def _distribution(feature: Feature) -> None:
    drawn = rows.distribution_rows(feature)
    picture(
        f"{feature.name}, {feature.unit}" if feature.unit else feature.name,
        "Bars are the latest days, ticks the days of the training: the same where nothing has changed.",
        lambda width, palette: day_charts.distribution(drawn, width, palette),
    )


def data(document: Monitoring) -> None:
    """Who answered, on what basis, and what the audit says of the outcomes."""
    counts = document.answers
    lead(
        f"{counts.orders:,} orders were ready in the four weeks; {counts.answered:,} had an answer "
        f"({counts.from_batch:,} in batch, {counts.from_api:,} by the API), {counts.evaluated:,} can be evaluated. "
        f"{counted(counts.unreadable_lines, 'line')} of the log held no record; "
        f"{counted(counts.repeated, 'answer')} came twice."
    )
    basis = rows.basis_rows(document)
    if basis and any(float(row["orders"]) for row in basis):
        picture(
            "Answers without an order of their restaurant behind them",
            "By the level of history that stood in for it: the coarser, the less is known.",
            lambda width, palette: day_charts.counted_days(basis, "answers", width, palette),
        )
    unseen = sum(day.unseen_restaurants for day in document.days)
    unknown = sum(day.unknown_categories for day in document.days)
    lead(
        f"{unseen:,} orders came from restaurants that are not in the restaurants file, {unknown:,} had a city or type "
        "of food that the answering bundle did not know."
    )
    if document.bundles:
        st.subheader("Bundles that answered")
        table(
            [fields_of(one) | fields_of(one.figures) | {"days": f"{one.days.first} to {one.days.last}"} for one in
             document.bundles],
            _BUNDLES,
            key="answered",
        )  # fmt: skip
    st.subheader("Labels")
    lead(f"{document.labels.evaluable:,} of {document.labels.rows:,} rows can be evaluated.")
    if document.labels.reasons:
        table([fields_of(one) for one in document.labels.reasons], _LABELS, key="labels-watched")
