from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from preptime.evaluation.charts import DARK, LIGHT
from preptime.evaluation.html_report import dark_mode_css
from preptime.evaluation.report import render_report
from tests.evaluation.factories import HOSTILE, HOSTILE_IN_QUOTES, evaluated_orders, report_data

REPOSITORY = Path(__file__).parents[2]
VOID = {"meta", "br", "img", "link"}


class Page(HTMLParser):
    """What a browser would see: tags with their attributes, text by tag, and whether every tag closes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.titles: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self.open and self.open[-1] == "title":
            self.titles.append(data)


@pytest.fixture(scope="module")
def html() -> str:
    return render_report(report_data(evaluated_orders(3000)))


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_is_one_small_file_that_fetches_nothing(html: str, page: Page) -> None:
    assert len(html.encode("utf-8")) < 5_000_000
    assert {"script", "link", "img", "iframe", "object", "image", "use"}.isdisjoint({tag for tag, _ in page.tags})
    names = {name for _, attributes in page.tags for name in attributes}
    assert {"src", "href", "xlink:href", "srcset", "data"}.isdisjoint(names)
    assert "@import" not in html
    assert "@font-face" not in html
    assert set(re.findall(r"https?://[^\"\s]*", html)) == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"url\(([^)]{0,1})", html)) <= {"#"}


def test_names_are_text_wherever_they_stand(page: Page) -> None:
    assert page.open == []
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    everything = " ".join(page.text)
    assert HOSTILE in everything
    assert HOSTILE_IN_QUOTES in everything
    assert any(title.startswith(f"city {HOSTILE} (") for title in page.titles)
    assert any(title.startswith(f"type of food {HOSTILE_IN_QUOTES} (") for title in page.titles)


def test_has_every_section_and_every_chart_says_what_it_shows(html: str, page: Page) -> None:
    sections = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    assert sections == ["models", "predictions", "hours", "segments", "training", "gate"]
    pictures = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(pictures) == 14  # seven charts, each for wide and for narrow pages
    assert all(
        attributes["role"] == "img" and (attributes["aria-label"] or "").endswith(".") for attributes in pictures
    )
    for axis in (
        "mean error, minutes",
        "predicted (p50), minutes",
        "actual, minutes",
        "nominal",
        "orders inside p10–p90",
    ):
        assert html.count(f">{axis}</text>") >= 2
    for fact in ("2015-06-24-0a1b2c", "2015-06-01 to 2015-06-16", "16,590", "sha256:0123456789ab", "label_zero"):
        assert fact in html


def test_ids_are_unique_and_references_hold(html: str, page: Page) -> None:
    counts = Counter(attributes["id"] for _, attributes in page.tags if "id" in attributes)
    assert [identifier for identifier, count in counts.items() if count > 1] == []
    assert set(re.findall(r"url\(#([^)]*)\)", html)) <= counts.keys()


def test_pictures_fit_their_page(page: Page) -> None:
    widths = [float(attributes["width"] or 0) for tag, attributes in page.tags if tag == "svg"]
    assert max(widths[0::2]) <= 580
    assert max(widths[1::2]) <= 360


def test_every_colour_of_a_picture_has_a_dark_counterpart(html: str, page: Page) -> None:
    assert "prefers-color-scheme: dark" in html
    assert dark_mode_css() in html
    themed = set(re.findall(r'\[fill="([^"]*)"\]', dark_mode_css()))
    assert len(themed) == len(set(LIGHT.series)) + 7  # no two roles share a colour, or one would take the other's
    inside = [a for tag, a in page.tags if tag in {"path", "rect", "line", "text", "g", "circle"}]
    drawn = {attributes.get(name) for attributes in inside for name in ("fill", "stroke")}
    assert drawn <= themed | {None, "none", "transparent"}
    assert len(DARK.series) == len(LIGHT.series)


def test_same_data_same_bytes(html: str) -> None:
    assert render_report(report_data(evaluated_orders(3000))) == html
    program = (
        "import hashlib, sys; from preptime.evaluation.report import render_report;"
        "from tests.evaluation.factories import evaluated_orders, report_data;"
        "text = render_report(report_data(evaluated_orders(3000)));"
        "sys.stdout.write(hashlib.sha256(text.encode('utf-8')).hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout == hashlib.sha256(html.encode("utf-8")).hexdigest()


def test_tables_show_each_answer_beside_the_baselines(page: Page) -> None:
    cells = [text.strip() for text in page.text]
    for name in ("quantile", "rf", "cat", "restaurant lookup", "global median"):
        assert cells.count(name) == 2  # once for each set of labels
    assert any("closer" in text for text in page.text)


def test_no_orders_no_figures_but_a_report() -> None:
    nothing = evaluated_orders(50).take(np.zeros(50, dtype=bool))
    data = replace(report_data(nothing), importances={}, label_audit=(), gate=None)
    page = Page(render_report(data))
    assert page.open == []
    assert not [tag for tag, _ in page.tags if tag == "svg"]
    assert any("nothing can be said" in text for text in page.text)
    assert "gate" not in [attributes["id"] for tag, attributes in page.tags if tag == "section"]


def test_one_order_is_drawn() -> None:
    page = Page(render_report(report_data(evaluated_orders(1))))
    assert page.open == []
    assert len([tag for tag, _ in page.tags if tag == "svg"]) == 14


def test_evaluating_without_drawing_loads_no_chart_library() -> None:
    program = (
        "import sys, preptime.evaluation.evaluated_orders, preptime.evaluation.segments, preptime.evaluation.summary_text;"
        "heavy = {'altair', 'vl_convert', 'polars', 'pandas', 'sklearn'} & set(sys.modules);"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
