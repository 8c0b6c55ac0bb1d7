"""`monitor`: one morning's look at how it went, a function of the orders, the results, the log and the store."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from preptime.features.directory import Directory
from preptime.monitoring import days as counted
from preptime.monitoring.answers import Answers, read_answers
from preptime.monitoring.day_rules import Share, judge_share, judge_volume
from preptime.monitoring.document import Days, Drift, Monitoring, Promise
from preptime.monitoring.drift import drift, no_drift
from preptime.monitoring.drift_rules import judge_drift
from preptime.monitoring.figure_rules import judge_figures
from preptime.monitoring.figures import Grouped, Tallied, segments
from preptime.monitoring.joined import Joined, join
from preptime.monitoring.outcomes import Known, day_number, read_outcomes
from preptime.monitoring.promise import promised, trained_behind
from preptime.monitoring.reference import References
from preptime.monitoring.rules import (
    DEGRADED,
    LABELS,
    OUTCOMES_MISSING,
    RULES,
    UNANSWERED,
    UNKNOWN_CATEGORIES,
    UNSEEN,
    Judged,
)
from preptime.monitoring.sources import Sources
from preptime.monitoring.trails import Shifts, judge_shifts, trails, watch_shifts
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


@dataclass(frozen=True)
class _Morning:
    """Everything that was looked at."""

    date: dt.date
    champion: str | None
    known: Known
    read: Answers
    joined: Joined
    promise: Promise | None
    tallied: Tallied
    by_day: Grouped
    counts: counted.Counts
    shifts: Shifts
    drift: Drift

    @property
    def window(self) -> Days:
        """The days that figures are about."""
        return _days_before(self.date, WINDOW_DAYS)

    def within(self, days: int) -> NDArray[np.bool_]:
        """[N] which outcomes are of the last `days` days."""
        within: NDArray[np.bool_] = self.joined.outcomes.day >= day_number(self.date) - days
        return within


def monitor(watch: Watch, date: dt.date) -> Monitoring:
    """What was known on the morning of `date`. Writes nothing.

    Raises `DataError` for orders or results that cannot be read, `RefusedBundleError` for a damaged bundle.
    """
    morning = _look(watch, date)
    return _document(morning, _judge(morning))


def _days_before(date: dt.date, days: int) -> Days:
    return Days(first=date - days * ONE_DAY, last=date - ONE_DAY)


def _look(watch: Watch, date: dt.date) -> _Morning:
    looked_at, window = _days_before(date, LOOKED_AT_DAYS), _days_before(date, WINDOW_DAYS)
    known = read_outcomes(watch.orders, watch.directory, date, looked_at.first)
    read = read_answers(watch.results, watch.log, watch.directory, looked_at, counted_from=window.first)
    joined = join(known.outcomes, read, watch.directory, watch.sources)
    trained = trained_behind(joined, watch.sources, date)
    if joined.answered.any():
        reference = None if trained is None else watch.references.of(trained, watch.orders, watch.directory)
        drifted = drift(joined, reference, date)
    else:
        drifted = no_drift("Nothing was answered in the days looked at.")
    start = day_number(looked_at.first)
    tallied = Tallied.of(joined)
    return _Morning(
        date=date,
        champion=watch.sources.champion(date),
        known=known,
        read=read,
        joined=joined,
        promise=None if trained is None else promised(trained),
        tallied=tallied,
        by_day=tallied.by(joined.outcomes.day - start, LOOKED_AT_DAYS),
        counts=counted.Counts.of(joined, known, start, LOOKED_AT_DAYS),
        shifts=watch_shifts(joined, start, LOOKED_AT_DAYS),
        drift=drifted,
    )


def _judge(morning: _Morning) -> list[Judged]:
    """Every rule, in the order of `RULES`."""
    last = morning.window.last
    judged = [
        *judge_shifts(morning.shifts),
        *judge_figures(morning.by_day, morning.promise, last),
        *judge_drift(morning.drift),
        *_judge_counts(morning.counts, morning.joined, last),
    ]
    return sorted(judged, key=lambda one: RULES.index(one.rule))


def _document(morning: _Morning, judged: list[Judged]) -> Monitoring:
    alerts = tuple(alert for one in judged for alert in one.alerts)
    window, recent_days = morning.window, _days_before(morning.date, RECENT_DAYS)
    joined, tallied, counts = morning.joined, morning.tallied, morning.counts
    in_window, recent = morning.within(WINDOW_DAYS), tallied.whole(morning.within(RECENT_DAYS))
    seen, ratio = trails(morning.shifts), morning.shifts.cuts[0].daily.ratio()[0]
    answers = counted.answer_counts(joined, morning.read, in_window, day_number(window.first))
    shown = range(LOOKED_AT_DAYS - WINDOW_DAYS, LOOKED_AT_DAYS)
    return Monitoring(
        date=morning.date,
        window=window,
        verdict=verdict(alerts, seen, Week(recent_days, recent), morning.promise, answers),
        champion=morning.champion,
        promise=morning.promise,
        alerts=alerts,
        rules=tuple(one.state() for one in judged),
        figures=tallied.whole(in_window),
        recent=recent,
        recent_days=recent_days,
        answers=answers,
        days=counted.day_documents(joined, counts, morning.by_day, ratio, shown),
        bundles=counted.bundle_documents(joined, tallied, in_window),
        segments=segments(joined, tallied, in_window),
        trails=seen,
        drift=morning.drift,
        labels=counted.label_audit(morning.known, day_number(window.first), day_number(window.last)),
    )


def _judge_counts(counts: counted.Counts, joined: Joined, last: dt.date) -> list[Judged]:
    names = joined.directory.vocabularies.city
    volume = judge_volume(np.vstack([counts.orders, counts.cities]), ("all", *names), day_number(last))
    degraded = counts.answered - counts.basis[0]
    # Before the first answer nobody was asked.
    since = slice(int(np.argmax(counts.answered > 0)), None)
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
        judge_share(
            UNANSWERED, Share(counts.unanswered[since], counts.orders[since]), last, "orders without an answer"
        ),
        judge_share(OUTCOMES_MISSING, Share(counts.open, counts.answered), last, "answers without an outcome"),
    ]
