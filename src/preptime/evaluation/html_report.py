"""The report's pieces of HTML. Everything that came from data passes through `text` on its way here.

A chart as an SVG element that can stand in a page: its own ids, tips, and colours that follow the theme.

The frame of a self-contained page: static SVG, no script, nothing fetched from anywhere.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from importlib.resources import files
from string import Template

import vl_convert

from preptime.evaluation.charts import DARK, LIGHT, Chart, Palette
from preptime.evaluation.documents import Score
from preptime.evaluation.metrics import BIAS, MAE, MEDIAN_AE, R2, RMSE, WITHIN_5_MIN, PointMetric
from preptime.evaluation.summary_text import NO_VALUE, format_minutes, format_percent

_COLUMNS = (
    (MAE, "mean error, min"),
    (WITHIN_5_MIN, "within 5 min"),
    (MEDIAN_AE, "half within, min"),
    (BIAS, "bias, min"),
    (R2, "R²"),
    (RMSE, "RMSE, min"),
)
_BOLD_BEST_METRICS = (MAE, MEDIAN_AE, RMSE, R2, WITHIN_5_MIN)


def escape(value: object) -> str:
    """`value` as text in HTML, quotes included."""
    return html.escape(str(value), quote=True)


def tile(value: str, unit: str, label: str) -> str:
    """A large figure with its label."""
    return f'<div class="tile"><b>{escape(value)}<small> {escape(unit)}</small></b><span>{escape(label)}</span></div>'


def definition_list(entries: Iterable[tuple[str, str]]) -> str:
    """Name and value, pair by pair."""
    return "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in entries)


def chart_figure(title: str, caption: str, wide: str, narrow: str) -> str:
    """A picture drawn twice, for wide and for narrow pages, with one sentence that says what it shows."""
    return (
        f'<figure class="card"><h3>{escape(title)}</h3><p class="caption">{escape(caption)}</p>'
        f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div></figure>'
    )


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML already; the first of each row names it."""
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in other_cells)}</tr>'
        for first, *other_cells in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def bar_cell(share: float, content: str) -> str:
    """A cell with a bar behind its content; `share` of the cell's width."""
    return f'<span class="bar" style="--share:{min(max(share, 0.0), 1.0):.3f}">{content}</span>'


def score_table(rows: Sequence[Score], default_model: str) -> str:
    """Each model beside the baselines; the best figure of a column is bold, the default model is marked."""
    largest = max((row.mae for row in rows if row.mae is not None), default=0.0)
    return table(
        ["model", *(heading for _, heading in _COLUMNS)],
        (
            [_model_cell(row, default_model), *(_score_cell(row, metric, rows, largest) for metric, _ in _COLUMNS)]
            for row in rows
        ),
    )


def _model_cell(row: Score, default_model: str) -> str:
    if row.name == default_model:
        return f'{escape(row.name)} <i class="tag">default</i>'
    return f"{escape(row.name.replace('_', ' '))}{' <i>baseline</i>' if row.kind == 'baseline' else ''}"


def _score_cell(row: Score, metric: PointMetric, rows: Sequence[Score], largest: float) -> str:
    value = _value(row, metric)
    formatted = _format_value(value, metric)
    if (
        metric in _BOLD_BEST_METRICS
        and value is not None
        and not any(metric.is_better(_value(o, metric), value) for o in rows)
    ):
        formatted = f"<strong>{formatted}</strong>"
    return bar_cell(value / largest, formatted) if metric is MAE and value is not None and largest else formatted


def _value(row: Score, metric: PointMetric) -> float | None:
    value: float | None = getattr(row, metric.name)
    return value


def _format_value(value: float | None, metric: PointMetric) -> str:
    if value is None:
        return NO_VALUE
    if metric.unit == "s":
        sign = "+" if metric is BIAS and value > 0 else ""
        return f'<span title="{value:.1f} s">{sign}{format_minutes(value, 2)}</span>'.replace("-", "−")
    return format_percent(value) if metric.unit == "share" else f"{round(value, 3) + 0.0:.3f}".replace("-", "−")


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


def render_html(
    *,
    title: str,
    heading: str,
    summary: Iterable[str],
    tiles: str,
    facts: Iterable[tuple[str, str]],
    sections: Iterable[str],
    footer: str,
) -> str:
    """One HTML document. `tiles`, `sections` and `footer` are HTML already, the rest is text."""
    template = Template(files("preptime.evaluation").joinpath("report.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(title),
        heading=escape(heading),
        summary=" ".join(escape(sentence) for sentence in summary),
        tiles=tiles,
        facts=definition_list(facts),
        dark_rules=dark_mode_css(),
        sections="\n".join(sections),
        footer=footer,
    )


def section(name: str, title: str, cards: Sequence[str]) -> str:
    """A part of the page, with a word where there is nothing to draw."""
    content = "".join(cards) or '<p class="card caption">There are no orders to draw.</p>'
    return f'<section id="{name}"><h2>{escape(title)}</h2><div class="grid">{content}</div></section>'
