"""A champion that the store has lost is made again: the same content has the same id (D8).

What becomes of a challenger: the new champion, or the occasion to give the champion this morning's history (D7).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

import msgspec

from preptime.bundle.bundle import Bundle, fetch_verified
from preptime.bundle.champion_log import Action, ChampionLog, LogEntry
from preptime.bundle.manifest import Manifest, bundle_date
from preptime.bundle.store import Store
from preptime.errors import BundleVerificationError, UsageError
from preptime.evaluation.evaluated_orders import EvaluatedOrders
from preptime.training.comparison import Comparison, compare_bundles, compare_evaluations
from preptime.training.publishing import (
    REFRESH_REASON_PREFIX,
    AuditActor,
    promote_challenger,
    publish_refresh,
    write_refreshed_bundle,
)
from preptime.training.refresh import build_champion_history
from preptime.training.training_data import TrainingData


def restore_champion(store: Store, bundle_id: str, data: TrainingData, date: dt.date) -> None:
    """Put the champion of the morning of `date` back when that morning refreshed it, and it was pruned or is damaged.

    One that was trained that morning needs nothing here: training it again has written it. `corpus` is what was known.
    Raises `UsageError` when the models it had do not open either, or when what comes out is another bundle.
    """
    if bundle_date(bundle_id) != date or _load_if_valid(store, bundle_id):
        return
    training_id = ChampionLog(store).training_by_refresh().get(bundle_id)
    if training_id is None:
        return
    parent = _load_if_valid(store, training_id)
    if parent is None:
        raise UsageError(
            f"{bundle_id}, the champion of the morning of {date}, does not open in {store.url} and is made again from "
            f"the models of {training_id}, which does not open there either.",
            retrain_hint(training_id),
        )
    restored = write_refreshed_bundle(store, parent, build_champion_history(parent, data, date), expected_id=bundle_id)
    if restored.id != bundle_id:
        raise UsageError(
            f"{bundle_id}, the champion of the morning of {date}, does not open in {store.url}; made again from the "
            f"models of {training_id} it is {restored.id}, so nothing was replaced.",
            different_bundle_hint(bundle_id),
        )


def retrain_hint(bundle_id: str) -> str:
    """What to do about a bundle that an earlier morning made."""
    return (
        f"Run preptime train --date {bundle_date(bundle_id)} again first. Should another bundle come out there, restore "
        f"{bundle_id} from a copy of the store."
    )


def different_bundle_hint(bundle_id: str) -> str:
    """What to do when its own morning gives another bundle than it gave."""
    return (
        f"The orders known that morning, or the release of preptime or its libraries, are not those of then: restore "
        f"{bundle_id} from a copy of the store, or roll back (preptime bundles rollback)."
    )


def _load_if_valid(store: Store, bundle_id: str) -> Bundle | None:
    if not store.has_bundle(bundle_id):  # though a copy may have been fetched before
        return None
    try:
        return fetch_verified(store, bundle_id)
    except BundleVerificationError:  # damaged: that can be made again as well
        return None


ONE_DAY = dt.timedelta(days=1)

PromotionOutcome = Literal["promoted", "refreshed", "kept", "unchanged"]
"""promoted: the new champion. refreshed: it lost, the champion's models have this morning's history. kept: it is in the
store and the champion stays as it was. unchanged: it already was the champion."""

BACKFILL_REASON = "The champion is of a later date, and a backfill never replaces it."


@dataclass(frozen=True, slots=True)
class PromotionDecision:
    """What was decided, and why."""

    outcome: PromotionOutcome
    reason: str
    comparison: Comparison | None = None


def decide_promotion(
    challenger: Manifest,
    evaluated: EvaluatedOrders,
    data: TrainingData,
    store: Store,
    actor: AuditActor,
    *,
    allow_promotion: bool,
) -> PromotionDecision:
    """Compare a challenger in the store with the champion of its morning, then promote, refresh or keep.

    What was decided about this challenger before is said again: a rerun of a day, however late, ends as the first run
    did, and what the store no longer has of that morning's champion is made again. Beside champions of later dates
    nothing is promoted or refreshed. `evaluated` is what it answered on the days held out, `corpus` what was known on
    the morning of its date. Raises `BundleVerificationError` when the champion fails verification, `UsageError` when it is
    gone and this morning does not give it back, `StoreError` when someone else promoted meanwhile.
    """
    log = ChampionLog(store)
    entry, current = log.as_of(challenger.date), log.current()
    if entry is not None:
        restore_champion(store, entry.bundle, data, challenger.date)
    if allow_promotion and (earlier := _earlier_decision(log, challenger)) is not None:
        return earlier
    is_backfill = current is not None and current.date > challenger.date
    if entry is not None and entry.bundle == challenger.id:
        return PromotionDecision("unchanged", "It already is the champion.")
    champion = None if entry is None else _verify_champion(store, entry.bundle, challenger_id=challenger.id)
    comparison = _compare_with_champion(challenger, evaluated, champion, data, store)
    was_rolled_back = log.was_rolled_back(challenger.id)
    reason = f"A person rolled {challenger.id} back before." if was_rolled_back else comparison.summary
    keep_reason = None
    if not allow_promotion:
        keep_reason = f"Promotion was not asked for. {reason}"
    elif is_backfill and (comparison.passed or champion is not None):
        keep_reason = f"{BACKFILL_REASON} {comparison.summary}"
    elif champion is None and (was_rolled_back or not comparison.passed):
        keep_reason = reason
    if keep_reason is not None:
        return PromotionDecision("kept", keep_reason, comparison)
    if entry is None or champion is None or (comparison.passed and not was_rolled_back):
        promote_challenger(
            store, challenger.id, challenger.date, comparison=comparison, expected_current=entry, actor=actor
        )
        return PromotionDecision("promoted", reason, comparison)
    return _refresh_champion(
        champion, entry, data, date=challenger.date, store=store, actor=actor, reason=reason, comparison=comparison
    )


def _compare_with_champion(
    challenger: Manifest, evaluated: EvaluatedOrders, champion: Bundle | None, data: TrainingData, store: Store
) -> Comparison:
    if champion is None:
        held_out_days = (challenger.window.fitted_through + ONE_DAY, challenger.date - ONE_DAY)
        return compare_evaluations(evaluated, None, bundle_ids=(challenger.id, None), days=held_out_days)
    return compare_bundles(data, fetch_verified(store, challenger.id), champion, challenger.date - ONE_DAY)


def _earlier_decision(log: ChampionLog, challenger: Manifest) -> PromotionDecision | None:
    """What the log says was decided about this very bundle on its date, unless a person undid that as of that date."""
    outcomes: dict[Action, PromotionOutcome] = {"promote": "promoted", "refresh": "refreshed"}
    date_entries = log.entries_of_date(challenger.date)
    rolled_back_bundles = {entry.previous for entry in date_entries if entry.action == "rollback"}
    for entry in date_entries:
        outcome = outcomes.get(entry.action)
        if outcome is None or entry.comparison is None or entry.bundle in rolled_back_bundles:
            continue
        if entry.comparison.get("challenger") == challenger.id:
            comparison = msgspec.convert(entry.comparison, Comparison, strict=False)
            return PromotionDecision(outcome, entry.reason.removeprefix(REFRESH_REASON_PREFIX), comparison)
    return None


def _refresh_champion(
    champion: Bundle,
    entry: LogEntry,
    data: TrainingData,
    *,
    date: dt.date,
    store: Store,
    actor: AuditActor,
    reason: str,
    comparison: Comparison,
) -> PromotionDecision:
    history = build_champion_history(champion, data, date)
    refresh_entry = publish_refresh(
        store, champion, history, expected_current=entry, actor=actor, reason=reason, comparison=comparison
    )
    if refresh_entry is None:
        return PromotionDecision("kept", f"{reason} A person rolled this morning's refresh back before.", comparison)
    return PromotionDecision("refreshed", reason, comparison)


def _verify_champion(store: Store, bundle_id: str, *, challenger_id: str) -> Bundle:
    """The champion. A run that ends here says what it leaves: its training is not lost."""
    consequence = f"It stays champion; the challenger {challenger_id} is kept."
    if not store.has_bundle(bundle_id):
        raise UsageError(
            f"The champion {bundle_id} is not in {store.url} any more. {consequence}",
            different_bundle_hint(bundle_id)
            if bundle_date(bundle_id) == bundle_date(challenger_id)
            else retrain_hint(bundle_id),
        )
    try:
        return fetch_verified(store, bundle_id)
    except BundleVerificationError as error:
        raise BundleVerificationError(
            f"The champion {bundle_id} is refused: {error.facts} {consequence}",
            "Roll back to the bundle before, or promote the challenger with a reason (preptime bundles rollback, "
            "preptime bundles promote).",
        ) from error
