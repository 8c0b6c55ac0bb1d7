"""The frame of a self-contained page: static SVG, no script, nothing fetched from anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.resources import files
from string import Template

from preptime.evaluation import markup
from preptime.evaluation.svg import dark_mode_css


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
        title=markup.escape(title),
        heading=markup.escape(heading),
        summary=" ".join(markup.escape(sentence) for sentence in summary),
        tiles=tiles,
        facts=markup.definition_list(facts),
        dark_rules=dark_mode_css(),
        sections="\n".join(sections),
        footer=footer,
    )


def section(name: str, title: str, cards: Sequence[str]) -> str:
    """A part of the page, with a word where there is nothing to draw."""
    content = "".join(cards) or '<p class="card caption">There are no orders to draw.</p>'
    return f'<section id="{name}"><h2>{markup.escape(title)}</h2><div class="grid">{content}</div></section>'
