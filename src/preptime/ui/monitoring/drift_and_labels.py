"""The views "Drift" and "Predictions and labels" of the page Monitoring."""

from __future__ import annotations

import msgspec
import streamlit as st

from preptime.evaluation import daily_charts
from preptime.features.feature_set import FeatureSet
from preptime.formatting import format_count
from preptime.monitoring import report_rows
from preptime.monitoring.document import Drift, FeatureDrift, MonitoringDocument
from preptime.ui.components import Column, caption, chart_card, data_table, show_info
from preptime.ui.display_names import feature_title, reason_title
from preptime.ui.formatting import document_text
from preptime.ui.monitoring.alerts import features_of, unit_of

_FEATURE_COLUMNS = (
    Column("name", "feature"),
    Column("unit", "unit"),
    Column(
        "psi", "PSI", "decimal", "Population stability index. By convention, more than 0.25 is a different distribution"
    ),
    Column("adjusted_p_value", "p-value (Holm)", "decimal", "Probability of such a difference without any drift"),
    Column("drifted", "drifted"),
    Column("reference_median", "reference median", "number"),
    Column("recent_median", "recent median", "number"),
)
_BUNDLE_COLUMNS = (
    Column("bundle", "bundle"),
    Column("orders", "with outcome", "count"),
    Column("days", "days"),
    Column("n", "evaluated", "count"),
    Column("mae", "mean error", "duration"),
    Column("coverage", "inside p10–p90", "percent"),
)
_LABEL_COLUMNS = (
    Column("reason", "reason", "long"),
    Column("orders", "rows", "count"),
    Column("orders_on_last_day", "rows of the last day", "count"),
)


def feature_drift(document: MonitoringDocument) -> None:
    """Draw the drift of each feature between the champion's training and the latest days."""
    document = _with_feature_titles(document, features_of(document))
    drift_result = document.drift
    stability_rows = report_rows.psi_rows(document)
    if drift_result.reference is None or not stability_rows:
        show_info(
            drift_result.unavailable_reason or "There is no drift result.",
            "The comparison needs a whole week in the training window, and some days after it.",
        )
    if not stability_rows:
        return
    caption(_compared_days(drift_result))
    features_by_name = {feature.name: feature for feature in drift_result.features if feature.bins}
    most_drifted = report_rows.most_drifted(document)
    table_rows = [
        msgspec.structs.asdict(feature) | {"drifted": "drifted" if feature.drifted else ""}
        for feature in drift_result.features
    ]
    data_table(table_rows, _FEATURE_COLUMNS, key="features")
    left, right = st.columns(2)
    with left:
        chart_card(
            "Drift by feature",
            "Beyond the dashed line, distributions differ by convention. Orange features have drifted by the rule. "
            "Pale features grow with time, so they aren't tested.",
            lambda width, palette: daily_charts.feature_psi(stability_rows, width, palette),
        )
    with right:
        names = sorted(features_by_name, key=lambda name: name != (most_drifted.name if most_drifted else ""))
        if names:
            _distribution_chart(features_by_name[st.selectbox("Feature", names, key="drift-feature")])


def _compared_days(drift: Drift) -> str:
    """Return which days are compared. Features and predictions have different references."""
    recent, training, before = drift.recent, drift.reference, drift.prediction_reference
    references = list[str]()
    if training:
        orders = f"{drift.reference_orders:,} orders"
        references.append(f"the champion's training, {training.first} to {training.last} ({orders}), for features")
    if before:
        references.append(f"the weeks before, {before.first} to {before.last}, for predictions")
    recent_days = f", {recent.first} to {recent.last}" if recent else ""
    return f"The latest days{recent_days} ({drift.recent_orders:,} orders), compared with {', and '.join(references)}."


def _with_feature_titles(document: MonitoringDocument, feature_set: FeatureSet) -> MonitoringDocument:
    features = tuple(
        msgspec.structs.replace(feature, name=feature_title(feature.name, feature_set))
        for feature in document.drift.features
    )
    return msgspec.structs.replace(document, drift=msgspec.structs.replace(document.drift, features=features))


def _distribution_chart(feature: FeatureDrift) -> None:
    bin_rows = report_rows.distribution_rows(feature)
    chart_card(
        f"{feature.name}, {feature.unit}" if feature.unit else feature.name,
        "Bars are the latest days, ticks the reference. Without drift, both are equal.",
        lambda width, palette: daily_charts.distribution(bin_rows, width, palette),
    )


def predictions_and_labels(document: MonitoringDocument) -> None:
    """Draw the predictions by source, fallback level, and bundle, and the validation of the labels."""
    counts, unit = document.prediction_counts, unit_of(document)
    caption(
        f"Of {format_count(counts.orders, 'order')} in the four weeks, {counts.usable:,} are usable, "
        f"{counts.with_prediction:,} of these have a prediction, and {counts.evaluated:,} of these can be evaluated. "
        f"Predictions from batch scoring: {counts.from_batch:,}, from the API: {counts.from_api:,}. Duplicate "
        f"predictions: {counts.duplicates:,}. Unreadable lines in the prediction log: {counts.unreadable_log_lines:,}."
    )
    unknown_restaurants = sum(day.unknown_restaurants for day in document.days)
    unknown_categories = sum(day.unknown_categories for day in document.days)
    caption(
        f"Usable orders of restaurants that aren't in the restaurants file: {unknown_restaurants:,}. Predicted orders "
        f"with a city or type of food that the bundle didn't know: {unknown_categories:,}."
    )
    if document.bundles:
        st.subheader("Bundles that predicted")
        data_table(
            [
                msgspec.structs.asdict(bundle)
                | msgspec.structs.asdict(bundle.metrics)
                | {"days": f"{bundle.days.first} to {bundle.days.last}"}
                for bundle in document.bundles
            ],
            _BUNDLE_COLUMNS,
            key="monitored-bundles",
            unit=unit,
        )
    st.subheader("Labels")
    caption(
        f"{document.label_audit.evaluable:,} of {format_count(document.label_audit.rows, 'row')} can be evaluated. A "
        "row can have several reasons."
    )
    if document.label_audit.reasons:
        data_table(
            [
                msgspec.structs.asdict(reason) | {"reason": document_text(reason_title(reason.reason), unit)}
                for reason in document.label_audit.reasons
            ],
            _LABEL_COLUMNS,
            key="monitored-label-reasons",
        )
    level_rows = report_rows.fallback_level_rows(document)
    if level_rows and any(float(row["orders"]) for row in level_rows):
        chart_card(
            "Predictions without history of their restaurant",
            "Number of predictions by fallback level. A coarser level has less information.",
            lambda width, palette: daily_charts.daily_counts(level_rows, "predictions", width, palette),
        )
