"""HTML reports: Jinja2 templates with autoescape, and Altair charts as inline SVG.

A report is one self-contained file: static SVG, no script, and nothing that a browser has to fetch. The same data gives
the same bytes on one machine. On another machine, its fonts can move a label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from functools import cache
from typing import Any
from xml.etree import ElementTree as ET

import vl_convert
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from preptime.evaluation.charts import DARK, LIGHT, Chart, Palette
from preptime.evaluation.summary_text import format_percent, format_time
from preptime.formatting import escape_forbidden_in_xml

WIDE_PIXELS = 548
"""Half of a page of 1,280 pixels, without its padding."""

NARROW_PIXELS = 344
"""A page of 400 pixels, without its padding."""

_MARKS_WITH_TOOLTIP = frozenset({"path", "rect", "line"})
_ARIA_ATTRIBUTES = ("aria-label", "aria-hidden", "aria-roledescription", "role", "pointer-events")


@dataclass(frozen=True, slots=True)
class Tile:
    """A large number with its unit and its label."""

    value: str
    unit: str
    label: str


@dataclass(frozen=True, slots=True)
class ChartCard:
    """A chart as SVG for wide and for narrow pages, with a caption that explains it."""

    title: str
    caption: str
    wide_svg: str
    narrow_svg: str


def chart_card(name: str, title: str, caption: str, chart: Callable[[int], Chart]) -> ChartCard:
    """Return a card with `chart` drawn at both widths. `name` is unique in the page."""
    label = f"{title}. {caption}"
    wide_svg = inline_svg(chart(WIDE_PIXELS), f"{name}-wide", label)
    narrow_svg = inline_svg(chart(NARROW_PIXELS), f"{name}-narrow", label)
    return ChartCard(title, caption, wide_svg, narrow_svg)


def render_page(
    template: str,
    package: str,
    *,
    title: str,
    heading: str,
    summary: Sequence[str],
    tiles: Sequence[Tile],
    facts: Sequence[tuple[str, str]],
    footer: str,
    subject: str = "",
    **sections: object,
) -> str:
    """Return `template` of `package` as one HTML document.

    `subject` is what the models predict, such as `preparation time`. `sections` are the variables of the template
    itself.
    """
    return (
        _environment(package)
        .get_template(template)
        .render(
            title=title,
            heading=heading,
            summary=summary,
            tiles=tiles,
            facts=facts,
            footer=footer,
            subject=subject,
            dark_mode_css=dark_mode_css(),
            **sections,
        )
    )


@cache
def _environment(package: str) -> Environment:
    environment = Environment(
        # Templates of another package extend `page.html` of this one.
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("preptime.evaluation")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"time": format_time, "percent": format_percent, "thousands": _format_thousands}
    return environment


def _format_thousands(count: int) -> str:
    return f"{count:,}"


def inline_svg(chart: Chart, name: str, label: str) -> str:
    """Return `chart` as an `<svg>` element with its own ids, tooltips, and a label for screen readers.

    `name` consists of letters and dashes and is unique in the page. Ids are numbered from 0 in each chart, so the same
    chart gives the same text.
    """
    # vl-convert ends the process if the SVG isn't valid XML. It writes no document type and no entities.
    root = ET.XML(vl_convert.vegalite_to_svg(_valid_in_xml(chart.to_dict())))
    elements = list(root.iter())
    identifiers = dict.fromkeys(element.attrib["id"] for element in elements if "id" in element.attrib)
    new_ids = {identifier: f"{name}-{number}" for number, identifier in enumerate(identifiers)}
    references = {f"url(#{old})": f"url(#{new})" for old, new in new_ids.items()}
    for element in elements:
        # An `<svg>` element in HTML needs no namespace.
        element.tag = element.tag.rpartition("}")[2]
        tooltip = element.attrib.get("aria-label")
        for attribute in _ARIA_ATTRIBUTES:
            element.attrib.pop(attribute, None)
        if tooltip is not None and element.tag in _MARKS_WITH_TOOLTIP:
            ET.SubElement(element, "title").text = tooltip
        for attribute, value in element.attrib.items():
            element.attrib[attribute] = references.get(value, value)
        if "id" in element.attrib:
            element.attrib["id"] = new_ids[element.attrib["id"]]
    root.attrib |= {"role": "img", "aria-label": escape_forbidden_in_xml(label)}
    return ET.tostring(root, encoding="unicode")


def _valid_in_xml(specification: Any) -> Any:
    """Return a chart's specification whose texts can be in XML. They come from data, such as the name of a city."""
    if isinstance(specification, str):
        return escape_forbidden_in_xml(specification)
    if isinstance(specification, dict):
        return {key: _valid_in_xml(value) for key, value in specification.items()}
    return [_valid_in_xml(item) for item in specification] if isinstance(specification, list) else specification


def dark_mode_css() -> str:
    """Return CSS rules that replace each color of the light palette with its dark counterpart."""
    return "\n".join(
        f'svg [fill="{light}"] {{ fill: {dark}; }} svg [stroke="{light}"] {{ stroke: {dark}; }}'
        for light, dark in zip(_colors(LIGHT), _colors(DARK), strict=True)
    )


def _colors(palette: Palette) -> tuple[str, ...]:
    *single, series = astuple(palette)
    return (*single, *series)
