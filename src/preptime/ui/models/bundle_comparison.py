"""The view "Compare bundles" of the page Models: two bundles' details, metrics, segments, and comparison."""

from __future__ import annotations

import streamlit as st

from preptime.bundle.inventory import StoreListing
from preptime.bundle.manifest import Manifest
from preptime.domain.time_units import TimeUnit
from preptime.evaluation.aggregates import MIN_RELIABLE_ORDERS
from preptime.evaluation.documents import BacktestDocument, SegmentDimension
from preptime.evaluation.overview import (
    WAITING_COST_UNIT,
    MetricComparison,
    compare_evaluations,
    compare_segments,
    summarize_bundle,
)
from preptime.evaluation.report_data import backtest_from_manifest
from preptime.evaluation.summary_text import NO_VALUE, format_percent, format_waiting_cost
from preptime.formatting import format_count, with_minus_signs
from preptime.schema.schema import Schema
from preptime.schema.toml_file import find_schema
from preptime.training.comparison import find_logged_comparison, first_comparable_day
from preptime.ui.components import (
    Column,
    caption,
    chart_card,
    choose_dimension,
    data_table,
    show_failures,
    show_info,
    show_success,
)
from preptime.ui.configured_orders import are_orders_configured, derives_restaurants, read_configured_restaurants
from preptime.ui.connections import DashboardContext
from preptime.ui.display_names import DIMENSION_TITLES, model_title
from preptime.ui.formatting import document_text
from preptime.ui.models import bundle_detail
from preptime.ui.models.bundle_detail import choose_bundle
from preptime.ui.models.bundle_list import show_comparison

_METRIC_TITLES = {
    "mae": "mean error",
    "median_ae": "median error",
    "rmse": "RMSE",
    "r2": "R²",
    "bias": "bias",
    "coverage": "inside p10–p90",
}
_DIMENSIONS: tuple[SegmentDimension, ...] = ("city", "type_of_food", "hour")
_MAX_SHOWN_SEGMENTS = 16


def show(context: DashboardContext, bundles: StoreListing) -> None:
    """Draw two selected bundles side by side."""
    left, right = st.columns(2)
    with left:
        first = choose_bundle(bundles, "First bundle", "first")
    with right:
        second = (
            choose_bundle(bundles, "Second bundle", "second", preferred_id=_default_second_bundle(bundles))
            if first
            else None
        )
    if first is None or second is None:
        return
    if first.id == second.id:
        show_info("You selected the same bundle twice.", "Select another bundle, or train one with `preptime train`.")
        return
    _same_orders_comparison(context, bundles, first, second)
    backtests = backtest_from_manifest(first), backtest_from_manifest(second)
    _detail_table(first, second)
    if backtests[0] is None or backtests[1] is None:
        without_metrics = [bundle.id for bundle in (first, second) if not bundle.metrics]
        show_info(
            f"Trained with --quick, so without metrics: {', '.join(without_metrics)}."
            if without_metrics
            else "This version of preptime can't read the metrics of one bundle.",
            "Only the details are compared.",
        )
        return
    _metric_table(backtests[0], backtests[1], (first.id, second.id), _unit(first))
    _segment_section(backtests[0], backtests[1], (first.id, second.id), _unit(first))


def _unit(bundle: Manifest) -> TimeUnit:
    return bundle.schema.target.time_unit


def _default_second_bundle(bundles: StoreListing) -> str | None:
    """Return the default for the second bundle: the previous champion, or else the newest other bundle."""
    if bundles.rollback_target:
        return bundles.rollback_target.bundle
    champion_id = bundles.champion.bundle if bundles.champion else None
    return next((manifest.id for manifest in reversed(bundles.manifests) if manifest.id != champion_id), None)


def _same_orders_comparison(
    context: DashboardContext, bundles: StoreListing, first: Manifest, second: Manifest
) -> None:
    """Draw a comparison on the same orders, from the champion log or computed on request."""
    if (first.parent or first.id) == (second.parent or second.id):
        show_info("Both bundles have the same models. One is a refresh of the other with a different history.")
        return
    found = find_logged_comparison(bundles.entries, first, second)
    if found is not None:
        entry, comparison = found
        show_callout = show_success if comparison.passed else show_info
        show_callout(
            f"Compared on {format_count(comparison.orders, 'order')} by the gate (log entry {entry.number}), each day "
            f"predicted by models fitted on the days before it. {document_text(comparison.summary, _unit(first))}",
            f"The bundles themselves can be compared on orders from {first_comparable_day(first, second)}, which "
            "neither was fitted on.",
        )
        show_comparison(comparison, _unit(first))
    with show_failures():
        schema, _ = find_schema(context.settings.schema)
        if are_orders_configured(context.settings, schema):
            if found is None:
                caption("The champion log has no comparison of these bundles on the same orders. You can run one now.")
            _run_comparison(context, schema, first, second)
        elif found is None:
            restaurants = "" if derives_restaurants(schema) else " --restaurants RESTAURANTS"
            show_info(
                "The champion log has no comparison of these bundles on the same orders.",
                f"preptime bundles compare {first.id} {second.id} --orders ORDERS{restaurants}",
            )


def _run_comparison(context: DashboardContext, schema: Schema, first: Manifest, second: Manifest) -> None:
    """Offer a comparison on the configured orders. It takes a while, so it starts with a button."""
    if not st.button("Compare on the configured orders", key=f"compare-{first.id}-{second.id}"):
        return
    from preptime.sources.registry import open_source
    from preptime.training.comparison import compare_bundles_on_orders
    from preptime.validation.derived_restaurants import derive_restaurants

    settings = context.settings
    with show_failures(), st.spinner("Predicting with both bundles, day by day"):
        orders = open_source(settings.orders, schema)
        restaurants = read_configured_restaurants(settings.orders, settings.restaurants, schema)
        comparison = compare_bundles_on_orders(
            orders,
            derive_restaurants(orders.frame(), orders.schema).index if restaurants is None else restaurants,
            context.bundle(first.id),
            context.bundle(second.id),
        )
        show_callout = show_success if comparison.passed else show_info
        show_callout(document_text(comparison.summary, _unit(first)), "The champion didn't change.")
        show_comparison(comparison, _unit(first), key="computed")


def _detail_table(first: Manifest, second: Manifest) -> None:
    first_overview, second_overview = summarize_bundle(first), summarize_bundle(second)
    detail_rows = (
        ("kind", first_overview.kind, second_overview.kind),
        (
            "models from",
            first_overview.parent or first_overview.bundle,
            second_overview.parent or second_overview.bundle,
        ),
        ("as of", str(first_overview.date), str(second_overview.date)),
        (
            "training window",
            *(f"{manifest.window.first_day} to {manifest.window.last_day}" for manifest in (first, second)),
        ),
        ("evaluated on", first_overview.evaluated_days or NO_VALUE, second_overview.evaluated_days or NO_VALUE),
        ("models", *(_model_titles(manifest) for manifest in (first, second))),
        ("features", str(len(first.features)), str(len(second.features))),
        ("data", first.data_fingerprint, second.data_fingerprint),
    )
    st.subheader("Details")
    data_table(
        [
            {"detail": name, "first": first_value, "second": second_value}
            for name, first_value, second_value in detail_rows
        ],
        (Column("detail", "detail"), Column("first", first.id), Column("second", second.id)),
        key="pair-details",
    )


def _model_titles(manifest: Manifest) -> str:
    return ", ".join(model_title(name, manifest.weak_models) for name in manifest.models)


def _metric_table(
    first: BacktestDocument, second: BacktestDocument, bundle_ids: tuple[str, str], unit: TimeUnit
) -> None:
    titles = {**_METRIC_TITLES, "within_5_min": f"within {unit.five_minutes}"}
    metric_pair = compare_evaluations(first, second)
    st.subheader("Metrics from training")
    if metric_pair.same_days:
        caption("Both bundles were evaluated on the same days, which neither was fitted on.")
    else:
        caption(
            f"The evaluation days differ: {first.first_day} to {first.last_day} for {bundle_ids[0]}, and "
            f"{second.first_day} to {second.last_day} for {bundle_ids[1]}. Differences can come from the days as well "
            "as from the bundles."
        )
    data_table(
        [
            {
                "metric": titles.get(difference.metric.name, difference.metric.name),
                "first": _format_value(difference, difference.first, unit),
                "second": _format_value(difference, difference.second, unit),
                "better": {"first": bundle_ids[0], "second": bundle_ids[1], "neither": NO_VALUE}[difference.better],
                "meaning": document_text(difference.metric.description, unit),
            }
            for difference in metric_pair.metrics
        ],
        (
            Column("metric", "metric"),
            Column("first", bundle_ids[0]),
            Column("second", bundle_ids[1]),
            Column("better", "better bundle", "code"),
            Column("meaning", "meaning", "long"),
        ),
        key="pair-metrics",
    )


def _segment_section(
    first: BacktestDocument, second: BacktestDocument, bundle_ids: tuple[str, str], unit: TimeUnit
) -> None:
    dimension = choose_dimension(_DIMENSIONS, key="pair-dimension")
    rows = compare_segments(first, second, dimension)[:_MAX_SHOWN_SEGMENTS]
    if not rows:
        show_info(f"No {DIMENSION_TITLES[dimension]} has metrics of both bundles.")
        return
    chart_card(
        f"Mean error by {DIMENSION_TITLES[dimension]}",
        f"One mark per bundle; lower is better. Segments with fewer than {MIN_RELIABLE_ORDERS} orders are pale. The "
        f"{len(rows)} segments with the most orders.",
        lambda width, palette: bundle_detail.segment_error_pairs(rows, bundle_ids, width, palette, unit),
    )


def _format_value(difference: MetricComparison, value: float | None, unit: TimeUnit) -> str:
    if value is None:
        return NO_VALUE
    if difference.metric.unit == WAITING_COST_UNIT:
        return f"{format_waiting_cost(value, unit)} {unit.short}"
    if difference.metric.unit == "s":
        return with_minus_signs(unit.text(value, 2))
    return format_percent(value) if difference.metric.unit == "share" else with_minus_signs(f"{value:.3f}")
