"""`monitoring.html`: a morning in one file that people would rather look at than read."""

from __future__ import annotations

from preptime.evaluation import aggregates, charts, day_charts, figures, markup
from preptime.evaluation.documents import SegmentName
from preptime.evaluation.page import page, section
from preptime.evaluation.scores import COVERAGE_BAND
from preptime.evaluation.verdict import NO_VALUE, in_minutes, in_percent
from preptime.monitoring import rows
from preptime.monitoring.document import Figures, Monitoring, RuleState

_FOOTER = (
    "Times are minutes. A ratio is what an order took over what was said, the typical one of a day. The restaurant "
    "lookup is what a table of averages answers. Days are those of acknowledgement on the restaurants' own clocks. "
    "Every rule, with its threshold and how often it is wrong: docs/monitoring.md. Hover over a mark for its figures."
)
_CUTS: tuple[SegmentName, ...] = ("city", "type_of_food", "items", "basis")
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
            section("days", "Day by day", _days(document)),
            section("shifts", "Longer or shorter than said", _shifts(document)),
            section("segments", "Error and coverage by segment, four weeks", _segments(document)),
            section("drift", "What the models are given", _drift(document)),
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


def _days(document: Monitoring) -> list[str]:
    errors, coverage, volume = rows.error_rows(document), rows.coverage_rows(document), rows.volume_rows(document)
    promised = None
    if document.promise is not None and document.promise.figures.mae is not None:
        promised = document.promise.figures.mae / aggregates.SECONDS_PER_MINUTE
    cards = []
    if errors:
        worst = max(errors, key=lambda row: float(row["mae"]))
        line = "" if promised is None else " The dashed line is what the backtest promised."
        cards.append(
            figures.picture(
                "daily-errors",
                "Mean error by day",
                f"Bars are the model, ticks the restaurant lookup.{line} The worst day is {worst['day']}: "
                f"{float(worst['mae']):.1f} minutes.",
                lambda width: day_charts.daily_errors(errors, promised, width, charts.LIGHT),
            )
        )
    if coverage:
        low, high = COVERAGE_BAND
        cards.append(
            figures.picture(
                "daily-coverage",
                "Coverage of p10–p90 by day",
                "Dots are the share of orders inside, lines what chance allows; green is what was promised and its "
                f"band, {in_percent(low, 0)} to {in_percent(high, 0)}.",
                lambda width: day_charts.daily_coverage(coverage, width, charts.LIGHT),
            )
        )
    if volume:
        counts = document.answers
        cards.append(
            figures.picture(
                "volume",
                "Orders by day",
                f"Of {counts.orders:,} orders {counts.unanswered:,} have no answer; {counts.open:,} answers have no "
                "outcome yet.",
                lambda width: day_charts.counted_days(volume, "orders", width, charts.LIGHT),
            )
        )
        cards.append(_bases(document))
    return cards


def _bases(document: Monitoring) -> str:
    bases = rows.basis_rows(document)
    degraded = sum(int(row["orders"]) for row in bases)
    answered = sum(day.answered for day in document.days)
    return figures.picture(
        "basis",
        "Answers without an order of their restaurant",
        f"{degraded:,} of {answered:,} answers ({in_percent(degraded / max(answered, 1))}) stand on something coarser "
        "than their restaurant's own past.",
        lambda width: day_charts.counted_days(bases, "answers", width, charts.LIGHT),
    )


def _shifts(document: Monitoring) -> list[str]:
    cities = rows.ratio_rows(document)
    foods = rows.ratio_rows(document, ("type_of_food",))
    cards = []
    if cities:
        cards.append(
            figures.picture(
                "ratio-cities",
                "Actual ÷ predicted, by city",
                f"The typical ratio of each day; on the dashed line food took as long as said. {_fired_days(cities)}",
                lambda width: day_charts.ratios(cities, width, charts.LIGHT),
            )
        )
    if foods:
        cards.append(
            figures.picture(
                "ratio-foods",
                "Actual ÷ predicted, by type of food",
                f"Likewise, what a city has in common on a day taken out. {_fired_days(foods)}",
                lambda width: day_charts.ratios(foods, width, charts.LIGHT),
            )
        )
    return cards


def _fired_days(drawn: list[aggregates.Row]) -> str:
    fired = len([row for row in drawn if row["fired"]])
    return f"Triangles fired: {fired}." if fired else "No day fired."


def _segments(document: Monitoring) -> list[str]:
    drawn = aggregates.segment_rows(document.segments, _CUTS)
    if not drawn:
        return []
    return [
        figures.picture(
            "segment-errors",
            "Mean error by segment",
            "Bars are the model, ticks the restaurant lookup, with the number of orders; the largest cities and foods.",
            lambda width: charts.segment_errors(drawn, width, charts.LIGHT),
        ),
        figures.picture(
            "segment-coverage",
            "Coverage of p10–p90 by segment",
            "Dots are the share of orders inside, lines what chance allows; green is what was promised and its band.",
            lambda width: charts.segment_coverage(drawn, width, charts.LIGHT),
        ),
    ]


def _drift(document: Monitoring) -> list[str]:
    drawn, drift = rows.stability_rows(document), document.drift
    cards = []
    if drift.why_not:
        cards.append(f'<p class="card says">{markup.text(drift.why_not)}</p>')
    if not drawn:
        return cards
    reference = (
        f" against {drift.reference.first} to {drift.reference.last}, which was trained on" if drift.reference else ""
    )
    recent = f"{drift.recent.first} to {drift.recent.last}" if drift.recent else "The last days"
    cards.append(
        figures.picture(
            "stability",
            "How far features have moved",
            f"{recent}{reference}. Pale: not tested, since it changes by itself. Right of the dashed line is another "
            "population by custom.",
            lambda width: day_charts.stability(drawn, width, charts.LIGHT),
        )
    )
    moved = rows.most_moved(document)
    if moved is not None:
        bins = rows.distribution_rows(moved)
        cards.append(
            figures.picture(
                "moved",
                f"The one that moved most: {moved.name}",
                f"Bars are the last seven days, ticks the reference; PSI {moved.psi:.3f}, unit {moved.unit}.",
                lambda width: day_charts.distribution(bins, width, charts.LIGHT),
            )
        )
    return cards


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
