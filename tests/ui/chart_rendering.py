"""A page in Streamlit's own test harness: drawn without a browser, its settings the test's own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape

import pytest
from streamlit.testing.v1 import AppTest


def drawn(monkeypatch: pytest.MonkeyPatch, page: str = "predict", **settings: str) -> AppTest:
    """The page of that name with these settings, drawn once.

    Without the navigation around it, which the harness draws only once.
    """
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    script = f"""
from preptime.ui.pages import {page}
from preptime.ui.components import show_failures
with show_failures():
    {page}.page()
"""
    return AppTest.from_string(script, default_timeout=30).run()


def said(at: AppTest) -> str:
    """Everything in the page's own HTML, as a person reads it."""
    assert not at.exception, at.exception
    texts = (re.sub(r"<style>.*?</style>|<[^>]+>", " ", body, flags=re.DOTALL) for body in bodies(at))
    return re.sub(r"\s+", " ", unescape(" ".join(texts)))


def bodies(at: AppTest) -> list[str]:
    """The page's own HTML, as it is written."""
    return [str(one.proto.body) for one in at.get("html")]


def tables(at: AppTest) -> list[list[dict[str, object]]]:
    """The tables shown, in order, each as its rows."""
    return [
        [{str(key): value for key, value in row.items()} for row in one.value.to_dict("records")]
        for one in at.dataframe
    ]


def axes(at: AppTest) -> list[tuple[str, str | None]]:
    """What is drawn along an axis of any picture, and the axis's title."""
    return [one for chart in at.get("vega_lite_chart") for one in _axes(json.loads(chart.proto.spec))]


def _axes(part: object) -> Iterator[tuple[str, str | None]]:
    if isinstance(part, list):
        for one in part:
            yield from _axes(one)
    elif isinstance(part, dict):
        for name, one in part.items():
            if name in {"x", "y"} and isinstance(one, dict) and "field" in one:
                axis = one.get("axis") or {}
                yield one["field"], one.get("title", axis.get("title"))
            else:
                yield from _axes(one)


def column(at: AppTest, name: str, *, having: str = "") -> list[object]:
    """A column of the first table that has it, and the column `having`."""
    table = next(rows for rows in tables(at) if rows and {name, having or name} <= rows[0].keys())
    return [row[name] for row in table]
