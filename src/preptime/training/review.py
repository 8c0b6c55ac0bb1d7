"""Whether the champion was a mistake: worse than the models before it on orders neither has seen, since it serves."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from preptime.bundle.bundle import Bundle, verify
from preptime.bundle.champions import ChampionLog, Entry
from preptime.bundle.manifest import document, morning_of
from preptime.bundle.store import Store
from preptime.errors import DataError, UsageError
from preptime.evaluation.evaluated import LOOKUP, EvaluatedOrders
from preptime.evaluation.metrics import MAE
from preptime.evaluation.scores import interval
from preptime.training.compare import evaluate_bundle
from preptime.training.corpus import Corpus
from preptime.training.decide import ONE_DAY
from preptime.training.promote import Check, Comparison
from preptime.training.publish import Who, publish_refresh
from preptime.training.refresh import history_for

LEAST_ORDERS = 200
"""As for a segment at the promotion gate (D7): fewer say too little."""
WORSE_BY = 0.02
"""Share of the other's mean error. Going back costs everybody the newer models; a hundredth is not worth it."""
STANDARD_ERRORS = 3.0
"""Of the difference on the same orders: by chance alone once in 700 reviews."""

Outcome = Literal["rolled_back", "kept"]


class Review(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the review of a morning found, and what was done about it."""

    outcome: Outcome
    champion: str | None
    """The champion that was reviewed."""
    previous: str | None
    """The latest champion before it with other models."""
    comparison: Comparison | None
    """Both on the days since it serves that neither was fitted on: it as `challenger`, the one before as `champion`.
    Null without such days."""
    reason: str


def review(corpus: Corpus, store: Store, date: dt.date, who: Who, *, may_roll_back: bool) -> Review:
    """Review the champion on the morning of `date`; where it is worse and `may_roll_back`, the one before returns.

    `corpus` holds completed orders; only what was known that morning is looked at. The champion log says what was
    done: a second run on the same date ends what the first began, and does nothing twice. Reviewed is the champion of
    that morning; where later ones followed nothing is done about it, and one that a person promoted past the comparison
    is left alone. What returns is verified, and published with this morning's history.

    Raises `RefusedBundleError` for a bundle that fails verification, `UsageError` for one that a past morning needs and
    the store no longer has, `StoreError` when someone else promoted meanwhile.
    """
    log = ChampionLog(store)
    done = _done(log, date)
    if done is not None:
        _go_back(done, corpus, store, date, who)
        return done
    candidate = _candidate(log, store, date)
    if isinstance(candidate, Review):
        return candidate
    found = _judge(corpus, verify(store, candidate.champion), verify(store, candidate.previous), candidate.since, date)
    if found.outcome == "rolled_back":
        if _is_past(log, date):
            followed = "A champion of a later date followed; a backfill changes nothing."
            return msgspec.structs.replace(found, outcome="kept", reason=f"{followed} {found.reason}")
        if not may_roll_back:
            return msgspec.structs.replace(found, outcome="kept", reason=f"Rolling back is forbidden. {found.reason}")
        _go_back(found, corpus, store, date, who)
    return found


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A champion that may be reviewed, and what it would give way to."""

    champion: str
    previous: str
    since: dt.date
    """The date from which its models serve."""


def _candidate(log: ChampionLog, store: Store, date: dt.date) -> _Candidate | Review:
    """The champion of that morning and the models before it, or why it is left alone."""
    entry = log.as_of(date)
    if entry is None:
        return _kept(None, None, "There is no champion yet.")
    first = _first_of_its_models(log, entry)
    before = log.before(first)
    if before is None:
        return _kept(entry.bundle, None, "There are no other models to go back to.")
    if first.action in {"override", "rollback"}:
        how = "by a person" if first.action == "override" else "by a rollback"
        return _kept(entry.bundle, before.bundle, f"The champion's models were chosen {how}; that is not undone here.")
    if not store.has(before.bundle):
        if _is_past(log, date):
            raise UsageError(f"{before.bundle}, which served before, is not in {store.url} any more.", _again(before))
        return _kept(entry.bundle, before.bundle, "The models before it are not in the store any more.")
    return _Candidate(entry.bundle, before.bundle, first.date)


def _is_past(log: ChampionLog, date: dt.date) -> bool:
    current = log.current()
    return current is not None and current.date > date


def _again(lost: Entry) -> str:
    return f"Run preptime train --date {morning_of(lost.bundle)} again first."


def models_of(store: Store, bundle: str) -> str:
    """The training whose models a champion has: its parent's, or its own. Neither need be in the store any more."""
    return ChampionLog(store).trainings().get(bundle, bundle)


def _mark(date: dt.date) -> str:
    """How the reason of a rollback begins that a review made: by it a second run knows the first."""
    return f"Review of {date}. "


def _done(log: ChampionLog, date: dt.date) -> Review | None:
    """The review of this date, if it ended in a rollback before: the log keeps all of it."""
    mark = _mark(date)
    for entry in log.history():
        if entry.action == "rollback" and entry.reason.startswith(mark) and entry.comparison is not None:
            comparison = msgspec.convert(entry.comparison, Comparison)
            return Review(
                outcome="rolled_back",
                champion=comparison.challenger,
                previous=comparison.champion,
                comparison=comparison,
                reason=entry.reason.removeprefix(mark),
            )
    return None


def _go_back(found: Review, corpus: Corpus, store: Store, date: dt.date, who: Who) -> None:
    """Roll back until the models before serve, then give them this morning's history; what is done is not done again.

    A refresh of the worse models is undone as well as their promotion, so it may take several steps.
    """
    if found.champion is None or found.previous is None or found.comparison is None:
        return
    log = ChampionLog(store)
    worse, better = models_of(store, found.champion), models_of(store, found.previous)
    entry = log.current()
    while entry is not None and models_of(store, entry.bundle) == worse:
        entry = log.rollback(
            reason=_mark(date) + found.reason,
            by=who.by,
            at=who.at,
            seen=entry.number,
            comparison=document(found.comparison),
        )
    if entry is not None and entry.date <= date and models_of(store, entry.bundle) == better:
        champion = verify(store, entry.bundle)
        if champion.manifest.date < date:
            history = history_for(champion, corpus.known_on(date), date)
            publish_refresh(store, champion, history, after=entry, who=who, reason=f"After the review of {date}.")


def _first_of_its_models(log: ChampionLog, entry: Entry) -> Entry:
    """The entry that brought the champion's models: refreshes stand on it."""
    trained = log.trainings()
    models = trained.get(entry.bundle, entry.bundle)
    while (before := log.before(entry)) is not None and trained.get(before.bundle, before.bundle) == models:
        entry = before
    return entry


def _judge(corpus: Corpus, champion: Bundle, previous: Bundle, serving_since: dt.date, date: dt.date) -> Review:
    mine, theirs = champion.manifest, previous.manifest
    first = max(mine.window.fitted_through + ONE_DAY, theirs.window.fitted_through + ONE_DAY, serving_since)
    last = date - ONE_DAY
    try:
        known = corpus.known_on(date)
    except DataError:
        return _kept(mine.id, theirs.id, f"No order was ready before {date}.")
    if first > min(last, known.last_day):
        return _kept(mine.id, theirs.id, "There is no order yet that neither has seen since it serves.")
    now, then = (evaluate_bundle(known, one, first, last) for one in (champion, previous))
    check = _not_worse(now, then)
    comparison = Comparison(
        challenger=mine.id,
        champion=theirs.id,
        first_day=first,
        last_day=last,
        orders=len(now),
        challenger_mae=MAE(now.actual, now.default),
        champion_mae=MAE(then.actual, then.default),
        lookup_mae=MAE(now.actual, now.baselines[LOOKUP]),
        challenger_coverage=interval(now.actual, now.quantiles).coverage,
        checks=(check,),
    )
    return Review(
        outcome="kept" if check.passed else "rolled_back",
        champion=mine.id,
        previous=theirs.id,
        comparison=comparison,
        reason=f"{check.rule}: {check.found}",
    )


def _not_worse(now: EvaluatedOrders, then: EvaluatedOrders) -> Check:
    """Whether the champion is no worse than the models before: by little, or by what chance may make of it."""
    rule = f"Not worse than the models before by {WORSE_BY:.0%} and {STANDARD_ERRORS:g} standard errors"
    if len(now) < LEAST_ORDERS:
        return Check(rule, f"{len(now):,} orders are too few, {LEAST_ORDERS} are needed.", passed=True)
    before = np.abs(then.default - then.actual)
    each = np.abs(now.default - now.actual) - before
    difference, mae = float(each.mean()), float(before.mean())
    error = float(each.std(ddof=1)) / math.sqrt(len(each))
    worse = difference > WORSE_BY * mae and difference > STANDARD_ERRORS * error
    told = f"MAE {mae + difference:.1f} s against {mae:.1f} s on the same {len(now):,} orders"
    return Check(rule, f"{told} ({difference:+.1f} s, standard error {error:.1f} s).", passed=not worse)


def _kept(champion: str | None, previous: str | None, reason: str) -> Review:
    return Review(outcome="kept", champion=champion, previous=previous, comparison=None, reason=reason)
