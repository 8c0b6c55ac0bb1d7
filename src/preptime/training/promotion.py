"""Decides what happens to a challenger: promotion, or a refresh of the champion's history (decision 7).

A champion that is missing or damaged in the store is rebuilt first: the same content has the same id (decision 8).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import msgspec

from preptime.bundle.bundle import Bundle
from preptime.bundle.champion_log import Action, ChampionLog, LogEntry
from preptime.bundle.isolated_check import load_checked, load_stored
from preptime.bundle.manifest import Manifest, bundle_date
from preptime.bundle.store import Store
from preptime.errors import BundleVerificationError, UsageError
from preptime.evaluation.evaluated_orders import EvaluatedOrders
from preptime.features.history import History
from preptime.training.backtest import concatenate_evaluated
from preptime.training.comparison import Comparison, check_same_target, compare_evaluations, evaluate_bundle
from preptime.training.publishing import (
    REFRESH_REASON_PREFIX,
    AuditActor,
    build_champion_history,
    explain_stale_history,
    promote_challenger,
    publish_refresh,
    write_refreshed_bundle,
)
from preptime.training.training_data import ONE_DAY, TrainingData, iterate_days

PromotionOutcome = Literal["promoted", "refreshed", "kept", "unchanged"]
"""promoted: the challenger is the new champion. refreshed: it lost, and the champion is published with new history.
kept: it's in the store, and the champion doesn't change. unchanged: it already was the champion."""

BACKFILL_REASON = "The current champion has a later date, and a backfill never replaces it."


@dataclass(frozen=True, slots=True)
class PromotionDecision:
    """The decision about a challenger, and the reason."""

    outcome: PromotionOutcome
    reason: str
    comparison: Comparison | None = None


@dataclass(frozen=True, slots=True)
class ServedChampions:
    """The predictions of the champions that served on the gate's days."""

    evaluated: EvaluatedOrders | None = None
    """None if no day is left."""
    damaged: tuple[str, ...] = ()
    """IDs of bundles that failed verification."""


def decide_promotion(
    challenger: Manifest,
    evaluated: EvaluatedOrders,
    data: TrainingData,
    store: Store,
    actor: AuditActor,
    *,
    allow_promotion: bool,
    reduced: bool = False,
    left_out: Sequence[str] = (),
    refresh_champion: bool = True,
) -> PromotionDecision:
    """Compare a challenger in the store with the champion as of its date, then promote, refresh, or keep.

    `evaluated` has the predictions of the gate's walk-forward, and `data` the orders known as of the challenger's date.
    A rerun of a date repeats the earlier decision from the champion log. If the champion as of the date is missing in
    the store, it's rebuilt. When the current champion has a later date, nothing is promoted or refreshed. If the
    challenger's schema lacks a part of the champion's history, nothing is refreshed. `reduced` says that the challenger
    is a reduced set. `left_out` are the models that the user left out: a champion with one of them isn't replaced.
    Without `refresh_champion`, a challenger that loses changes nothing.

    Raises:
        BundleVerificationError: The champion failed verification.
        UsageError: The champion is missing in the store and can't be rebuilt for this date, or predicts another target.
        StoreError: Another process promoted a bundle at the same time.
    """
    log = ChampionLog(store)
    entry, current = log.as_of(challenger.date), log.current()
    if entry is not None:
        _restore_champion(store, entry.bundle, data, challenger.date)
    if allow_promotion and (earlier := _earlier_decision(log, challenger)) is not None:
        return earlier
    if entry is not None and entry.bundle == challenger.id:
        return PromotionDecision("unchanged", "The bundle already is the champion.")
    champion = None if entry is None else _fetch_champion(store, entry.bundle, challenger_id=challenger.id)
    if champion is not None:
        hint = f"Use another store for {challenger.schema.target.name} (--store)."
        check_same_target(challenger, champion.manifest, hint)
    comparison = _compare_with_champion(
        challenger, evaluated, champion, data, store, reduced=reduced, left_out=left_out
    )
    was_rolled_back = log.was_rolled_back(challenger.id)
    reason = f"A user rolled back {challenger.id} earlier." if was_rolled_back else comparison.summary
    is_backfill = current is not None and current.date > challenger.date
    is_winner = comparison.passed and not was_rolled_back
    if not allow_promotion:
        return PromotionDecision("kept", f"Promotion is disabled by --promote never. {reason}", comparison)
    if not is_winner and entry is not None and champion is not None and refresh_champion:
        loss = _LostComparison(challenger, champion, entry, reason, comparison)
        return _refresh_champion(loss, data, store, actor, is_backfill=is_backfill)
    if is_backfill and (comparison.passed or champion is not None):
        reason, is_winner = f"{BACKFILL_REASON} {comparison.summary}", False
    if not is_winner:
        return PromotionDecision("kept", reason, comparison)
    promote_challenger(
        store, challenger.id, challenger.date, comparison=comparison, expected_current=entry, actor=actor
    )
    return PromotionDecision("promoted", reason, comparison)


def _restore_champion(store: Store, bundle_id: str, data: TrainingData, date: dt.date) -> None:
    """Rebuild the champion as of `date` if it's a refresh of that date and is missing or damaged in the store.

    A champion that was trained on that date needs no rebuild here, because training has just written it. `data` has
    the orders known as of `date`. Raises `UsageError` if the refresh's models are missing or damaged too, or if the
    rebuilt bundle has another id.
    """
    if bundle_date(bundle_id) != date or _load_if_valid(store, bundle_id):
        return
    training_id = ChampionLog(store).training_by_refresh().get(bundle_id)
    if training_id is None:
        return
    parent = _load_if_valid(store, training_id)
    if parent is None:
        raise UsageError(
            f"{bundle_id}, the champion as of {date}, is missing or damaged in {store.url}, and so is {training_id}, "
            "which has its models.",
            _retrain_hint(training_id),
        )
    restored = write_refreshed_bundle(store, parent, build_champion_history(parent, data, date), expected_id=bundle_id)
    if restored.id != bundle_id:
        raise UsageError(
            f"{bundle_id}, the champion as of {date}, is missing or damaged in {store.url}. A rebuild from the models "
            f"of {training_id} gives another bundle, {restored.id}, so nothing was replaced.",
            _different_bundle_hint(bundle_id),
        )


def _retrain_hint(bundle_id: str) -> str:
    """Return the hint for a missing bundle of an earlier date."""
    return (
        f"First, run preptime train --date {bundle_date(bundle_id)} again. If that gives another bundle, restore "
        f"{bundle_id} from a copy of the store."
    )


def _different_bundle_hint(bundle_id: str) -> str:
    """Return the hint for a bundle whose date now gives another bundle."""
    return (
        "The orders of that date, or the versions of preptime or its libraries, have changed. Restore "
        f"{bundle_id} from a copy of the store, or roll back: preptime bundles rollback."
    )


def _load_if_valid(store: Store, bundle_id: str) -> Bundle | None:
    try:  # the local cache can have a copy of a bundle that isn't in the store
        return load_stored(store, bundle_id) if store.has_bundle(bundle_id) else None
    except BundleVerificationError:  # a damaged bundle is rebuilt too
        return None


def _compare_with_champion(
    challenger: Manifest,
    evaluated: EvaluatedOrders,
    champion: Bundle | None,
    data: TrainingData,
    store: Store,
    *,
    reduced: bool,
    left_out: Sequence[str],
) -> Comparison:
    window = challenger.window
    days = (window.gated_from or challenger.date - ONE_DAY, window.gated_through or challenger.date - ONE_DAY)
    champion_id = None if champion is None else champion.manifest.id
    served = ServedChampions() if champion is None else evaluate_served_champions(data, store, days)
    missing = () if champion is None else tuple(name for name in left_out if name in champion.manifest.models)
    return compare_evaluations(
        evaluated,
        served.evaluated,
        bundle_ids=(challenger.id, champion_id),
        days=days,
        reduced=reduced,
        missing_models=missing,
        notes=[f"{bundle} is damaged in the store, so it isn't compared." for bundle in served.damaged],
    )


def evaluate_served_champions(data: TrainingData, store: Store, days: tuple[dt.date, dt.date]) -> ServedChampions:
    """Return the predictions of the champions that served from the first to the last of `days`, each for its days.

    A day is left out if no champion served on it, if its models were fitted on the day, or if no bundle of the period
    with these models is intact in the store.
    """
    log, parts = ChampionLog(store), []
    damaged: list[str] = []
    models_of = log.training_by_refresh()
    served_days = [(day, entry.bundle) for day in iterate_days(*days) if (entry := log.as_of(day)) is not None]
    for _, group in groupby(served_days, key=lambda served: models_of.get(served[1], served[1])):
        period = list(group)
        bundle = None
        for bundle_id in dict.fromkeys(bundle_id for _, bundle_id in period if store.has_bundle(bundle_id)):
            bundle = _load_if_valid(store, bundle_id)
            if bundle is not None:
                break
            damaged.append(bundle_id)
        if bundle is None:
            continue
        first_day = max(period[0][0], bundle.manifest.window.fitted_through + ONE_DAY)
        if first_day <= period[-1][0]:
            parts.append(evaluate_bundle(data, bundle, first_day, period[-1][0]))
    return ServedChampions(concatenate_evaluated(parts) if parts else None, tuple(dict.fromkeys(damaged)))


def _earlier_decision(log: ChampionLog, challenger: Manifest) -> PromotionDecision | None:
    """Return the logged decision about this bundle on its date, unless a user rolled it back as of that date."""
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


@dataclass(frozen=True, slots=True)
class _LostComparison:
    """A comparison that the champion won, or whose challenger a user rolled back."""

    challenger: Manifest
    champion: Bundle
    entry: LogEntry
    """That of the champion."""
    reason: str
    comparison: Comparison


def _refresh_champion(
    loss: _LostComparison, data: TrainingData, store: Store, actor: AuditActor, *, is_backfill: bool
) -> PromotionDecision:
    """Publish the champion with the history as of the challenger's date, unless it's a backfill.

    If `preptime refresh` has published the same history, the decision is the same, also after later champions. The
    champion's entry in the log then has no comparison.
    """
    champion, date = loss.champion, loss.challenger.date
    refreshed = PromotionDecision("refreshed", loss.reason, loss.comparison)
    is_of_date = loss.entry.action == "refresh" and champion.manifest.date == date
    stale_reason = explain_stale_history(champion.manifest, loss.challenger.schema, date)
    if stale_reason is not None:
        kept = PromotionDecision("kept", f"{loss.reason} {stale_reason}", loss.comparison)
        return refreshed if is_of_date else kept
    history = build_champion_history(champion, data, date)
    if is_backfill:
        kept = PromotionDecision("kept", f"{BACKFILL_REASON} {loss.comparison.summary}", loss.comparison)
        return refreshed if is_of_date and _equal_histories(history, champion.history) else kept
    refresh_entry = publish_refresh(
        store,
        champion,
        history,
        expected_current=loss.entry,
        actor=actor,
        reason=loss.reason,
        comparison=loss.comparison,
    )
    if refresh_entry is None:
        kept_reason = f"{loss.reason} A user rolled back the refresh of {date} earlier."
        return PromotionDecision("kept", kept_reason, loss.comparison)
    return refreshed


def _equal_histories(first: History, second: History) -> bool:
    first_bytes, second_bytes = (
        {name: array.tobytes() for name, array in history.arrays().items()} for history in (first, second)
    )
    return first_bytes == second_bytes


def _fetch_champion(store: Store, bundle_id: str, *, challenger_id: str) -> Bundle:
    """Return the verified champion. Its errors state that the challenger stays in the store."""
    consequence = f"It remains the champion. The challenger {challenger_id} stays in the store."
    if not store.has_bundle(bundle_id):
        raise UsageError(
            f"The champion {bundle_id} isn't in {store.url}. {consequence}",
            _different_bundle_hint(bundle_id)
            if bundle_date(bundle_id) == bundle_date(challenger_id)
            else _retrain_hint(bundle_id),
        )
    try:
        return load_checked(store, bundle_id)
    except BundleVerificationError as error:
        raise BundleVerificationError(
            f"The champion {bundle_id} failed verification: {error.facts} {consequence}",
            "Roll back to the previous champion (preptime bundles rollback), or promote the challenger with a reason "
            f"(preptime bundles promote {challenger_id} --reason TEXT).",
        ) from error
