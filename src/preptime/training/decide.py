"""What becomes of a challenger: the new champion, or the occasion to give the champion this morning's history (D7)."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

import msgspec

from preptime.bundle.bundle import Bundle, verify
from preptime.bundle.champions import Action, ChampionLog, Entry
from preptime.bundle.manifest import Manifest, morning_of
from preptime.bundle.store import Store
from preptime.errors import RefusedBundleError, UsageError
from preptime.evaluation.evaluated import EvaluatedOrders
from preptime.training.compare import compare_bundles
from preptime.training.corpus import Corpus
from preptime.training.promote import Comparison, compare
from preptime.training.publish import REFRESHED, Who, promote, publish_refresh
from preptime.training.refresh import history_for
from preptime.training.restore import restore, train_first, trained_otherwise

ONE_DAY = dt.timedelta(days=1)

Outcome = Literal["promoted", "refreshed", "kept", "unchanged"]
"""promoted: the new champion. refreshed: it lost, the champion's models have this morning's history. kept: it is in the
store and the champion stays as it was. unchanged: it already was the champion."""

TOO_LATE = "The champion is of a later date, and a backfill never replaces it."


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided, and why."""

    outcome: Outcome
    reason: str
    comparison: Comparison | None = None


def decide(
    challenger: Manifest, evaluated: EvaluatedOrders, corpus: Corpus, store: Store, who: Who, *, may_promote: bool
) -> Decision:
    """Compare a challenger in the store with the champion of its morning, then promote, refresh or keep.

    What was decided about this challenger before is said again: a rerun of a day, however late, ends as the first run
    did, and what the store no longer has of that morning's champion is made again. Beside champions of later dates
    nothing is promoted or refreshed. `evaluated` is what it answered on the days held out, `corpus` what was known on
    the morning of its date. Raises `RefusedBundleError` when the champion fails verification, `UsageError` when it is
    gone and this morning does not give it back, `StoreError` when someone else promoted meanwhile.
    """
    log = ChampionLog(store)
    entry, current = log.as_of(challenger.date), log.current()
    if entry is not None:
        restore(store, entry.bundle, corpus, challenger.date)
    if may_promote and (before := _decided(log, challenger)) is not None:
        return before
    is_backfill = current is not None and current.date > challenger.date
    if entry is not None and entry.bundle == challenger.id:
        return Decision("unchanged", "It already is the champion.")
    champion = None if entry is None else _verified(store, entry.bundle, kept=challenger.id)
    comparison = _compared(challenger, evaluated, champion, corpus, store)
    undone = log.was_undone(challenger.id)
    reason = f"A person rolled {challenger.id} back before." if undone else comparison.sentence
    kept = None
    if not may_promote:
        kept = f"Promotion was not asked for. {reason}"
    elif is_backfill and (comparison.won or champion is not None):
        kept = f"{TOO_LATE} {comparison.sentence}"
    elif champion is None and (undone or not comparison.won):
        kept = reason
    if kept is not None:
        return Decision("kept", kept, comparison)
    if entry is None or champion is None or (comparison.won and not undone):
        promote(store, challenger.id, challenger.date, comparison=comparison, after=entry, who=who)
        return Decision("promoted", reason, comparison)
    return _refresh(
        champion, entry, corpus, date=challenger.date, store=store, who=who, reason=reason, comparison=comparison
    )


def _compared(
    challenger: Manifest, evaluated: EvaluatedOrders, champion: Bundle | None, corpus: Corpus, store: Store
) -> Comparison:
    if champion is None:
        held_out = (challenger.window.fitted_through + ONE_DAY, challenger.date - ONE_DAY)
        return compare(evaluated, None, names=(challenger.id, None), days=held_out)
    return compare_bundles(corpus, verify(store, challenger.id), champion, challenger.date - ONE_DAY)


def _decided(log: ChampionLog, challenger: Manifest) -> Decision | None:
    """What the log says was decided about this very bundle on its date, unless a person undid that as of that date."""
    outcomes: dict[Action, Outcome] = {"promote": "promoted", "refresh": "refreshed"}
    of_the_day = log.of_date(challenger.date)
    undone = {entry.previous for entry in of_the_day if entry.action == "rollback"}
    for entry in of_the_day:
        outcome = outcomes.get(entry.action)
        if outcome is None or entry.comparison is None or entry.bundle in undone:
            continue
        if entry.comparison.get("challenger") == challenger.id:
            comparison = msgspec.convert(entry.comparison, Comparison, strict=False)
            return Decision(outcome, entry.reason.removeprefix(REFRESHED), comparison)
    return None


def _refresh(
    champion: Bundle,
    entry: Entry,
    corpus: Corpus,
    *,
    date: dt.date,
    store: Store,
    who: Who,
    reason: str,
    comparison: Comparison,
) -> Decision:
    history = history_for(champion, corpus, date)
    published = publish_refresh(store, champion, history, after=entry, who=who, reason=reason, comparison=comparison)
    if published is None:
        return Decision("kept", f"{reason} A person rolled this morning's refresh back before.", comparison)
    return Decision("refreshed", reason, comparison)


def _verified(store: Store, bundle_id: str, *, kept: str) -> Bundle:
    """The champion. A run that ends here says what it leaves: its training is not lost."""
    left = f"It stays champion; the challenger {kept} is kept."
    if not store.has(bundle_id):
        raise UsageError(
            f"The champion {bundle_id} is not in {store.url} any more. {left}",
            trained_otherwise(bundle_id) if morning_of(bundle_id) == morning_of(kept) else train_first(bundle_id),
        )
    try:
        return verify(store, bundle_id)
    except RefusedBundleError as error:
        raise RefusedBundleError(
            f"The champion {bundle_id} is refused: {error.facts} {left}",
            "Roll back to the bundle before, or promote the challenger with a reason (preptime bundles rollback, "
            "preptime bundles promote).",
        ) from error
