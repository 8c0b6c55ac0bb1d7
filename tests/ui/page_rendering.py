"""Renders a page in Streamlit's test harness, without a browser, and reads what it shows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape

import pytest
from streamlit.testing.v1 import AppTest

_CELL_PATTERN = re.compile('<td data-label="([^"]*)"[^>]*>(.*?)</td>', re.DOTALL)


def render_page(monkeypatch: pytest.MonkeyPatch, page: str = "predict", **settings: str) -> AppTest:
    """Render a page once with these settings.

    It's rendered without the navigation, which the harness supports only in the first run.
    """
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    script = f"""
from preptime.ui.app_pages import {page}
from preptime.ui.components import show_failures
with show_failures():
    {page}.page()
"""
    return AppTest.from_string(script, default_timeout=30).run()


def page_text(at: AppTest) -> str:
    """Return the text of the page's HTML elements, as a user reads it."""
    assert not at.exception, at.exception
    inline = (re.sub(r"</?code>", "", body) for body in html_bodies(at))
    texts = (re.sub(r"<style>.*?</style>|<[^>]+>", " ", body, flags=re.DOTALL) for body in inline)
    return re.sub(r"\s+", " ", unescape(" ".join(texts)))


def html_bodies(at: AppTest) -> list[str]:
    """Return the source of the page's HTML elements."""
    return [str(element.proto.body) for element in at.get("html")]


def table_rows(at: AppTest) -> list[list[dict[str, object]]]:
    """Return the rows of each table on the page: first tables with wrapped text, then scrolling tables."""
    wrapped_tables = [_read_wrapped_table(body) for body in html_bodies(at) if 'class="data-table"' in body]
    return wrapped_tables + [
        [{str(key): value for key, value in row.items()} for row in element.value.to_dict("records")]
        for element in at.dataframe
    ]


def _read_wrapped_table(body: str) -> list[dict[str, object]]:
    return [
        {unescape(title): _cell_value(unescape(text)) for title, text in re.findall(_CELL_PATTERN, row)}
        for row in re.findall("<tr>(<td.*?)</tr>", body, re.DOTALL)
    ]


def _cell_value(text: str) -> object:
    return int(text) if re.fullmatch("[0-9]+", text) else text


def chart_axes(at: AppTest) -> list[tuple[str, str | None]]:
    """Return the field and the title of each axis of each chart."""
    return [axis for chart in at.get("vega_lite_chart") for axis in _iter_axes(json.loads(chart.proto.spec))]


def _iter_axes(node: object) -> Iterator[tuple[str, str | None]]:
    if isinstance(node, list):
        for item in node:
            yield from _iter_axes(item)
    elif isinstance(node, dict):
        for name, item in node.items():
            if name in {"x", "y"} and isinstance(item, dict) and "field" in item:
                axis = item.get("axis") or {}
                yield item["field"], item.get("title", axis.get("title"))
            else:
                yield from _iter_axes(item)


def table_column(at: AppTest, name: str, *, having: str = "") -> list[object]:
    """Return a column of the first table that has it and the column `having`."""
    table = next(rows for rows in table_rows(at) if rows and {name, having or name} <= rows[0].keys())
    return [row[name] for row in table]
