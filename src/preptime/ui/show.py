"""Figures, pictures and tables as every page shows them. What they are given is shown as text, whatever it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Literal

import msgspec
import streamlit as st

from preptime.ui.theme import palette
from preptime.ui.words import NOTHING

if TYPE_CHECKING:
    from streamlit.elements.lib.column_types import ColumnConfig

    from preptime.evaluation.charts import Chart, Palette

DESIGN_PIXELS = 390
"""What a picture is drawn for; the page then gives it the width there is. Also its height, at most."""

FILTERED_FROM = 12
"""Shorter tables are read at a glance and need no filter."""

Format = Literal["text", "long", "count", "minutes", "percent", "points", "r", "pounds", "number", "date"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: the row's field, its heading, how it is shown, and what it means."""

    field: str
    title: str
    format: Format = "text"
    help: str = ""


def facts(entries: Mapping[str, str]) -> None:
    """Names and values, pair by pair."""
    st.html(
        '<dl class="facts">'
        + "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in entries.items())
        + "</dl>"
    )


def says(sentence: str) -> None:
    """A sentence below a heading: what the thing shows."""
    st.html(f'<p class="says">{escape(sentence)}</p>')


def picture(title: str, sentence: str, draw: Callable[[int, Palette], Chart]) -> None:
    """A chart in a card, with its title and the sentence that says what it shows."""
    with st.container(border=True):
        st.html(f'<div class="picture"><h4>{escape(title)}</h4><p>{escape(sentence)}</p></div>')
        chart = drawable(draw(DESIGN_PIXELS, palette()).to_dict())
        st.vega_lite_chart(chart, theme=None, width="stretch", alt=f"{title}. {sentence}")


def drawable(spec: dict[str, object]) -> dict[str, object]:
    """A chart as the browser is to draw it: what a picture in a report says of a mark is a tip here.

    Streamlit writes into the padding, so that has to be told side by side.
    """
    from preptime.ui.pictures import FONT

    spec = spec | {"config": msgspec.convert(spec.get("config", {}), dict[str, object]) | {"font": FONT}}
    padding = spec.get("padding")
    if isinstance(padding, int | float):
        spec = spec | {"padding": dict.fromkeys(("top", "right", "bottom", "left"), padding)}
    return {name: _tipped(part) for name, part in spec.items()}


def _tipped(part: object) -> object:
    if isinstance(part, list):
        return [_tipped(one) for one in part]
    if not isinstance(part, dict) or "values" in part:
        return part
    told = {name: _tipped(one) for name, one in part.items()}
    if "description" in told and "tooltip" not in told and isinstance(told["description"], dict):
        told["tooltip"] = told["description"]
    return told


def table(rows: Sequence[Mapping[str, object]], columns: Sequence[Column], *, key: str, height: int = 420) -> None:
    """Rows that sort by a click on a heading, and that words filter when there are many. `key`: unique on the page."""
    if len(rows) >= FILTERED_FROM:
        wanted = st.text_input(
            "Filter", key=f"{key}-filter", placeholder="Filter the rows by a word", label_visibility="collapsed"
        )
        rows = matching(rows, [one.field for one in columns], wanted)
    shown = {one.title: [_cell(row.get(one.field), one.format) for row in rows] for one in columns}
    st.dataframe(
        shown,
        hide_index=True,
        width="stretch",
        height="content" if len(rows) <= FILTERED_FROM else height,
        column_config={one.title: _config(one) for one in columns},
        placeholder=NOTHING,
        key=key,
    )


def matching(
    rows: Sequence[Mapping[str, object]], fields: Sequence[str], wanted: str
) -> Sequence[Mapping[str, object]]:
    """The rows that have every word of `wanted` in one of these fields, whatever their case."""
    words = wanted.casefold().split()
    if not words:
        return rows
    texts = [" ".join(str(row.get(field, "")) for field in fields).casefold() for row in rows]
    return [row for row, text in zip(rows, texts, strict=True) if all(word in text for word in words)]


def _cell(value: object, form: Format) -> object:
    if value is None:
        return "" if form in {"text", "long"} else None
    if isinstance(value, int | float):
        if form == "minutes":
            return value / 60
        if form == "percent":
            return value * 100
    return value


_NUMBERS: dict[Format, str] = {
    "count": "localized",
    "minutes": "%.1f min",
    "percent": "%.1f %%",
    "points": "%+.1f",
    "r": "%.3f",
    "pounds": "£%.2f",
    "number": "%.1f",
}


def _config(column: Column) -> ColumnConfig:
    told = column.help or None
    if column.format in _NUMBERS:
        return st.column_config.NumberColumn(column.title, format=_NUMBERS[column.format], help=told)
    if column.format == "date":
        return st.column_config.DateColumn(column.title, format="YYYY-MM-DD", help=told)
    return st.column_config.TextColumn(column.title, help=told, width="large" if column.format == "long" else None)
