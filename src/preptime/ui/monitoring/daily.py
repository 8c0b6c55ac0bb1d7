"""The mornings that `monitor` looked at, kept until one more is there or one was written anew.

Day by day: error, coverage and volume; longer or shorter than said; and the four weeks by segment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import streamlit as st

from preptime.evaluation import aggregates, daily_charts
from preptime.evaluation.documents import SegmentDimension
from preptime.evaluation.metrics import COVERAGE_BAND
from preptime.evaluation.summary_text import NO_VALUE, format_percent
from preptime.monitoring import report_rows
from preptime.monitoring.document import (
    MAX_DOCUMENTS,
    Day,
    MonitoringDocument,
    MonitoringHistory,
    RatioSeries,
    latest_days,
    read_monitoring_history,
)
from preptime.sources.results import MONITORING_FILE, PREDICTIONS_FILE, ResultsFolder
from preptime.ui.components import chart_card, choose_dimension, segment_charts, segment_table, show_info
from preptime.ui.formatting import format_count
from preptime.ui.monitoring import alerts as own
from preptime.ui.monitoring.alerts import group_name

_COMMAND = "preptime monitor --date DATE --orders ORDERS --restaurants RESTAURANTS --store STORE --results RESULTS"


def load_documents(results_path: str) -> MonitoringHistory:
    """What the folder of results holds of monitoring."""
    results = ResultsFolder(Path(results_path))
    modified_times = tuple(
        (day.isoformat(), results.path(day, MONITORING_FILE).stat().st_mtime_ns)
        for day in results.days(MONITORING_FILE)[-MAX_DOCUMENTS:]
    )
    return _load_documents(_ResultsVersion(results_path, modified_times))


def show_empty_state(results_path: str) -> None:
    """Says that there is nothing yet, and what fills the page."""
    predicted = ResultsFolder(Path(results_path)).days(PREDICTIONS_FILE)
    if predicted:
        days = format_count(len(predicted), "day")
        show_info(
            f"There are predictions for {days} ({predicted[0]} to {predicted[-1]}), and nobody has looked yet at how "
            "they did.",
            f"Once the orders are ready: {_COMMAND}. The DAG daily_monitoring_run does it every day.",
        )
        return
    show_info(
        "There is nothing to monitor yet: no day has been predicted and looked at.",
        f"`preptime score --date DATE` writes a day's predictions; the morning after, {_COMMAND} fills this page. "
        "The DAGs daily_prediction_run and daily_monitoring_run do both every day.",
    )


@dataclass(frozen=True)
class _ResultsVersion:
    """A folder of results, and when each of its documents was written."""

    results_path: str
    modified_times: tuple[tuple[str, int], ...]


@st.cache_resource(max_entries=2, show_spinner="Reading the monitoring results")
def _load_documents(version: _ResultsVersion) -> MonitoringHistory:
    return read_monitoring_history(ResultsFolder(Path(version.results_path)))


_DIMENSIONS: tuple[SegmentDimension, ...] = ("city", "type_of_food", "hour", "items", "fallback_level")


def daily_metrics(document: MonitoringDocument, documents: Sequence[MonitoringDocument]) -> None:
    """Error, coverage and volume of every day that any morning speaks of."""
    full_document = msgspec.structs.replace(
        document,
        days=latest_days(
            [earlier_document for earlier_document in documents if earlier_document.date <= document.date]
        ),
    )
    errors, coverage, volume = (
        report_rows.error_rows(full_document),
        report_rows.coverage_rows(full_document),
        report_rows.volume_rows(full_document),
    )
    if not volume:
        show_info("No day has an order or an answer yet.", "See the other views for what is missing.")
        return
    baseline_minutes = None
    if document.backtest_baseline is not None and document.backtest_baseline.metrics.mae is not None:
        baseline_minutes = document.backtest_baseline.metrics.mae / aggregates.SECONDS_PER_MINUTE
    if errors:
        worst_day = max(errors, key=lambda row: float(row["mae"]))
        baseline_text = "" if baseline_minutes is None else " The dashed line is what the backtest promised."
        chart_card(
            "Mean error by day",
            f"Bars are the model, ticks the restaurant lookup.{baseline_text} The worst day is {worst_day['day']}: "
            f"{float(worst_day['mae']):.1f} minutes.",
            lambda width, palette: daily_charts.daily_errors(errors, baseline_minutes, width, palette),
        )
    low, high = COVERAGE_BAND
    left, right = st.columns(2)
    with left:
        if coverage:
            chart_card(
                "Coverage of p10–p90 by day",
                "Dots are the share of orders inside, lines what chance allows; green is what was promised and its "
                f"band, {format_percent(low, 0)} to {format_percent(high, 0)}.",
                lambda width, palette: daily_charts.daily_coverage(coverage, width, palette),
            )
    with right:
        chart_card(
            "Orders by day",
            _describe_volume(full_document.days),
            lambda width, palette: daily_charts.daily_counts(volume, "orders", width, palette),
        )


def _describe_volume(days: Sequence[Day]) -> str:
    """The days that are drawn, in words."""
    orders, pending_predictions = sum(day.orders for day in days), sum(day.without_outcome for day in days)
    orders_without_prediction = orders - sum(day.predictions - day.without_outcome for day in days)
    return (
        f"From {days[0].date} to {days[-1].date}, {orders_without_prediction:,} of {orders:,} orders have no answer, and "
        f"{pending_predictions:,} answers no outcome yet."
    )


def ratio_by_day(document: MonitoringDocument) -> None:
    """Actual ÷ predicted by day, of one part of the orders that somebody picks."""
    if not document.ratio_series:
        show_info("Too few days to know what is usual.", "It takes about a week of answers with outcomes.")
        return
    fired_groups = {(alert.segment, alert.value) for alert in document.alerts}
    sorted_series = sorted(
        document.ratio_series,
        key=lambda item: ((item.segment, item.value) not in fired_groups, item.segment != "overall"),
    )
    index = st.selectbox(
        "Part of the orders",
        range(len(sorted_series)),
        format_func=lambda item: _series_name(sorted_series[item]),
        key="ratio-series",
    )
    series = sorted_series[index]
    reference_text = NO_VALUE if series.reference_ratio is None else f"{series.reference_ratio:.2f}"
    recent_text = NO_VALUE if series.recent_ratio is None else f"{series.recent_ratio:.2f}"
    chart_card(
        f"Actual ÷ predicted: {_series_name(series)}",
        f"1 is food that is ready when it was said. Usual is {reference_text}, over the {series.recent_days} latest days that "
        f"differ most {recent_text}; a triangle is a day whose morning after fired.",
        lambda width, palette: own.ratio_chart(series, width, palette),
    )


def segment_metrics(document: MonitoringDocument) -> None:
    """Error and coverage of the four weeks by segment."""
    dimension = choose_dimension(_DIMENSIONS, key="monitoring-dimension")
    if not any(segment.segment == dimension for segment in document.segments):
        show_info("No answered order has an outcome yet.")
        return
    segment_charts(document.segments, dimension)
    segment_table(document.segments, dimension, key=f"monitoring-segments-{dimension}")


def _series_name(series: RatioSeries) -> str:
    return group_name(series.segment, series.value)
