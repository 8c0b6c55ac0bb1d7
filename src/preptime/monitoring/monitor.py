"""`monitor`: one morning's look at how it went, a function of the orders, the results, the log and the store."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from preptime.bundle.manifest import Manifest
from preptime.errors import RefusedBundleError
from preptime.evaluation.documents import BacktestDocument
from preptime.features.directory import Directory
from preptime.monitoring import days as counted
from preptime.monitoring.answers import read_answers
from preptime.monitoring.day_rules import Share, judge_share, judge_volume
from preptime.monitoring.document import Alert, Days, Drift, Figures, Monitoring, Promise
from preptime.monitoring.drift import PREDICTION, drift, no_drift
from preptime.monitoring.figure_rules import judge_figures
from preptime.monitoring.figures import Tallied, segments
from preptime.monitoring.joined import Joined, join
from preptime.monitoring.outcomes import day_number, read_outcomes
from preptime.monitoring.reference import References
from preptime.monitoring.rules import (
    DEGRADED,
    FEATURE_DRIFT,
    LABELS,
    OUTCOMES_MISSING,
    PREDICTION_DRIFT,
    RULES,
    UNANSWERED,
    UNKNOWN_CATEGORIES,
    UNSEEN,
    Judged,
    Rule,
    unknown,
)
from preptime.monitoring.sources import Sources
from preptime.monitoring.trails import judge_shifts, trails, watch_shifts
from preptime.monitoring.words import Week, verdict
from preptime.tables.results import Results
from preptime.tables.table import Table

WINDOW_DAYS = 28
"""Days that figures, segments and counts are about, redone every morning since outcomes come late."""
LOOKED_AT_DAYS = 42
"""Days that are read: a morning four weeks into them still has its past to be compared with."""
RECENT_DAYS = 7
ONE_DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Watch:
    """Where everything is that a morning is a function of."""

    orders: Table
    directory: Directory
    results: Results
    sources: Sources
    log: Path | None = None
    """The folder of the API's prediction log; None when there is none."""
    references: References = field(default_factory=References)


def monitor(watch: Watch, date: dt.date) -> Monitoring:
    """What was known on the morning of `date`. Writes nothing.

    Raises `DataError` for orders or results that cannot be read, `RefusedBundleError` for a damaged bundle.
    """
    first = date - LOOKED_AT_DAYS * ONE_DAY
    window = Days(first=date - WINDOW_DAYS * ONE_DAY, last=date - ONE_DAY)
    recent_days = Days(first=date - RECENT_DAYS * ONE_DAY, last=date - ONE_DAY)
    known = read_outcomes(watch.orders, watch.directory, date, first)
    read = read_answers(watch.results, watch.log, watch.directory, first, window.last)
    joined = join(known.outcomes, read, watch.directory, watch.sources)
    trained = _trained(joined, watch.sources, date)
    promise = None if trained is None else promised(trained)

    start = day_number(first)
    day = joined.outcomes.day - start
    tallied = Tallied.of(joined)
    by_day = tallied.by(day, LOOKED_AT_DAYS)
    counts = counted.Counts.of(joined, known, start, LOOKED_AT_DAYS)
    shifts = watch_shifts(joined, start, LOOKED_AT_DAYS)
    drifted = _drift(watch, joined, trained, date)
    judged = _in_order(
        [
            *judge_shifts(shifts),
            *judge_figures(by_day, promise, window.last),
            *judge_drift(drifted),
            *_judge_counts(counts, joined, window.last),
        ]
    )
    alerts = tuple(alert for one in judged for alert in one.alerts)
    seen = trails(shifts)
    in_window = day >= LOOKED_AT_DAYS - WINDOW_DAYS
    recent = tallied.whole(day >= LOOKED_AT_DAYS - RECENT_DAYS)
    answers = counted.answer_counts(joined, read, in_window, day_number(window.first))
    return Monitoring(
        date=date,
        window=window,
        verdict=verdict(alerts, seen, Week(recent_days, recent), promise, answers),
        champion=watch.sources.champion(date),
        promise=promise,
        alerts=alerts,
        rules=tuple(one.state() for one in judged),
        figures=tallied.whole(in_window),
        recent=recent,
        recent_days=recent_days,
        answers=answers,
        days=counted.day_documents(
            joined,
            counts,
            by_day,
            shifts.cuts[0].daily.ratio()[0],
            range(LOOKED_AT_DAYS - WINDOW_DAYS, LOOKED_AT_DAYS),
        ),
        bundles=counted.bundle_documents(joined, tallied, in_window),
        segments=segments(joined, tallied, in_window),
        trails=seen,
        drift=drifted,
        labels=counted.label_audit(known, day_number(window.first), day_number(window.last)),
    )


def promised(trained: Manifest) -> Promise | None:
    """What the backtest of a training said; None when the bundle carries none. Raises `RefusedBundleError`."""
    if not trained.metrics:
        return None
    try:
        said = msgspec.convert(trained.metrics, BacktestDocument)
    except msgspec.ValidationError as error:
        raise RefusedBundleError(
            f"{trained.id}/manifest.json: its metrics are no backtest ({error}).",
            "Train or refresh with this preptime.",
        ) from error
    default = next((one for one in said.scores if one.name == said.default_model and one.labels == "up_to_3h"), None)
    lookup = next((one for one in said.scores if one.kind == "baseline" and one.name == "restaurant_lookup"), None)
    if default is None:
        return None
    return Promise(
        bundle=trained.id,
        days=Days(first=dt.date.fromisoformat(said.first_day), last=dt.date.fromisoformat(said.last_day)),
        figures=Figures(
            n=default.n,
            mae=default.mae,
            bias=default.bias,
            within_5_min=default.within_5_min,
            coverage=said.interval.coverage,
            lookup_mae=None if lookup is None else lookup.mae,
            lookup_n=0 if lookup is None else lookup.n,
            quantiles=said.quantiles,
        ),
    )


def judge_drift(drifted: Drift) -> tuple[Judged, Judged]:
    """`feature_drift` and `prediction_drift`."""
    return _drifted(drifted, FEATURE_DRIFT), _drifted(drifted, PREDICTION_DRIFT)


def _drifted(drifted: Drift, rule: Rule) -> Judged:
    mine = [one for one in drifted.features if (one.name == PREDICTION) == (rule is PREDICTION_DRIFT)]
    tested = [one for one in mine if one.tested and one.psi is not None]
    if not tested or drifted.recent is None:
        return unknown(rule, drifted.why_not or "Too few whole weeks have been answered.")
    alerts = tuple(
        Alert(
            rule=rule.name,
            segment="feature",
            value=one.name,
            found=one.psi or 0.0,
            threshold=rule.threshold,
            since=drifted.recent.first,
            sentence=f"{one.name} differs from its reference: PSI {one.psi:.2f} in the week to {drifted.recent.last}.",
        )
        for one in sorted(tested, key=lambda one: -(one.psi or 0.0))
        if one.drifted
    )
    largest = max(tested, key=lambda one: one.psi or 0.0)
    if alerts:
        return Judged(rule, alerts[0].found, alerts[0].sentence, alerts)
    return Judged(
        rule, largest.psi, f"The largest is {largest.name}: PSI {largest.psi:.3f}, p {largest.p_adjusted:.2g}."
    )


def _trained(joined: Joined, sources: Sources, date: dt.date) -> Manifest | None:
    """The training behind most of the latest answers; without any, behind the champion."""
    bundle = sources.champion(date)
    answered = joined.answered
    if answered.any():
        latest = answered & (joined.outcomes.day == joined.outcomes.day[answered].max())
        bundle = joined.bundles[int(np.bincount(joined.bundle[latest]).argmax())]
    manifest = None if bundle is None else sources.manifest(bundle)
    if manifest is None or manifest.parent is None:
        return manifest
    # A refresh carries its parent's window and metrics: where the parent has been pruned, it speaks for it.
    return sources.manifest(manifest.parent) or manifest


def _drift(watch: Watch, joined: Joined, trained: Manifest | None, date: dt.date) -> Drift:
    if not joined.answered.any():
        return no_drift("Nothing was answered in the days looked at.")
    reference = None if trained is None else watch.references.of(trained, watch.orders, watch.directory)
    return drift(joined, reference, date)


def _judge_counts(counts: counted.Counts, joined: Joined, last: dt.date) -> list[Judged]:
    names = joined.directory.vocabularies.city
    volume = judge_volume(np.vstack([counts.orders, counts.cities]), ("all", *names), day_number(last))
    degraded = counts.answered - counts.basis[0]
    return [
        *volume,
        judge_share(DEGRADED, Share(degraded, counts.answered), last, "answers without an order of their restaurant"),
        judge_share(
            UNKNOWN_CATEGORIES,
            Share(counts.unknown_category, counts.with_outcome),
            last,
            "orders of a city or type of food that the models don't know",
        ),
        judge_share(
            UNSEEN, Share(counts.unseen, counts.orders), last, "orders of restaurants that the restaurants file lacks"
        ),
        judge_share(LABELS, Share(counts.bad_labels, counts.audited), last, "labels that are no preparation times"),
        judge_share(UNANSWERED, Share(counts.unanswered, counts.orders), last, "orders without an answer"),
        judge_share(OUTCOMES_MISSING, Share(counts.open, counts.answered), last, "answers without an outcome"),
    ]


def _in_order(judged: list[Judged]) -> list[Judged]:
    return sorted(judged, key=lambda one: RULES.index(one.rule))
