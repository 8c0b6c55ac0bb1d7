"""A chart as an SVG element that can stand in a page: its own ids, tips, and colours that follow the theme."""

from __future__ import annotations

import re
from dataclasses import astuple

import vl_convert

from preptime.evaluation.charts import DARK, LIGHT, Chart, Palette

_MARK_WITH_TOOLTIP = re.compile(
    r'<(path|rect|line)\b((?:[^<>"]|"[^"]*")*?) aria-label="([^"]*)"((?:[^<>"]|"[^"]*")*)/>'
)
_ARIA_ATTRIBUTES = re.compile(r' (?:aria-label|aria-hidden|aria-roledescription|role|pointer-events)="[^"]*"')
_ID = re.compile(r'\bid="([^"]*)"')


def inline_svg(chart: Chart, name: str, label: str) -> str:
    """`chart` as an `<svg>` element. `name` (letters and dashes) is unique in the page; `label` says what it shows.

    The same chart gives the same text: ids count from nothing in each picture.
    """
    svg = vl_convert.vegalite_to_svg(chart.to_dict())
    svg = _MARK_WITH_TOOLTIP.sub(r"<\1\2\4><title>\3</title></\1>", svg)
    svg = _ARIA_ATTRIBUTES.sub("", svg)
    for number, identifier in enumerate(dict.fromkeys(_ID.findall(svg))):
        svg = svg.replace(f'id="{identifier}"', f'id="{name}-{number}"')
        svg = svg.replace(f"url(#{identifier})", f"url(#{name}-{number})")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def dark_mode_css() -> str:
    """CSS that gives each colour of the light palette its dark counterpart; attributes give way to rules."""
    return "\n".join(
        f'svg [fill="{light}"] {{ fill: {dark}; }} svg [stroke="{light}"] {{ stroke: {dark}; }}'
        for light, dark in zip(_colors(LIGHT), _colors(DARK), strict=True)
    )


def _colors(palette: Palette) -> tuple[str, ...]:
    *single, groups = astuple(palette)
    return (*single, *groups)
