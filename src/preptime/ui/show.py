"""Figures, pictures and tables as every page shows them. What they are given is shown as text, whatever it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Literal

import msgspec
import streamlit as st

from preptime.ui.theme import palette
from preptime.ui.words import EMPTY_CELL

if TYPE_CHECKING:
    from streamlit.elements.lib.column_types import ColumnConfig

    from preptime.evaluation.charts import Chart, Palette

CHART_WIDTH_PIXELS = 390
"""What a picture is drawn for; the page then gives it the width there is. Also its height, at most."""

MIN_ROWS_TO_FILTER = 12
"""Shorter tables are read at a glance and need no filter."""

ColumnFormat = Literal["text", "long", "count", "minutes", "percent", "points", "r", "pounds", "number", "date"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: the row's field, its heading, how it is shown, and what it means."""

    field: str
    title: str
    format: ColumnFormat = "text"
    help: str = ""


def definition_list(entries: Mapping[str, str]) -> None:
    """Names and values, pair by pair."""
    st.html(
        '<dl class="definition-list">'
        + "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in entries.items())
        + "</dl>"
    )


def says(sentence: str) -> None:
    """A sentence below a heading: what the thing shows."""
    st.html(f'<p class="says">{escape(sentence)}</p>')


def chart_card(title: str, description: str, draw_chart: Callable[[int, Palette], Chart]) -> None:
    """A chart in a card, with its title and the sentence that says what it shows."""
    with st.container(border=True):
        st.html(f'<div class="chart-card"><h4>{escape(title)}</h4><p>{escape(description)}</p></div>')
        chart_spec = to_browser_spec(draw_chart(CHART_WIDTH_PIXELS, palette()).to_dict())
        st.vega_lite_chart(chart_spec, theme=None, width="stretch", alt=f"{title}. {description}")


def to_browser_spec(spec: dict[str, object]) -> dict[str, object]:
    """A chart as the browser is to draw it: what a picture in a report says of a mark is a tip here.

    Streamlit writes into the padding, so that has to be told side by side.
    """
    from preptime.ui.pictures import CHART_FONT

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


def data_table(rows: Sequence[Mapping[str, object]], columns: Sequence[Column], *, key: str, height: int = 420) -> None:
    """Rows that sort by a click on a heading, and that words filter when there are many. `key`: unique on the page."""
    if len(rows) >= MIN_ROWS_TO_FILTER:
        query = st.text_input(
            "Filter", key=f"{key}-filter", placeholder="Filter the rows by a word", label_visibility="collapsed"
        )
        rows = filter_rows(rows, [column.field for column in columns], query)
    cells_by_title = {
        column.title: [_cell_value(row.get(column.field), column.format) for row in rows] for column in columns
    }
    st.dataframe(
        cells_by_title,
        hide_index=True,
        width="stretch",
        height="content" if len(rows) <= MIN_ROWS_TO_FILTER else height,
        column_config={column.title: _column_config(column) for column in columns},
        placeholder=EMPTY_CELL,
        key=key,
    )


def filter_rows(
    rows: Sequence[Mapping[str, object]], fields: Sequence[str], query: str
) -> Sequence[Mapping[str, object]]:
    """The rows that have every word of `wanted` in one of these fields, whatever their case."""
    terms = query.casefold().split()
    if not terms:
        return rows
    texts = [" ".join(str(row.get(field, "")) for field in fields).casefold() for row in rows]
    return [row for row, text in zip(rows, texts, strict=True) if all(term in text for term in terms)]


def _cell_value(value: object, column_format: ColumnFormat) -> object:
    if value is None:
        return "" if column_format in {"text", "long"} else None
    if isinstance(value, int | float):
        if column_format == "minutes":
            return value / 60
        if column_format == "percent":
            return value * 100
    return value


_NUMBER_FORMATS: dict[ColumnFormat, str] = {
    "count": "localized",
    "minutes": "%.1f min",
    "percent": "%.1f %%",
    "points": "%+.1f",
    "r": "%.3f",
    "pounds": "£%.2f",
    "number": "%.1f",
}


def _column_config(column: Column) -> ColumnConfig:
    help_text = column.help or None
    if column.format in _NUMBER_FORMATS:
        return st.column_config.NumberColumn(column.title, format=_NUMBER_FORMATS[column.format], help=help_text)
    if column.format == "date":
        return st.column_config.DateColumn(column.title, format="YYYY-MM-DD", help=help_text)
    return st.column_config.TextColumn(column.title, help=help_text, width="large" if column.format == "long" else None)
