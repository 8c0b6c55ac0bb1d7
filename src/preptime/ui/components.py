"""Components that the pages share: callouts, metric cards, charts, tables, and progress bars.

They show their arguments as text, never as HTML or Markdown. Show uploaded text only through them or in a table.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Literal

import msgspec
import streamlit as st
from streamlit.runtime.scriptrunner import add_script_run_ctx, get_script_run_ctx

from preptime.domain.time_units import MINUTES, TimeUnit
from preptime.errors import PreptimeError
from preptime.evaluation import aggregates, charts
from preptime.evaluation.documents import Segment, SegmentDimension, WaitingCost
from preptime.evaluation.summary_text import (
    cost_ratio_text,
    segment_coverage_caption,
    segment_errors_caption,
    waiting_cost_caption,
    waiting_cost_rows,
)
from preptime.formatting import with_minus_signs
from preptime.progress import ProgressCallback
from preptime.ui.display_names import DIMENSION_TITLES, FALLBACK_LEVEL_TITLES
from preptime.ui.formatting import EMPTY_CELL, error_message
from preptime.ui.theme import palette

if TYPE_CHECKING:
    from streamlit.elements.lib.column_types import ColumnConfig

    from preptime.evaluation.charts import Chart, Palette

CHART_WIDTH_PIXELS = 390
"""The width for which a chart is drawn, and its maximum height. The browser then stretches it to its container."""
MIN_ROWS_TO_FILTER = 12
"""Shorter tables fit on the screen without a filter."""
MAX_WRAPPED_ROWS = 40
"""A longer table scrolls, and its text is cut. A shorter one is shown whole."""
_TABLE_HEIGHT_PIXELS = 420
_PROGRESS_DELAY_SECONDS = 0.2
_LONG_VALUE_CHARACTERS = 12
"""A value with more characters, such as a bundle ID, is shown in a smaller font."""

CalloutKind = Literal["error", "info", "success"]


def show_error(message: str, hint: str = "") -> None:
    """Show an error and what to do about it."""
    _callout("error", message, hint)


def show_info(message: str, hint: str = "") -> None:
    """Show a notice."""
    _callout("info", message, hint)


def show_success(message: str, hint: str = "") -> None:
    """Show that something succeeded."""
    _callout("success", message, hint)


@contextmanager
def show_failures() -> Iterator[None]:
    """Show a `PreptimeError` of the body as an error callout."""
    try:
        yield
    except PreptimeError as error:
        show_error(*error_message(error))


def _callout(kind: CalloutKind, message: str, hint: str) -> None:
    role = "alert" if kind == "error" else "status"
    hint_html = f"<small>{_with_code(hint)}</small>" if hint else ""
    st.html(f'<div class="callout {kind}" role="{role}"><span>{_with_code(message)}</span>{hint_html}</div>')


def _with_code(text: str) -> str:
    """Return a message as HTML, with the commands between backticks as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def caption(text: str) -> None:
    """Show a sentence in muted text."""
    st.html(f'<p class="caption">{escape(text)}</p>')


def field_error(text: str) -> None:
    """Show why the value of the field above is invalid."""
    st.html(f'<p class="field-error" role="alert">{escape(text)}</p>')


def metric_cards(metrics: list[tuple[str, str, str]]) -> None:
    """Show a row of cards. Each metric is a label, a value, and a detail."""
    cards = "".join(_metric_card(*metric) for metric in metrics)
    st.html(f'<dl class="metric-cards">{cards}</dl>')


def _metric_card(label: str, value: str, detail: str) -> str:
    css_class = "long" if len(value) > _LONG_VALUE_CHARACTERS else ""
    value_html = f'<dd class="{css_class}">{escape(value)}</dd>'
    return f"<div><dt>{escape(label)}</dt>{value_html}<small>{escape(detail)}</small></div>"


def prediction_card(label: str, clock_time: str, duration: str, confidence: str) -> None:
    """Show one prediction in large type."""
    st.html(
        f'<div class="prediction"><small>{escape(label)}</small><b>{escape(clock_time)}</b>'
        f"<span>{escape(duration)}</span><p>{escape(confidence)}</p></div>"
    )


def download_links(downloads: list[tuple[str, str]]) -> None:
    """Show download links. Each is a label and a URL."""
    anchors = "".join(
        f'<a class="download" href="{escape(url)}" download>{escape(label)}</a>' for label, url in downloads
    )
    st.html(f'<div class="download-links">{anchors}</div>')


@contextmanager
def progress_bar() -> Iterator[ProgressCallback]:
    """Show the progress of the body, if it takes longer than `_PROGRESS_DELAY_SECONDS`, and clear it at the end."""
    placeholder = st.empty()
    started = last_update = time.monotonic()
    script_context = get_script_run_ctx()

    def report_progress(stage: str, share: float) -> None:
        nonlocal last_update
        now = time.monotonic()
        if now - started > _PROGRESS_DELAY_SECONDS and now - last_update > _PROGRESS_DELAY_SECONDS:
            last_update = now
            add_script_run_ctx(ctx=script_context)  # Polars reports from its own thread
            placeholder.progress(share, f"{stage}: {share:.0%}")

    try:
        yield report_progress
    finally:
        placeholder.empty()


def definition_list(entries: Mapping[str, str]) -> None:
    """Show names with their values."""
    rows = (f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in entries.items())
    st.html(f'<dl class="definition-list">{"".join(rows)}</dl>')


def chart_card(title: str, description: str, draw_chart: Callable[[int, Palette], Chart]) -> None:
    """Show a chart in a bordered card with a title and a description. `draw_chart` takes the width and the colors."""
    with st.container(border=True):
        _chart_title(title, description)
        chart_spec = to_browser_spec(draw_chart(CHART_WIDTH_PIXELS, palette()).to_dict())
        st.vega_lite_chart(chart_spec, theme=None, width="stretch", alt=f"{title}. {description}")


def unframed_chart(title: str, description: str, chart: Chart) -> None:
    """Show a chart without a border, with a title and a description. The chart fills the available width."""
    _chart_title(title, description)
    st.altair_chart(chart, theme=None, width="stretch")


def _chart_title(title: str, description: str) -> None:
    st.html(f'<div class="chart-card"><h4>{escape(title)}</h4><p>{escape(description)}</p></div>')


def to_browser_spec(spec: dict[str, object]) -> dict[str, object]:
    """Return a report's Vega-Lite specification for the browser, with descriptions of marks as tooltips.

    Streamlit changes the padding, so each side needs a value.
    """
    from preptime.ui.prediction_charts import CHART_FONT

    spec = spec | {"config": msgspec.convert(spec.get("config", {}), dict[str, object]) | {"font": CHART_FONT}}
    padding = spec.get("padding")
    if isinstance(padding, int | float):
        spec = spec | {"padding": dict.fromkeys(("top", "right", "bottom", "left"), padding)}
    return {name: _with_tooltips(value) for name, value in spec.items()}


def _with_tooltips(node: object) -> object:
    if isinstance(node, list):
        return [_with_tooltips(item) for item in node]
    if not isinstance(node, dict) or "values" in node:
        return node
    tipped_node = {name: _with_tooltips(item) for name, item in node.items()}
    if "description" in tipped_node and "tooltip" not in tipped_node and isinstance(tipped_node["description"], dict):
        tipped_node["tooltip"] = tipped_node["description"]
    return tipped_node


ColumnFormat = Literal["text", "long", "count", "duration", "percent", "decimal", "money", "number", "date", "code"]
"""`code` is an identifier or a time, which a wide table shows on one line."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: the key in the row, the heading, the format, and a tooltip of the heading."""

    field: str
    title: str
    format: ColumnFormat = "text"
    help: str = ""


def data_table(
    rows: Sequence[Mapping[str, object]],
    columns: Sequence[Column],
    *,
    key: str,
    unit: TimeUnit = MINUTES,
) -> None:
    """Show a table, with a filter if it has many rows. `key` must be unique on the page. Durations are in `unit`.

    Up to `MAX_WRAPPED_ROWS` rows are shown with their whole text, in a narrow window as one card for each row. Longer
    tables scroll and can be sorted.
    """
    if len(rows) >= MIN_ROWS_TO_FILTER:
        query = st.text_input(
            "Filter", key=f"{key}-filter", placeholder="Filter rows by words", label_visibility="collapsed"
        )
        rows = filter_rows(rows, [column.field for column in columns], query)
    if len(rows) <= MAX_WRAPPED_ROWS:
        _wrapped_table(rows, columns, unit)
        return
    cells_by_title = {
        column.title: [_cell_value(row.get(column.field), column.format, unit) for row in rows] for column in columns
    }
    st.dataframe(
        cells_by_title,
        hide_index=True,
        width="stretch",
        height=_TABLE_HEIGHT_PIXELS,
        column_config={column.title: _column_config(column, unit) for column in columns},
        placeholder=EMPTY_CELL,
        key=key,
    )


def _wrapped_table(rows: Sequence[Mapping[str, object]], columns: Sequence[Column], unit: TimeUnit) -> None:
    head = "".join(
        f'<th scope="col"{_css_class(column)}{_tooltip(column)}>{escape(column.title)}</th>' for column in columns
    )
    body = "".join(f"<tr>{''.join(_table_cell(row, column, unit) for column in columns)}</tr>" for row in rows)
    if not rows:
        body = f'<tr><td colspan="{len(columns)}">No row matches the filter.</td></tr>'
    st.html(f'<div class="data-table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>')


def _table_cell(row: Mapping[str, object], column: Column, unit: TimeUnit) -> str:
    text = _cell_text(row.get(column.field), column.format, unit)
    return f'<td data-label="{escape(column.title)}"{_css_class(column)}>{escape(text)}</td>'


def _css_class(column: Column) -> str:
    css_class = "number" if column.format in _NUMBER_FORMATS else column.format if column.format != "text" else ""
    return f' class="{css_class}"' if css_class else ""


def _tooltip(column: Column) -> str:
    return f' title="{escape(column.help)}"' if column.help else ""


def _cell_text(value: object, column_format: ColumnFormat, unit: TimeUnit) -> str:
    if value is None or value == "":
        return "" if column_format in _TEXT_FORMATS else EMPTY_CELL
    number = _cell_value(value, column_format, unit)
    if isinstance(number, int | float) and column_format in _NUMBER_FORMATS:
        text = f"{number:,}" if column_format == "count" else _number_format(column_format, unit) % number
        return with_minus_signs(text)
    return str(value)


def filter_rows(
    rows: Sequence[Mapping[str, object]], fields: Sequence[str], query: str
) -> Sequence[Mapping[str, object]]:
    """Return the rows whose fields together contain every word of `query`, ignoring case."""
    terms = query.casefold().split()
    if not terms:
        return rows
    texts = [" ".join(str(row.get(field, "")) for field in fields).casefold() for row in rows]
    return [row for row, text in zip(rows, texts, strict=True) if all(term in text for term in terms)]


def _cell_value(value: object, column_format: ColumnFormat, unit: TimeUnit) -> object:
    if value is None:
        return "" if column_format in _TEXT_FORMATS else None
    if isinstance(value, int | float):
        if column_format == "duration":
            return value / unit.seconds
        if column_format == "percent":
            return value * 100
    return value


_TEXT_FORMATS: frozenset[ColumnFormat] = frozenset({"text", "long", "code"})
_NUMBER_FORMATS: dict[ColumnFormat, str] = {
    "count": "localized",
    "duration": "",
    "percent": "%.1f%%",
    "decimal": "%.3f",
    "money": "%.2f",
    "number": "%.1f",
}
"""Of a duration, it depends on the unit."""


def _number_format(column_format: ColumnFormat, unit: TimeUnit) -> str:
    if column_format == "duration":
        return duration_format(unit)
    return _NUMBER_FORMATS[column_format]


def duration_format(unit: TimeUnit, sign: str = "") -> str:
    """Return the format of a table's numbers in a unit: `%.1f min`."""
    return f"%{sign}.{unit.digits()}f {unit.short}"


def _column_config(column: Column, unit: TimeUnit) -> ColumnConfig:
    help_text = column.help or None
    if column.format in _NUMBER_FORMATS:
        number_format = _number_format(column.format, unit)
        return st.column_config.NumberColumn(column.title, format=number_format, help=help_text)
    if column.format == "date":
        return st.column_config.DateColumn(column.title, format="YYYY-MM-DD", help=help_text)
    return st.column_config.TextColumn(column.title, help=help_text, width="large" if column.format == "long" else None)


_SEGMENT_COLUMNS = (
    Column("value", "segment"),
    Column("n", "orders", "count"),
    Column("mae", "mean error", "duration"),
    Column("lookup_mae", "lookup's mean error", "duration"),
    Column("bias", "bias", "duration", "Predicted minus actual. Below 0, orders took longer than predicted"),
    Column("coverage", "inside p10–p90", "percent"),
)


def within_column(unit: TimeUnit, help_text: str = "") -> Column:
    """Return the column of the share of predictions with an error of at most five minutes."""
    return Column("within_5_min", f"within {unit.five_minutes_short}", "percent", help_text)


def choose_dimension(dimensions: Sequence[SegmentDimension], *, key: str) -> SegmentDimension:
    """Return the dimension that the user selects. The first one is the default."""
    dimension: SegmentDimension = st.segmented_control(
        "Group by", dimensions, format_func=DIMENSION_TITLES.__getitem__, default=dimensions[0], required=True, key=key
    )
    return dimension


def segment_charts(segments: Sequence[Segment], dimension: SegmentDimension, unit: TimeUnit = MINUTES) -> None:
    """Show charts of error and, if known, coverage of the segments of a dimension, which has at least one."""
    rows = aggregates.segment_rows(_with_level_titles(segments), (dimension,), unit)
    covered = aggregates.with_coverage(rows)
    left, right = st.columns(2)
    with left:
        chart_card(
            f"Mean error by {DIMENSION_TITLES[dimension]}",
            segment_errors_caption(rows),
            lambda width, palette: charts.dimension_errors(rows, width, palette, unit),
        )
    with right:
        if covered:
            chart_card(
                f"Coverage of p10–p90 by {DIMENSION_TITLES[dimension]}",
                segment_coverage_caption(covered),
                lambda width, palette: charts.dimension_coverage(covered, width, palette),
            )


def segment_table(
    segments: Sequence[Segment], dimension: SegmentDimension, *, key: str, unit: TimeUnit = MINUTES
) -> None:
    """Show every segment of a dimension in a table."""
    data_table(
        [msgspec.structs.asdict(segment) for segment in _with_level_titles(segments) if segment.segment == dimension],
        (*_SEGMENT_COLUMNS[:-1], within_column(unit), _SEGMENT_COLUMNS[-1]),
        key=key,
        unit=unit,
    )


def waiting_cost_table(costs: Sequence[WaitingCost], *, key: str, unit: TimeUnit = MINUTES) -> None:
    """Show the waiting cost at each cost ratio, for each way to choose when a courier arrives, with a caption."""
    caption(waiting_cost_caption(costs, unit))
    ratios = [cost_ratio_text(cost) for cost in costs]
    data_table(
        [
            {"arrival": title, **dict(zip(ratios, cells, strict=True))}
            for title, cells in waiting_cost_rows(costs, unit)
        ],
        (
            Column("arrival", "couriers arrive at"),
            *(Column(ratio, f"courier:food {ratio}", "number") for ratio in ratios),
        ),
        key=key,
    )


def _with_level_titles(segments: Sequence[Segment]) -> list[Segment]:
    return [
        msgspec.structs.replace(segment, value=FALLBACK_LEVEL_TITLES.get(segment.value, segment.value))
        if segment.segment == "fallback_level"
        else segment
        for segment in segments
    ]
