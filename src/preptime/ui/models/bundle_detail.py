"""The view "Bundle details" of the page Models: a bundle's backtest, charts, feature importance, and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import msgspec
import streamlit as st

from preptime.bundle.inventory import StoreListing
from preptime.bundle.manifest import REPORT_FILE, Manifest
from preptime.bundle.store import Store
from preptime.domain.orders import DEFAULT_MODEL
from preptime.domain.time_units import MINUTES, TimeUnit
from preptime.domain.validation_reasons import ValidationReason, validation_rule
from preptime.evaluation import aggregates, charts
from preptime.evaluation.aggregates import MIN_RELIABLE_ORDERS
from preptime.evaluation.chart_set import NamedChart, hour_and_calibration_charts, prediction_charts
from preptime.evaluation.charts import Chart, Palette, with_size, with_theme
from preptime.evaluation.documents import BacktestDocument, Score, SegmentDimension
from preptime.evaluation.evaluated_orders import LABEL_SETS, LabelSet
from preptime.evaluation.overview import SegmentComparison, summarize_bundle
from preptime.evaluation.report_data import ReportData, backtest_from_manifest
from preptime.evaluation.summary_text import (
    importance_caption,
    summary_sentences,
)
from preptime.features.feature_set import FeatureSet
from preptime.formatting import format_count
from preptime.ui.components import (
    Column,
    caption,
    chart_card,
    choose_dimension,
    data_table,
    definition_list,
    segment_charts,
    segment_table,
    show_failures,
    show_info,
    waiting_cost_table,
    within_column,
)
from preptime.ui.display_names import DIMENSION_TITLES, feature_title, model_title, readable_name, reason_title
from preptime.ui.formatting import document_text, format_size
from preptime.ui.models.bundle_list import bundle_metrics, load_report_data, read_report

_DEFAULT_LABEL = "default prediction"
_KIND_LABELS = {"model": "other models", "live": "live model", "baseline": "baselines"}
_LABEL_SET_TITLES: dict[LabelSet, str] = {
    "up_to_3h": "labels up to 3 h",
    "within_label_limit": "labels within the outlier limit",
}
_DIMENSIONS: tuple[SegmentDimension, ...] = ("city", "type_of_food", "items", "fallback_level")
_SCORE_COLUMNS = (
    Column("name", "model"),
    Column("kind", "kind"),
    Column("mae", "mean error", "duration"),
    Column("median_ae", "median error", "duration", "Half of the predictions have a smaller error"),
    Column("bias", "bias", "duration", "Mean of predicted minus actual. Below 0, orders took longer than predicted"),
    Column("r2", "R²", "decimal", "Share of the variance of the labels that is explained"),
    Column("rmse", "RMSE", "duration", "Root mean squared error. Long delays dominate it"),
)


def choose_bundle(bundles: StoreListing, label: str, key: str, *, preferred_id: str | None = None) -> Manifest | None:
    """Return the selected bundle. The default is `preferred_id` or the champion. Return None without bundles."""
    champion_id = bundles.champion.bundle if bundles.champion else None
    sorted_manifests = sorted(
        bundles.manifests,
        key=lambda manifest: (manifest.id == preferred_id, manifest.id == champion_id, manifest.date),
        reverse=True,
    )
    if not sorted_manifests:
        show_info("The store has no bundle yet.", "Train one with `preptime train`.")
        return None
    bundle_ids = [manifest.id for manifest in sorted_manifests]
    selected_id = st.selectbox(
        label,
        bundle_ids,
        format_func=lambda bundle_id: f"{bundle_id} (champion)" if bundle_id == champion_id else bundle_id,
        key=key,
    )
    return sorted_manifests[bundle_ids.index(selected_id)]


def show(store: Store, bundles: StoreListing) -> None:
    """Draw the details of the selected bundle."""
    manifest = choose_bundle(bundles, "Bundle", "bundle")
    if manifest is None:
        return
    backtest, report_data, unit = backtest_from_manifest(manifest), None, manifest.schema.target.time_unit
    with show_failures():
        report_data = load_report_data(store, manifest)
    _bundle_summary(store, manifest, backtest)
    if not manifest.metrics:
        show_info("This bundle has no metrics: it was trained with --quick.")
    elif backtest is None:
        show_info("This version of preptime can't read the metrics of this bundle.", "Its predictions aren't affected.")
    else:
        _score_section(backtest, manifest.weak_models, unit)
        _waiting_cost_section(backtest, unit)
    _prediction_charts(manifest, report_data)
    if backtest is not None and backtest.segments:
        _hour_and_calibration_charts(backtest, unit)
        _segment_section(backtest, unit)
    if report_data is not None:
        _training_summary(report_data, FeatureSet.from_schema(manifest.schema), unit)


def _bundle_summary(store: Store, manifest: Manifest, backtest: BacktestDocument | None) -> None:
    bundle_overview, unit = summarize_bundle(manifest), manifest.schema.target.time_unit
    bundle_metrics(bundle_overview, unit)
    if backtest is not None:
        caption(" ".join(summary_sentences(backtest, unit)))
    window = manifest.window
    total_bytes = sum(file.size_bytes for file in manifest.files.values())
    details = {
        "training window": f"{window.first_day} to {window.last_day}",
        "evaluated on": bundle_overview.evaluated_days or "nothing",
        "models": ", ".join(model_title(name, manifest.weak_models) for name in manifest.models),
        **({"custom models": manifest.custom_models} if manifest.custom_models else {}),
        "features": str(len(manifest.features)),
        "data": manifest.data_fingerprint,
        "size": f"{format_size(total_bytes)} in {format_count(len(manifest.files), 'file')}",
    }
    if manifest.parent:
        details = {
            "kind": f"refresh: models and metrics from {manifest.parent}, history as of {manifest.date}"
        } | details
    definition_list(details)
    with show_failures():
        report_bytes = read_report(store, manifest)
        if report_bytes is not None:
            st.download_button(
                "Download the report",
                report_bytes,
                f"{manifest.id}-{REPORT_FILE}",
                "text/html",
                key="report",
                help="One HTML file with these charts. It works offline.",
            )


def _with_titles(importances: Mapping[str, float], features: FeatureSet) -> dict[str, float]:
    return {feature_title(name, features): importance for name, importance in importances.items()}


def _score_columns(unit: TimeUnit) -> tuple[Column, ...]:
    within = within_column(unit, f"Predictions with an error of at most {unit.five_minutes}")
    return (*_SCORE_COLUMNS[:3], within, *_SCORE_COLUMNS[3:])


def _score_section(backtest: BacktestDocument, weak_names: Sequence[str], unit: TimeUnit) -> None:
    st.subheader("Models and baselines")
    label_set = st.segmented_control(
        "Labels",
        LABEL_SETS,
        format_func=_LABEL_SET_TITLES.__getitem__,
        default=LABEL_SETS[0],
        required=True,
        key="labels",
    )
    rows = [row for row in backtest.scores if row.labels == label_set]
    orders = rows[0].n if rows else 0
    caption(
        f"{format_count(orders, 'order')} from {backtest.first_day} to {backtest.last_day}. No model was fitted on "
        f"them. The default prediction is the p50 of the model {readable_name(backtest.default_model)}."
    )
    left, right = st.columns([3, 2])
    with left:
        table_rows = [msgspec.structs.asdict(row) | {"name": model_title(row.name, weak_names)} for row in rows]
        data_table(table_rows, _score_columns(unit), key="scores", unit=unit)
    with right:
        chart_card(
            "Mean error",
            "Lower is better. A useful model has a lower error than both baselines.",
            lambda width, palette: model_errors(rows, backtest.default_model, width, palette, unit),
        )


def _waiting_cost_section(backtest: BacktestDocument, unit: TimeUnit) -> None:
    if backtest.waiting_costs:
        st.subheader("Waiting cost")
        waiting_cost_table(backtest.waiting_costs, key="waiting-costs", unit=unit)


def _prediction_charts(manifest: Manifest, report_data: ReportData | None) -> None:
    if not manifest.metrics:
        return
    if report_data is None or report_data.predictions is None:
        report_hint = " Its report contains these charts." if REPORT_FILE in manifest.files else ""
        show_info(
            "This bundle has no data for the charts of predictions, errors, and feature importance.",
            f"An earlier release trained it. Bundles trained with this release contain the data.{report_hint}",
        )
        return
    unit = manifest.schema.target.time_unit
    _chart_row(prediction_charts(report_data.predictions, unit), ("Predicted vs. actual", "Distribution of errors"))


def _hour_and_calibration_charts(backtest: BacktestDocument, unit: TimeUnit) -> None:
    titles = ("Mean error by local hour", "Calibration of the quantiles")
    _chart_row(hour_and_calibration_charts(backtest, unit), titles)


def _chart_row(named_charts: Sequence[NamedChart], titles: Sequence[str]) -> None:
    """Draw charts of the report next to each other, with shorter titles."""
    for column, chart, title in zip(st.columns(len(titles)), named_charts, titles, strict=True):
        with column:
            chart_card(title, chart.caption, chart.draw)


def _segment_section(backtest: BacktestDocument, unit: TimeUnit) -> None:
    st.subheader("By segment")
    dimension = choose_dimension(_DIMENSIONS, key="segment-dimension")
    with st.expander(f"Table by {DIMENSION_TITLES[dimension]}"):
        segment_table(backtest.segments, dimension, key="segments", unit=unit)
    segment_charts(backtest.segments, dimension, unit)


def _training_summary(report_data: ReportData, features: FeatureSet, unit: TimeUnit) -> None:
    st.subheader("Feature importance and labels")
    left, right = st.columns(2)
    with left:
        models = sorted(report_data.importance, key=lambda name: name != DEFAULT_MODEL)
        model = st.selectbox("Model", models, format_func=readable_name, key="importance-model")
        rows = aggregates.importance_rows(_with_titles(report_data.importance[model], features))
        chart_card(
            "Feature importance",
            importance_caption(rows, readable_name(model)),
            lambda width, palette: charts.importance(rows, width, palette),
        )
    with right:
        caption(
            f"Of {format_count(report_data.rows_read, 'row')}, {format_count(report_data.orders_fitted, 'order')} were "
            "used to fit the models. The table counts the rows by validation reason."
        )
        known_reasons = {str(item) for item in ValidationReason}
        data_table(
            [
                {
                    "reason": document_text(reason_title(item.reason), unit),
                    "orders": item.orders,
                    "out": ", ".join(sorted(validation_rule(ValidationReason(item.reason)).excluded_from))
                    if item.reason in known_reasons
                    else "",
                }
                for item in report_data.label_counts
            ],
            (
                Column("reason", "reason", "long"),
                Column("orders", "orders", "count"),
                Column("out", "excluded from"),
            ),
            key="label-reasons",
        )


def model_errors(rows: Sequence[Score], default: str, width: int, palette: Palette, unit: TimeUnit = MINUTES) -> Chart:
    """Return the mean error of every model, best first: default model blue, other models gray, baselines orange.

    The live model is green.
    """
    sorted_scores = sorted((row for row in rows if row.mae is not None), key=lambda row: row.mae or 0.0)
    chart_rows = [
        {
            "name": readable_name(row.name),
            "error": mae / unit.seconds,
            "kind": _DEFAULT_LABEL if row.name == default else _KIND_LABELS[row.kind],
            "label": unit.number(mae, 2),
            "tip": f"{readable_name(row.name)}: {unit.text(mae, 2)} mean error over {row.n:,} orders",
        }
        for row in sorted_scores
        for mae in [row.mae or 0.0]
    ]
    kind_colors = (palette.model, palette.secondary_text, palette.band, palette.lookup)
    shown_kinds = {row["kind"] for row in chart_rows}
    legend = {
        label: color
        for label, color in zip((_DEFAULT_LABEL, *_KIND_LABELS.values()), kind_colors, strict=True)
        if label in shown_kinds
    }
    max_error = max((float(str(row["error"])) for row in chart_rows), default=1.0)
    base = alt.Chart(alt.InlineData(values=chart_rows)).encode(
        y=alt.Y("name:N", sort=None, title=None, axis=alt.Axis(labelLimit=140)),
        x=alt.X("error:Q", title=f"mean error, {unit.name}", scale=alt.Scale(domain=[0, 1.12 * max_error], nice=False)),
        tooltip=alt.Tooltip("tip:N"),
    )
    bars = base.mark_bar(cornerRadiusEnd=2, height={"band": 0.68}).encode(
        color=alt.Color(
            "kind:N",
            scale=alt.Scale(domain=list(legend), range=list(legend.values())),
            legend=alt.Legend(title=None, orient="bottom", columns=2),
        )
    )
    labels = base.mark_text(align="left", dx=5, color=palette.text, fontSize=11).encode(text="label:N")
    return with_theme(with_size(alt.LayerChart(layer=[bars, labels]), width, 27 * len(chart_rows) + 70), palette)


def segment_error_pairs(
    rows: Sequence[SegmentComparison],
    names: tuple[str, str],
    width: int,
    palette: Palette,
    unit: TimeUnit = MINUTES,
) -> Chart:
    """Return the mean error of two bundles in each segment, as two marks and a line between them."""
    chart_rows = [
        {
            "segment": row.value,
            "bundle": name,
            "error": value / unit.seconds,
            "few": min(row.orders) < MIN_RELIABLE_ORDERS,
            "tip": f"{row.value}, {name}: {unit.text(value, 2)} over {orders:,} orders",
        }
        for row in rows
        for name, value, orders in zip(names, (row.first, row.second), row.orders, strict=True)
        if value is not None
    ]
    y = alt.Y("segment:N", sort=[row.value for row in rows], title=None, axis=alt.Axis(labelLimit=140))
    small_group_opacity = alt.Opacity("few:N", scale=alt.Scale(domain=[False, True], range=[1.0, 0.35]), legend=None)
    base = alt.Chart(alt.InlineData(values=chart_rows)).encode(y=y, opacity=small_group_opacity)
    lines = base.mark_line(color=palette.grid, strokeWidth=3).encode(x="error:Q", detail="segment:N")
    color = alt.Color(
        "bundle:N",
        scale=alt.Scale(domain=list(names), range=[palette.model, palette.lookup]),
        legend=alt.Legend(title=None, orient="bottom", columns=1, labelLimit=300),
    )
    shape = alt.Shape("bundle:N", scale=alt.Scale(domain=list(names), range=["circle", "square"]), legend=None)
    x = alt.X("error:Q", title=f"mean error, {unit.name}", scale=alt.Scale(zero=False, nice=True))
    # The second mark is hollow and larger, so that both are visible if they coincide.
    points = base.encode(x=x, color=color, shape=shape, tooltip=alt.Tooltip("tip:N"))
    first_points = points.transform_filter(f"datum.bundle === '{names[0]}'").mark_point(filled=True, size=60)
    second_points = points.transform_filter(f"datum.bundle === '{names[1]}'").mark_point(size=150, strokeWidth=2)
    return with_theme(
        with_size(alt.LayerChart(layer=[lines, first_points, second_points]), width, 24 * len(rows) + 100), palette
    )
