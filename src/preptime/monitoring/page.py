"""`monitoring.html`: a morning in one file that people would rather look at than read."""

from __future__ import annotations

from preptime.evaluation import markup
from preptime.evaluation.page import page, section
from preptime.evaluation.verdict import NO_VALUE, in_minutes, in_percent
from preptime.monitoring import pictures
from preptime.monitoring.document import Figures, Monitoring, RuleState

_FOOTER = (
    "Times are minutes. A ratio is what an order took over what was said, the typical one of a day. The restaurant "
    "lookup is what a table of averages answers. Days are those of acknowledgement on the restaurants' own clocks. "
    "Every rule, with its threshold and how often it is wrong: docs/monitoring.md. Hover over a mark for its figures."
)
_STATES = {"fired": ("no", "fired"), "quiet": ("yes", "quiet"), "unknown": ("", "not yet known")}


def render_page(document: Monitoring) -> str:
    """The document as one HTML file."""
    return page(
        title=f"preptime on the morning of {document.date}",
        heading=f"How it went, as of the morning of {document.date}",
        verdict=document.verdict,
        tiles=_tiles(document),
        facts=_facts(document),
        sections=[
            section("alerts", "Alerts and rules", [_alerts(document), _rules(document)]),
            section("days", "Day by day", pictures.days(document)),
            section("shifts", "Longer or shorter than said", pictures.shifts(document)),
            section("segments", "Error and coverage by segment, four weeks", pictures.segments(document)),
            section("drift", "What the models are given", pictures.drift(document)),
            section("data", "Answers, outcomes and labels", _data(document)),
        ],
        footer=markup.text(_FOOTER),
    )


def _tiles(document: Monitoring) -> str:
    recent, promise = document.recent, document.promise
    promised = "" if promise is None else f"; {in_minutes(promise.figures.mae)} promised"
    return "".join(
        (
            markup.tile(in_minutes(recent.mae), "min", f"mean error of the last seven days{promised}"),
            markup.tile(in_minutes(recent.lookup_mae), "min", "mean error of the restaurant lookup"),
            markup.tile(in_percent(recent.within_5_min), "", "of the answers within five minutes"),
            markup.tile(in_percent(recent.coverage), "", "of the orders inside p10–p90; promised 80 %"),
        )
    )


def _facts(document: Monitoring) -> list[tuple[str, str]]:
    counts = document.answers
    return [
        ("date D", str(document.date)),
        ("days looked at", f"{document.window.first} to {document.window.last}"),
        ("champion", document.champion or "none"),
        ("orders", f"{counts.orders:,}"),
        ("answered", f"{counts.answered:,}"),
        ("evaluated", f"{counts.evaluated:,}"),
        ("alerts", str(len(document.alerts))),
    ]


def _alerts(document: Monitoring) -> str:
    says = "What fired this morning, the rule and the value." if document.alerts else "Nothing fired this morning."
    table = markup.table(
        ["rule", "where", "since", "what"],
        (
            [
                f"<code>{markup.text(alert.rule)}</code>",
                markup.text(alert.value if alert.segment != "overall" else "all orders"),
                markup.text(alert.since),
                markup.text(alert.sentence),
            ]
            for alert in document.alerts
        ),
    )
    content = table.replace("<table>", '<table class="lines">') if document.alerts else ""
    return _card("Alerts", says, content, full=True)


def _rules(document: Monitoring) -> str:
    table = markup.table(
        ["rule", "stands", "found", "fires at", "in words"],
        (
            [
                f'<code title="{markup.text(rule.meaning)}">{markup.text(rule.rule)}</code>',
                _state(rule),
                NO_VALUE if rule.found is None else f"{rule.found:.2f}",
                f'<span title="{markup.text(rule.reason)}">{rule.threshold:g} {markup.text(_unit(rule))}</span>',
                markup.text(rule.sentence),
            ]
            for rule in document.rules
        ),
    ).replace("<table>", '<table class="lines">')
    says = "Every rule, whether it fired or not. Hover over a rule for its meaning, over a threshold for its reason."
    return _card("Rules", says, table, full=True)


def _unit(rule: RuleState) -> str:
    return rule.unit.partition(",")[0]


def _state(rule: RuleState) -> str:
    style, word = _STATES[rule.state]
    return f'<span class="{style}">{word}</span>'


def _data(document: Monitoring) -> list[str]:
    counts, labels = document.answers, document.labels
    said = [
        ("answers that count from the API", f"{counts.from_api:,}"),
        ("from the daily batch", f"{counts.from_batch:,}"),
        ("orders answered by both (the API's counts)", f"{counts.in_both:,}"),
        ("repeated answers (the first counts)", f"{counts.repeated:,}"),
        ("answers that no order can be found for", f"{counts.unidentified:,}"),
        ("unreadable lines of the API's log", f"{counts.unreadable_lines:,}"),
    ]
    audit = markup.table(
        ["reason", "orders", "latest day", "meaning"],
        (
            [
                f"<code>{markup.text(one.reason)}</code>",
                f"{one.orders:,}",
                f"{one.latest:,}",
                markup.text(one.meaning),
            ]
            for one in labels.reasons
        ),
    ).replace("<table>", '<table class="lines">')
    bundles = markup.table(
        ["bundle", "days", "orders", "mean error, min", "within 5 min", "p10–p90"],
        (
            [
                f"<code>{markup.text(one.bundle)}</code>",
                markup.text(
                    one.days.first if one.days.first == one.days.last else f"{one.days.first} – {one.days.last}"
                ),
                f"{one.answered:,}",
                *_short(one.figures),
            ]
            for one in document.bundles
        ),
    )
    return [
        _card("Who answered", "Each order counts once.", f"<dl>{markup.definition_list(said)}</dl>"),
        _card("Label audit", f"{labels.evaluable:,} of {labels.rows:,} rows can be evaluated.", audit),
        _card("Bundles that answered", "Each on the orders it answered.", bundles, full=True),
    ]


def _card(title: str, says: str, content: str, *, full: bool = False) -> str:
    """`content` is HTML already."""
    style = "card full" if full else "card"
    return f'<div class="{style}"><h3>{markup.text(title)}</h3><p class="says">{markup.text(says)}</p>{content}</div>'


def _short(one: Figures) -> tuple[str, str, str]:
    return in_minutes(one.mae), in_percent(one.within_5_min), in_percent(one.coverage)
