"""What the models are given lately, who answered, and what the audit says of the outcomes."""

from __future__ import annotations

import streamlit as st

from preptime.evaluation import daily_charts
from preptime.monitoring import report_rows
from preptime.monitoring.document import FeatureDrift, MonitoringDocument
from preptime.ui.components import Column, caption, chart_card, data_table, show_info
from preptime.ui.formatting import format_count
from preptime.ui.monitoring.alerts import struct_to_dict

_FEATURE_COLUMNS = (
    Column("name", "feature"),
    Column("unit", "unit"),
    Column("psi", "PSI", "r", "Population stability index: by custom above 0.25 is another population"),
    Column("adjusted_p_value", "p after Holm", "r", "Probability of such a difference, were nothing different"),
    Column("drifted", "drifted"),
    Column("reference_median", "median before", "number"),
    Column("recent_median", "median lately", "number"),
)
_BUNDLE_COLUMNS = (
    Column("bundle", "bundle"),
    Column("orders", "predictions", "count"),
    Column("days", "days"),
    Column("n", "with outcome", "count"),
    Column("mae", "mean error", "minutes"),
    Column("coverage", "inside p10–p90", "percent"),
)
_LABEL_COLUMNS = (
    Column("reason", "reason"),
    Column("orders", "orders", "count"),
    Column("orders_on_last_day", "on the last day", "count"),
    Column("description", "meaning"),
)


def feature_drift(document: MonitoringDocument) -> None:
    """What the models are given lately, beside what they were trained on."""
    drift_result = document.drift
    stability_rows = report_rows.psi_rows(document)
    if drift_result.reference is None or drift_result.recent is None or not stability_rows:
        show_info(
            drift_result.unavailable_reason or "There is nothing to compare.",
            "It takes some days after the champion's training.",
        )
        return
    caption(
        f"The latest days, {drift_result.recent.first} to {drift_result.recent.last} ({drift_result.recent_orders:,} orders), beside "
        f"{drift_result.reference.first} to {drift_result.reference.last} of the champion's training ({drift_result.reference_orders:,})."
    )
    features_by_name = {feature.name: feature for feature in drift_result.features if feature.bins}
    most_drifted = report_rows.most_drifted(document)
    left, right = st.columns(2)
    with left:
        chart_card(
            "How far each feature has moved",
            "The dashed line is what custom calls another population; orange has drifted by the rule, pale is shown "
            "and not tested, since it grows with time by its nature.",
            lambda width, palette: daily_charts.feature_psi(stability_rows, width, palette),
        )
    with right:
        names = sorted(features_by_name, key=lambda name: name != (most_drifted.name if most_drifted else ""))
        if names:
            _distribution_chart(features_by_name[st.selectbox("Feature", names, key="drift-feature")])
    table_rows = [
        struct_to_dict(feature) | {"drifted": "drifted" if feature.drifted else ""} for feature in drift_result.features
    ]
    data_table(table_rows, _FEATURE_COLUMNS, key="features")


def _distribution_chart(feature: FeatureDrift) -> None:
    bin_rows = report_rows.distribution_rows(feature)
    chart_card(
        f"{feature.name}, {feature.unit}" if feature.unit else feature.name,
        "Bars are the latest days, ticks the days of the training: the same where nothing has changed.",
        lambda width, palette: daily_charts.distribution(bin_rows, width, palette),
    )


def predictions_and_labels(document: MonitoringDocument) -> None:
    """Who answered, on what basis, and what the audit says of the outcomes."""
    prediction_counts = document.prediction_counts
    caption(
        f"{prediction_counts.orders:,} orders were ready in the four weeks; {prediction_counts.with_prediction:,} had an answer "
        f"({prediction_counts.from_batch:,} in batch, {prediction_counts.from_api:,} by the API), {prediction_counts.evaluated:,} can be evaluated. "
        f"{format_count(prediction_counts.unreadable_log_lines, 'line')} of the log held no record; "
        f"{format_count(prediction_counts.duplicates, 'answer')} came twice."
    )
    level_rows = report_rows.fallback_level_rows(document)
    if level_rows and any(float(row["orders"]) for row in level_rows):
        chart_card(
            "Answers without an order of their restaurant behind them",
            "By the level of history that stood in for it: the coarser, the less is known.",
            lambda width, palette: daily_charts.daily_counts(level_rows, "predictions", width, palette),
        )
    unknown_restaurants = sum(day.unknown_restaurants for day in document.days)
    unknown_categories = sum(day.unknown_categories for day in document.days)
    caption(
        f"{unknown_restaurants:,} orders came from restaurants that are not in the restaurants file, {unknown_categories:,} had a city or type "
        "of food that the answering bundle did not know."
    )
    if document.bundles:
        st.subheader("Bundles that answered")
        data_table(
            [struct_to_dict(item) | struct_to_dict(item.metrics) | {"days": f"{item.days.first} to {item.days.last}"} for item in
             document.bundles],
            _BUNDLE_COLUMNS,
            key="monitored-bundles",
        )  # fmt: skip
    st.subheader("Labels")
    caption(f"{document.label_audit.evaluable:,} of {document.label_audit.rows:,} rows can be evaluated.")
    if document.label_audit.reasons:
        data_table(
            [struct_to_dict(item) for item in document.label_audit.reasons],
            _LABEL_COLUMNS,
            key="monitored-label-reasons",
        )
