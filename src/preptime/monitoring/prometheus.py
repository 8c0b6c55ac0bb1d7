"""`monitoring.prom`: the morning as a Prometheus text file, for a node exporter's textfile collector or a push gateway.

Gauges only, without timestamps: a file of yesterday is known by `preptime_monitor_date_seconds`. Names and labels are a
promise: docs/monitoring.md lists them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from preptime.monitoring.document import Figures, Monitoring

PREFIX = "preptime_monitor_"


@dataclass(frozen=True, slots=True)
class Gauge:
    """One metric: its name without the prefix, what it means, and its samples (labels and value)."""

    name: str
    meaning: str
    samples: tuple[tuple[dict[str, str], float], ...]


def render(document: Monitoring) -> bytes:
    """The document's gauges in Prometheus' text format; a figure without a value is left out."""
    return b"".join(_lines(gauge).encode() for gauge in gauges(document) if gauge.samples)


def gauges(document: Monitoring) -> Iterator[Gauge]:
    """Every metric, in the order of the file."""
    midnight = dt.datetime.combine(document.date, dt.time(), dt.UTC).timestamp()
    yield _one("date_seconds", "The date D of this file, as seconds since 1970 (UTC midnight).", midnight)
    counts = document.answers
    states = ("answered", "unanswered", "open", "evaluated")
    yield Gauge(
        "orders",
        "Orders of the window, by what became of them.",
        tuple(({"state": state}, float(getattr(counts, state))) for state in states),
    )
    yield from _figures(document)
    if document.promise is not None:
        yield _maybe(
            "promised_mae_seconds", "Mean absolute error that the backtest promised.", document.promise.figures.mae
        )
    yield from _latest_day(document)
    yield Gauge(
        "ratio",
        "Typical actual ÷ predicted of the latest stretch of days.",
        tuple(
            ({"segment": one.segment, "value": one.value}, one.recent_ratio)
            for one in document.trails
            if one.recent_ratio is not None
        ),
    )
    yield Gauge(
        "feature_psi",
        "Population stability index of a feature, and of the prediction, against its reference.",
        tuple(({"feature": one.name}, one.psi) for one in document.drift.features if one.psi is not None),
    )
    yield Gauge(
        "rule_fired",
        "1 where a rule fired, 0 where it was looked at and did not.",
        tuple(({"rule": one.rule}, float(one.state == "fired")) for one in document.rules if one.state != "unknown"),
    )
    yield Gauge(
        "alert",
        "1 for every alert of this morning.",
        tuple(({"rule": one.rule, "segment": one.segment, "value": one.value}, 1.0) for one in document.alerts),
    )
    yield _one("alerts", "How many alerts fired this morning.", float(len(document.alerts)))


def _figures(document: Monitoring) -> Iterator[Gauge]:
    spans = (("7d", document.recent), ("28d", document.figures))

    def gauge(name: str, meaning: str, field: str) -> Gauge:
        return Gauge(name, meaning, tuple(_told(({"days": days}, getattr(one, field)) for days, one in spans)))

    yield gauge("mae_seconds", "Mean absolute error of the default answer.", "mae")
    yield gauge("lookup_mae_seconds", "Mean absolute error of the restaurant lookup.", "lookup_mae")
    yield gauge("bias_seconds", "Mean of predicted minus actual.", "bias")
    yield gauge("within_5_min_ratio", "Share of answers within five minutes.", "within_5_min")
    yield gauge("coverage_ratio", "Share of outcomes inside p10 to p90; 0.8 is promised.", "coverage")
    yield Gauge("pinball_seconds", "Mean pinball loss of a quantile.", tuple(_told(_pinballs(spans))))


def _pinballs(spans: tuple[tuple[str, Figures], ...]) -> Iterator[tuple[dict[str, str], float | None]]:
    for days, figures in spans:
        for one in figures.quantiles:
            yield {"days": days, "quantile": f"{one.p:g}"}, one.pinball


def _latest_day(document: Monitoring) -> Iterator[Gauge]:
    latest = next((one for one in document.days if one.date == document.window.last), None)
    if latest is None:
        return
    yield _one("day_orders", "Orders of the day before D that were ready by its midnight.", float(latest.orders))
    yield Gauge(
        "day_answers",
        "Answers of the day before D, by the level of history behind them.",
        tuple(({"basis": name}, float(count)) for name, count in latest.basis.items()),
    )
    yield _one(
        "day_unseen_restaurants",
        "Orders of the day before D whose restaurant the restaurants file lacks.",
        float(latest.unseen_restaurants),
    )


def _one(name: str, meaning: str, value: float) -> Gauge:
    return Gauge(name, meaning, (({}, value),))


def _maybe(name: str, meaning: str, value: float | None) -> Gauge:
    return Gauge(name, meaning, tuple(_told([({}, value)])))


def _told(
    samples: Iterable[tuple[dict[str, str], float | None]],
) -> Iterator[tuple[dict[str, str], float]]:
    return ((labels, value) for labels, value in samples if value is not None)


def _lines(gauge: Gauge) -> str:
    name = PREFIX + gauge.name
    samples = "".join(f"{name}{_labels(labels)} {value!r}\n" for labels, value in gauge.samples)
    return f"# HELP {name} {gauge.meaning}\n# TYPE {name} gauge\n{samples}"


def _labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
