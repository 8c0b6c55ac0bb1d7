"""The training report: self-contained, escaped, deterministic, and complete."""

from __future__ import annotations

import ast
import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from preptime.evaluation.charts import DARK, LIGHT
from preptime.evaluation.evaluated_orders import waiting_costs
from preptime.evaluation.html_report import dark_mode_css
from preptime.evaluation.report import render_report
from preptime.evaluation.summary_text import format_waiting_cost, shown_arrivals
from preptime.schema.schema import Target
from tests.evaluation.factories import HOSTILE, HOSTILE_IN_QUOTES, evaluated_orders, report_context

REPOSITORY = Path(__file__).parents[2]
VOID_TAGS = {"meta", "br", "img", "link"}


class ParsedPage(HTMLParser):
    """What a browser sees: tags with their attributes, text, tooltips, and the tags that are still open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.titles: list[str] = []
        self.open_tags: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID_TAGS:
            self.open_tags.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self.open_tags and self.open_tags[-1] == "title":
            self.titles.append(data)


@pytest.fixture(scope="module")
def html() -> str:
    return render_report(report_context(evaluated_orders(3000)))


@pytest.fixture(scope="module")
def page(html: str) -> ParsedPage:
    return ParsedPage(html)


def test_report_is_small_and_self_contained(html: str, page: ParsedPage) -> None:
    assert len(html.encode("utf-8")) < 5_000_000
    assert {"script", "link", "img", "iframe", "object", "image", "use"}.isdisjoint({tag for tag, _ in page.tags})
    names = {name for _, attributes in page.tags for name in attributes}
    assert {"src", "href", "xlink:href", "srcset", "data"}.isdisjoint(names)
    assert "@import" not in html
    assert "@font-face" not in html
    assert not re.findall(r"https?://[^\"\s]*", html)
    assert set(re.findall(r"url\(([^)]{0,1})", html)) <= {"#"}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("London\x0b", r"London\x0b"),
        ("London\x1b", r"London\x1b"),
        ("London\ufffe", r"London\ufffe"),
        ("London\uffff", r"London\uffff"),
        ("London\x85", "London\x85"),
    ],
)
def test_name_with_a_control_character_is_in_the_chart(name: str, shown: str) -> None:
    """vl-convert ends its process if a name isn't valid in XML, so that the chart is drawn in another one."""
    rows = [{"feature": name, "share": 1.0, "tip": name}]
    program = (
        "from preptime.evaluation import charts, html_report\n"
        f"chart = charts.importance({rows!r}, 390, charts.LIGHT)\n"
        f"print(ascii(html_report.inline_svg(chart, 'chart', {name!r})))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=False)
    assert ended.returncode == 0, ended.stderr
    svg = ET.XML(ast.literal_eval(ended.stdout))
    assert svg.attrib["aria-label"] == shown
    assert shown in {element.text for element in svg.iter("text")}


def test_report_escapes_names_everywhere(page: ParsedPage) -> None:
    assert page.open_tags == []
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    text = " ".join(page.text)
    assert HOSTILE in text
    assert HOSTILE_IN_QUOTES in text
    assert any(title.startswith(f"city {HOSTILE} (") for title in page.titles)
    assert any(title.startswith(f"type of food {HOSTILE_IN_QUOTES} (") for title in page.titles)


def test_report_has_all_sections_and_labeled_charts(html: str, page: ParsedPage) -> None:
    sections = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    assert sections == ["models", "predictions", "hours", "segments", "training"]
    charts = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(charts) == 14  # seven charts, each for wide and for narrow pages
    assert all(attributes["role"] == "img" and (attributes["aria-label"] or "").endswith(".") for attributes in charts)
    for axis in (
        "mean error, minutes",
        "predicted (p50), minutes",
        "actual, minutes",
        "nominal",
        "orders within p10–p90",
    ):
        assert html.count(f">{axis}</text>") >= 2
    for fact in ("2015-06-24-0a1b2c", "2015-06-01 to 2015-06-16", "16,590", "sha256:0123456789ab", "label_zero"):
        assert fact in html


def test_report_marks_weak_models(html: str) -> None:
    orders = evaluated_orders(500)
    weak = replace(orders, point_predictions={**orders.point_predictions, "rf": orders.actual + 3_600})
    marked = render_report(report_context(weak))
    assert marked.count("rf <i>not better than the global median</i></th>") == 2  # one for each set of labels
    assert "Don&#39;t use these point models, which are not better than the global median: rf." in marked
    assert "not better than the global median" not in html


def test_report_ids_are_unique_and_references_resolve(html: str, page: ParsedPage) -> None:
    counts = Counter(attributes["id"] for _, attributes in page.tags if "id" in attributes)
    assert [identifier for identifier, count in counts.items() if count > 1] == []
    assert set(re.findall(r"url\(#([^)]*)\)", html)) <= counts.keys()


def test_report_charts_fit_their_page(page: ParsedPage) -> None:
    widths = [float(attributes["width"] or 0) for tag, attributes in page.tags if tag == "svg"]
    assert max(widths[0::2]) <= 580
    assert max(widths[1::2]) <= 360


def test_dark_mode_css_covers_every_chart_color(html: str, page: ParsedPage) -> None:
    assert "prefers-color-scheme: dark" in html
    assert dark_mode_css() in html
    themed = set(re.findall(r'\[fill="([^"]*)"\]', dark_mode_css()))
    assert len(themed) == len(set(LIGHT.series)) + 7  # no two roles share a color, or one would replace the other
    inside = [a for tag, a in page.tags if tag in {"path", "rect", "line", "text", "g", "circle"}]
    drawn = {attributes.get(name) for attributes in inside for name in ("fill", "stroke")}
    assert drawn <= themed | {None, "none", "transparent"}
    assert len(DARK.series) == len(LIGHT.series)


def test_render_report_same_data_gives_same_bytes(html: str) -> None:
    assert render_report(report_context(evaluated_orders(3000))) == html
    program = (
        "import hashlib, sys; from preptime.evaluation.report import render_report;"
        "from tests.evaluation.factories import evaluated_orders, report_context;"
        "text = render_report(report_context(evaluated_orders(3000)));"
        "sys.stdout.write(hashlib.sha256(text.encode('utf-8')).hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout == hashlib.sha256(html.encode("utf-8")).hexdigest()


def test_report_lists_models_and_baselines_per_label_set(page: ParsedPage) -> None:
    cells = [text.strip() for text in page.text]
    for name in ("quantile", "rf", "cat", "restaurant lookup", "global median"):
        assert cells.count(name) == 2  # once for each label set
    assert any("smaller than the restaurant lookup's" in text for text in page.text)


def test_report_shows_waiting_costs_in_the_unit_of_the_target(page: ParsedPage) -> None:
    orders = evaluated_orders(3000)
    costs = waiting_costs(orders)
    best = [min(getattr(cost, name) for name in shown_arrivals(costs)) for cost in costs]
    hours = replace(report_context(orders), target=Target(unit="h"))
    for parsed, seconds, digits in ((page, 60, 0), (ParsedPage(render_report(hours)), 3600, 1)):
        cells = [text.strip() for text in parsed.text]
        start = cells.index("couriers arrive at")
        assert [cell for cell in cells[start:] if cell][1:4] == ["1:1", "2:1", "1:2"]
        for name, title in shown_arrivals(costs).items():
            row = [cell for cell in cells[cells.index(title, start) + 1 :] if cell and cell != "baseline"][:3]
            assert row == [f"{getattr(cost, name) / seconds:,.{digits}f}" for cost in costs]
    titles = {attributes.get("title") for tag, attributes in page.tags if tag == "span"}
    assert {f"{seconds:,.0f} s" for seconds in best} <= titles


def test_best_waiting_cost_can_be_zero() -> None:
    """The lookup knows each time, so only its cost is the best, at each of the three ratios."""
    orders = evaluated_orders(500)
    actual = np.round(orders.actual).astype(np.float64)  # whole seconds are exact in float32
    known = np.repeat(actual[:, None], orders.lookup_quantiles.shape[1], axis=1).astype(np.float32)
    html = render_report(report_context(replace(orders, actual=actual, lookup_quantiles=known)))
    table = html[html.index("couriers arrive at") :]
    best = re.findall(r"<strong>\s*<span[^>]*>([^<]*)", table[: table.index("</table>")])
    assert best == ["0", "0", "0"]


def test_report_shows_a_live_model_with_its_waiting_cost() -> None:
    orders = evaluated_orders(500)
    orders = replace(orders, live_quantiles=0.2 * orders.quantiles + 0.8 * orders.actual[:, None])
    cells = [text.strip() for text in ParsedPage(render_report(report_context(orders))).text]
    assert cells.count("live model") == 2  # once for each label set
    row = [cell for cell in cells[cells.index("live quantile") + 1 :] if cell][:3]
    assert row == [format_waiting_cost(cost.live_quantile) for cost in waiting_costs(orders)]
    # It needs more than an order, so it isn't a reason to use another model.
    assert not any("These have a smaller mean error" in cell for cell in cells)


def test_render_report_without_orders_draws_no_charts() -> None:
    no_orders = evaluated_orders(50).take(np.zeros(50, dtype=bool))
    context = replace(report_context(no_orders), importances={}, label_audit=())
    page = ParsedPage(render_report(context))
    assert page.open_tags == []
    assert not [tag for tag, _ in page.tags if tag == "svg"]
    assert any("No orders with a label were evaluated" in text for text in page.text)
    assert "gate" not in [attributes["id"] for tag, attributes in page.tags if tag == "section"]


def test_render_report_with_one_order_draws_all_charts() -> None:
    page = ParsedPage(render_report(report_context(evaluated_orders(1))))
    assert page.open_tags == []
    assert len([tag for tag, _ in page.tags if tag == "svg"]) == 14


def test_evaluation_without_charts_loads_no_chart_library() -> None:
    program = (
        "import sys, preptime.evaluation.evaluated_orders, preptime.evaluation.segments;"
        "import preptime.evaluation.summary_text;"
        "heavy = {'altair', 'vl_convert', 'polars', 'pandas', 'sklearn'} & set(sys.modules);"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
