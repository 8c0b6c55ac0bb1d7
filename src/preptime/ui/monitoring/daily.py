"""The views "By day", "Actual vs. predicted", and "By segment" of the page Monitoring, and cached documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import streamlit as st

from preptime.evaluation import daily_charts
from preptime.evaluation.documents import SegmentDimension
from preptime.evaluation.metrics import COVERAGE_BAND
from preptime.evaluation.summary_text import NO_VALUE, format_percent
from preptime.formatting import format_count
from preptime.monitoring import report_rows
from preptime.monitoring.document import (
    MAX_DOCUMENTS,
    MonitoringDocument,
    MonitoringHistory,
    RatioSeries,
    latest_days,
    read_monitoring_history,
)
from preptime.sources.results import MONITORING_FILE, PREDICTIONS_FILE, ResultsFolder
from preptime.ui.components import (
    caption,
    chart_card,
    choose_dimension,
    segment_charts,
    segment_table,
    show_info,
    waiting_cost_table,
)
from preptime.ui.monitoring.alerts import ratio_chart, segment_name, unit_of

_COMMAND = "preptime monitor --date DATE --orders ORDERS --restaurants RESTAURANTS --store STORE --results RESULTS"


def load_documents(results_path: str) -> MonitoringHistory:
    """Return the monitoring documents of a results folder. They're read again when a file is added or changed."""
    results = ResultsFolder(Path(results_path))
    modified_times = tuple(
        (day.isoformat(), results.path(day, MONITORING_FILE).stat().st_mtime_ns)
        for day in results.days(MONITORING_FILE)[-MAX_DOCUMENTS:]
    )
    return _load_documents(_ResultsVersion(results_path, modified_times))


def show_empty_state(results_path: str) -> None:
    """Show that no monitoring results exist, and which command writes them."""
    predicted = ResultsFolder(Path(results_path)).days(PREDICTIONS_FILE)
    if predicted:
        days = format_count(len(predicted), "day")
        show_info(
            f"There are predictions for {days} ({predicted[0]} to {predicted[-1]}), but no monitoring results yet.",
            f"After the orders are completed, run {_COMMAND}. The DAG daily_monitoring_run runs it every day.",
        )
        return
    show_info(
        "There are no predictions to monitor yet.",
        f"Write a day's predictions with `preptime score --date DATE`. On the next day, run {_COMMAND}. "
        "The DAGs daily_prediction_run and daily_monitoring_run run both every day.",
    )


@dataclass(frozen=True)
class _ResultsVersion:
    """A results folder and the modification times of its documents, as a cache key."""

    results_path: str
    modified_times: tuple[tuple[str, int], ...]


@st.cache_resource(max_entries=2, show_spinner="Reading the monitoring results")
def _load_documents(version: _ResultsVersion) -> MonitoringHistory:
    return read_monitoring_history(ResultsFolder(Path(version.results_path)))


_DIMENSIONS: tuple[SegmentDimension, ...] = ("city", "type_of_food", "hour", "items", "fallback_level")


def daily_metrics(document: MonitoringDocument, documents: Sequence[MonitoringDocument]) -> None:
    """Draw error, coverage, and number of orders of every day that a document covers."""
    known = [earlier_document for earlier_document in documents if earlier_document.date <= document.date]
    first_predictions = [
        counts.first_prediction for item in known if (counts := item.prediction_counts).first_prediction
    ]
    full_document = msgspec.structs.replace(
        document,
        days=latest_days(known),
        prediction_counts=msgspec.structs.replace(
            document.prediction_counts, first_prediction=min(first_predictions, default=None)
        ),
    )
    unit = unit_of(document)
    errors, coverage, volume = (
        report_rows.error_rows(full_document, unit),
        report_rows.coverage_rows(full_document),
        report_rows.volume_rows(full_document),
    )
    if not volume:
        show_info("No day has an order or a prediction yet.", "The other views show what is missing.")
        return
    backtest_error = report_rows.backtest_error(document, unit)
    if errors:
        worst_day = max(errors, key=lambda row: float(row["mae"]))
        baseline_text = "" if backtest_error is None else " The dashed line is the mean error in the backtest."
        chart_card(
            "Mean error by day",
            f"Bars are the model, ticks the restaurant lookup.{baseline_text} The highest is on {worst_day['day']}: "
            f"{float(worst_day['mae']):.{unit.digits()}f} {unit.name}.",
            lambda width, palette: daily_charts.daily_errors(errors, backtest_error, width, palette, unit),
        )
    low, high = COVERAGE_BAND
    left, right = st.columns(2)
    with left:
        if coverage:
            chart_card(
                "Coverage of p10–p90 by day",
                "Dots are the share of orders inside, lines their confidence intervals. The green band is the expected "
                f"range, {format_percent(low, 0)} to {format_percent(high, 0)}.",
                lambda width, palette: daily_charts.daily_coverage(coverage, width, palette),
            )
    with right:
        chart_card(
            "Orders by day",
            _describe_volume(full_document),
            lambda width, palette: daily_charts.daily_counts(volume, "orders", width, palette),
        )
    _waiting_cost_section(document)


def _waiting_cost_section(document: MonitoringDocument) -> None:
    metrics, days = document.recent_metrics, document.recent_days
    if metrics.n and metrics.waiting_costs:
        st.subheader("Waiting cost of the last seven days")
        caption(f"{format_count(metrics.n, 'order')} from {days.first} to {days.last}.")
        waiting_cost_table(metrics.waiting_costs, key="monitoring-waiting-costs", unit=unit_of(document))


def _describe_volume(document: MonitoringDocument) -> str:
    """Return a sentence about the days in the chart."""
    days, first_prediction = document.days, document.prediction_counts.first_prediction
    orders, usable = sum(day.orders for day in days), sum(day.usable for day in days)
    expected_days = [day for day in days if first_prediction is not None and day.date >= first_prediction]
    unpredicted = sum(day.usable - (day.predictions - day.without_outcome) for day in expected_days)
    text = f"{days[0].date} to {days[-1].date}: {report_rows.volume_caption(first_prediction, orders, orders - usable)}"
    if first_prediction is None:
        return text
    return (
        f"{text} Since then, without a prediction: {unpredicted:,} of "
        f"{format_count(sum(day.usable for day in expected_days), 'usable order')}. Predictions without an outcome: "
        f"{sum(day.without_outcome for day in days):,}."
    )


def ratio_by_day(document: MonitoringDocument) -> None:
    """Draw actual ÷ predicted by day for the selected segment."""
    if not document.ratio_series:
        show_info(
            "There are too few days for a reference ratio.", "It needs about a week of predictions with outcomes."
        )
        return
    fired_groups = {(alert.segment, alert.value) for alert in document.alerts}
    sorted_series = sorted(
        document.ratio_series,
        key=lambda item: ((item.segment, item.value) not in fired_groups, item.segment != "overall"),
    )
    index = st.selectbox(
        "Segment",
        range(len(sorted_series)),
        format_func=lambda item: _series_name(sorted_series[item]),
        key="ratio-series",
    )
    series = sorted_series[index]
    reference_text = NO_VALUE if series.reference_ratio is None else f"{series.reference_ratio:.2f}"
    recent_text = NO_VALUE if series.recent_ratio is None else f"{series.recent_ratio:.2f}"
    chart_card(
        f"Actual ÷ predicted: {_series_name(series)}",
        f"At 1, orders take as long as predicted. The reference ratio is {reference_text}. The latest "
        f"{series.recent_days} days, which differ most, have {recent_text}. A triangle is a day with an alert.",
        lambda width, palette: ratio_chart(series, width, palette),
    )


def segment_metrics(document: MonitoringDocument) -> None:
    """Draw error and coverage of the four weeks by segment."""
    dimension = choose_dimension(_DIMENSIONS, key="monitoring-dimension")
    if not any(segment.segment == dimension for segment in document.segments):
        show_info("No order with a prediction has an outcome yet.")
        return
    unit = unit_of(document)
    segment_table(document.segments, dimension, key=f"monitoring-segments-{dimension}", unit=unit)
    segment_charts(document.segments, dimension, unit)


def _series_name(series: RatioSeries) -> str:
    return segment_name(series.segment, series.value)
