"""A morning in a few sentences."""

from __future__ import annotations

from dataclasses import dataclass

from preptime.evaluation.metrics import MAE
from preptime.evaluation.verdict import in_minutes, in_percent
from preptime.monitoring.document import Alert, Answers, Days, Figures, Promise, Trail


def verdict(
    alerts: tuple[Alert, ...], trails: tuple[Trail, ...], recent: Week, promise: Promise | None, answers: Answers
) -> tuple[str, ...]:
    """The first says whether anything fired, the others how the last seven days went."""
    first = (_first(alerts), *_lately(trails, recent.days))
    if not answers.answered and not answers.open:
        return (*first, "Nothing was answered in the days looked at, so nothing can be said of the answers.")
    return (*first, *_figures(recent.figures, recent.days, promise), *_joins(answers))


@dataclass(frozen=True, slots=True)
class Week:
    """The latest seven days."""

    days: Days
    figures: Figures


def _lately(trails: tuple[Trail, ...], days: Days) -> list[str]:
    """What fired on the mornings before this one: a shift need not fire every day to be still there."""
    fired = [
        (trail, [day.date for day in trail.days if day.fired and days.first <= day.date < days.last])
        for trail in trails
    ]
    told = [
        f"{'all orders' if trail.segment == 'overall' else trail.value} ({when[-1]})" for trail, when in fired if when
    ]
    return [f"Seen on the days before: {', '.join(told)}."] if told else []


def _first(alerts: tuple[Alert, ...]) -> str:
    if not alerts:
        return "Nothing fired."
    more = len(alerts) - 1
    others = "" if not more else f" {more} other alert{'s' if more > 1 else ''} fired too."
    return f"{alerts[0].sentence}{others}"


def _figures(recent: Figures, days: Days, promise: Promise | None) -> list[str]:
    if recent.mae is None:
        return [f"No answer from {days.first} to {days.last} has an outcome yet."]
    told = f"From {days.first} to {days.last} an answer was {in_minutes(recent.mae)} minutes off on average"
    if promise is not None and promise.figures.mae is not None:
        told += f" ({in_minutes(promise.figures.mae)} promised by the backtest)"
    told += f", {in_percent(recent.within_5_min, 0)} were within five minutes."
    sentences = [told]
    if recent.lookup_mae is not None and recent.lookup_n == recent.n:
        side = "closer than" if MAE.better(recent.mae, recent.lookup_mae) else "no closer than"
        sentences.append(f"That is {side} the restaurant lookup ({in_minutes(recent.lookup_mae)}).")
    if recent.coverage is not None:
        sentences.append(
            f"p10–p90 held {in_percent(recent.coverage)} of the orders; 80\N{NO-BREAK SPACE}% are promised."
        )
    return sentences


def _joins(answers: Answers) -> list[str]:
    told = []
    if answers.unanswered:
        told.append(f"{answers.unanswered:,} of {answers.orders:,} orders have no answer.")
    if answers.open:
        told.append(f"{answers.open:,} answers have no outcome yet.")
    return told
