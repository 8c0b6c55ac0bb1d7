"""One bundle: its backtest table with both baselines, and the pictures of its training run."""

from __future__ import annotations

import msgspec
import streamlit as st

from preptime.bundle.listing import StoreListing
from preptime.bundle.manifest import REPORT_FILE, Manifest
from preptime.bundle.store import Store
from preptime.evaluation import aggregates, charts
from preptime.evaluation.documents import BacktestDocument, SegmentDimension
from preptime.evaluation.evaluated import LABEL_SETS, LabelSet
from preptime.evaluation.overview import summarize_bundle
from preptime.evaluation.pictured import ReportData, backtest_of
from preptime.evaluation.scores import REGRESSION_MIN_ORDERS
from preptime.evaluation.sentences import (
    calibration_caption,
    density_caption,
    errors_caption,
    hours_caption,
    quartile_rows,
)
from preptime.evaluation.verdict import summary_sentences
from preptime.ui.models import charts as own
from preptime.ui.models.learned import show_training_summary
from preptime.ui.models.reading import load_report_data, read_report
from preptime.ui.models.stock import bundle_metrics
from preptime.ui.parts import caption, show_failures, show_info
from preptime.ui.segments import DIMENSION_TITLES, choose_dimension, segment_charts, segment_table
from preptime.ui.show import Column, chart_card, data_table, definition_list
from preptime.ui.words import format_count, format_size

_LABEL_SET_TITLES: dict[LabelSet, str] = {
    "up_to_3h": "labels up to 3 h",
    "within_label_limit": "labels inside the outlier limit",
}
_DIMENSIONS: tuple[SegmentDimension, ...] = ("city", "type_of_food", "items", "fallback_level")
_SCORE_COLUMNS = (
    Column("name", "answer"),
    Column("kind", "kind"),
    Column("mae", "mean error", "minutes"),
    Column("within_5_min", "within 5 min", "percent", "Answers at most five minutes off, either way"),
    Column("median_ae", "half within", "minutes", "Half of the answers are closer than this"),
    Column("bias", "bias", "minutes", "Mean of predicted minus actual: below 0 the food came later than said"),
    Column("r2", "R²", "r", "Share of the labels' variance explained"),
    Column("rmse", "RMSE", "minutes", "Root of the mean squared error: the long delays decide it"),
)


def choose_bundle(bundles: StoreListing, label: str, key: str, *, preferred_id: str | None = None) -> Manifest | None:
    """A bundle that somebody picks, `first` or the champion before all; nothing where no manifest can be read."""
    champion_id = bundles.champion.bundle if bundles.champion else None
    sorted_manifests = sorted(
        bundles.manifests,
        key=lambda manifest: (manifest.id == preferred_id, manifest.id == champion_id, manifest.date),
        reverse=True,
    )
    if not sorted_manifests:
        show_info("There is no bundle to look at yet.", "`preptime train` makes one.")
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
    """Everything a bundle says of its training run."""
    manifest = choose_bundle(bundles, "Bundle", "bundle")
    if manifest is None:
        return
    backtest, report_data = backtest_of(manifest), None
    with show_failures():
        report_data = load_report_data(store, manifest)
    _bundle_summary(store, manifest, backtest)
    if backtest is None:
        show_info("This bundle's manifest tells no scores that this preptime can read.", "Its models are not affected.")
    else:
        _score_section(backtest)
    _prediction_charts(manifest, report_data)
    if backtest is not None and backtest.segments:
        _hour_and_calibration_charts(backtest)
        _segment_section(backtest)
    if report_data is not None:
        show_training_summary(report_data)


def _bundle_summary(store: Store, manifest: Manifest, backtest: BacktestDocument | None) -> None:
    bundle_overview = summarize_bundle(manifest)
    bundle_metrics(bundle_overview)
    if backtest is not None:
        caption(" ".join(summary_sentences(backtest)))
    window = manifest.window
    total_bytes = sum(file.size_bytes for file in manifest.files.values())
    details = {
        "learned from": f"{window.first_day} to {window.last_day}",
        "evaluated on": bundle_overview.evaluated_days or "nothing",
        "models": ", ".join(manifest.models),
        "features": str(len(manifest.features)),
        "data": manifest.data_fingerprint,
        "size": f"{format_size(total_bytes)} in {format_count(len(manifest.files), 'file')}",
    }
    if manifest.parent:
        details = {"kind": f"refresh: models and figures of {manifest.parent}, history of {manifest.date}"} | details
    definition_list(details)
    with show_failures():
        report_bytes = read_report(store, manifest)
        if report_bytes is not None:
            st.download_button(
                "Download its report",
                report_bytes,
                f"{manifest.id}-{REPORT_FILE}",
                "text/html",
                key="report",
                help="One file with these pictures, to hand on. It needs no network.",
            )


def _score_section(backtest: BacktestDocument) -> None:
    st.subheader("Each model beside both baselines")
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
        f"{format_count(orders, 'order')} from {backtest.first_day} to {backtest.last_day}, which no model had seen. The "
        f"default answer is {backtest.default_model}'s p50."
    )
    left, right = st.columns([3, 2])
    with left:
        table_rows = [msgspec.structs.asdict(row) | {"name": row.name.replace("_", " ")} for row in rows]
        data_table(table_rows, _SCORE_COLUMNS, key="scores")
    with right:
        chart_card(
            "Mean error",
            "The shorter the bar, the closer the answers; a model that does not beat both baselines is no use.",
            lambda width, palette: own.model_errors(rows, backtest.default_model, width, palette),
        )


def _prediction_charts(manifest: Manifest, report_data: ReportData | None) -> None:
    if report_data is None or report_data.predictions is None:
        report_hint = " Its report has these pictures." if REPORT_FILE in manifest.files else ""
        show_info(
            "What predicted against actual, the errors and the importance are drawn from is not in this bundle.",
            f"An earlier release made it; bundles trained from now on keep it.{report_hint}",
        )
        return
    predictions = report_data.predictions
    left, right = st.columns(2)
    with left:
        chart_card(
            "Predicted against actual",
            density_caption(predictions),
            lambda width, palette: charts.predicted_vs_actual(
                aggregates.density_rows(predictions.density),
                quartile_rows(predictions),
                predictions.axis_limit_minutes,
                width,
                palette,
            ),
        )
    with right:
        chart_card(
            "How far off, and to which side",
            errors_caption(predictions),
            lambda width, palette: charts.error_distribution(
                aggregates.error_rows(predictions.error_counts, predictions.orders),
                next(iter(predictions.error_counts)),
                width,
                palette,
            ),
        )


def _hour_and_calibration_charts(backtest: BacktestDocument) -> None:
    hour_rows = aggregates.segment_rows(backtest.segments, ("hour",))
    calibration_rows = aggregates.calibration_rows(backtest.segments, REGRESSION_MIN_ORDERS)
    left, right = st.columns(2)
    with left:
        chart_card(
            "Mean error by local hour",
            hours_caption(hour_rows),
            lambda width, palette: charts.hour_errors(hour_rows, width, palette),
        )
    with right:
        chart_card(
            "Calibration: what a quantile claims and what it keeps",
            calibration_caption(calibration_rows),
            lambda width, palette: charts.calibration(calibration_rows, width, palette),
        )


def _segment_section(backtest: BacktestDocument) -> None:
    st.subheader("By segment")
    dimension = choose_dimension(_DIMENSIONS, key="segment-dimension")
    segment_charts(backtest.segments, dimension)
    with st.expander(f"Every {DIMENSION_TITLES[dimension]} as a table"):
        segment_table(backtest.segments, dimension, key="segments")
