"""Reviews the champion: rolls it back if it's worse than the previous champion's models.

Both are compared on the orders since the promotion that neither was fitted on.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from preptime.bundle.bundle import Bundle
from preptime.bundle.champion_log import ChampionLog, LogEntry
from preptime.bundle.isolated_check import load_checked, load_stored
from preptime.bundle.manifest import bundle_date, to_json_object
from preptime.bundle.store import Store
from preptime.errors import DataError, UsageError
from preptime.evaluation.evaluated_orders import LOOKUP, EvaluatedOrders
from preptime.evaluation.metrics import MAE, compute_interval
from preptime.evaluation.summary_text import format_minutes
from preptime.formatting import format_count
from preptime.schema.schema import Schema
from preptime.training.comparison import Comparison, PromotionCheck, check_target_of_orders, evaluate_bundle
from preptime.training.publishing import (
    AuditActor,
    build_champion_history,
    explain_stale_history,
    publish_refresh,
)
from preptime.training.training_data import ONE_DAY, TrainingData

MIN_REVIEW_ORDERS = 200
"""The same minimum as for a segment in the promotion gate (decision 7)."""
MIN_RELATIVE_REGRESSION = 0.02
"""Share of the previous models' mean absolute error. For a smaller difference, a rollback isn't worth it."""
MIN_STANDARD_ERRORS = 3.0
"""Standard errors of the paired difference. By chance alone, it's exceeded once in 700 reviews."""

ReviewOutcome = Literal["rolled_back", "kept"]


class ChampionReview(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The result of a review, and the action that followed."""

    outcome: ReviewOutcome
    champion: str | None
    """The champion that was reviewed."""
    previous: str | None
    """The latest earlier champion with different models."""
    comparison: Comparison | None
    """The reviewed champion as `challenger`, and the previous one as `champion`, on the days since the promotion that
    neither was fitted on. Null without such days."""
    reason: str


def review_champion(
    data: TrainingData, store: Store, date: dt.date, actor: AuditActor, *, schema: Schema, allow_rollback: bool
) -> ChampionReview:
    """Review the champion as of `date`, and roll it back if it's worse and `allow_rollback` is set.

    `data` has completed orders of `schema`, and only those known as of `date` are used. The champion log records the
    result, so a second run for the same date completes the first one and repeats nothing. It changes nothing without
    `allow_rollback`, or if a person or a training changed the champion since the first run. There is no rollback if the
    champion was promoted by override, or if a champion with a later date followed. The bundle that a rollback returns
    to is verified, and published with the history as of `date`, unless the orders lack a part of it.

    Raises:
        BundleVerificationError: A bundle failed verification.
        UsageError: A bundle that a past date requires is missing in the store, or the orders have another target.
        StoreError: Another process promoted a bundle at the same time.
    """
    log = ChampionLog(store)
    rollbacks = _rollbacks_of_review(log, date)
    if rollbacks:
        earlier = _read_review(rollbacks[0], date)
        if allow_rollback and _can_continue(log, rollbacks, date):
            _roll_back(earlier, data, store, date, actor, schema=schema)
        return earlier
    candidate = _find_candidate(log, store, date)
    if isinstance(candidate, ChampionReview):
        return candidate
    champion, previous = (load_checked(store, bundle) for bundle in (candidate.champion, candidate.previous))
    check_target_of_orders(schema.target, champion.manifest, previous.manifest)
    result = _evaluate_candidate(data, champion, previous, candidate.serving_since, date)
    if result.outcome == "rolled_back":
        if _has_later_champion(log, date):
            explanation = "A champion with a later date followed, and a backfill changes nothing."
            return msgspec.structs.replace(result, outcome="kept", reason=f"{explanation} {result.reason}")
        if not allow_rollback:
            return msgspec.structs.replace(result, outcome="kept", reason=f"Rollback isn't allowed. {result.reason}")
        stale_reason = explain_stale_history(previous.manifest, schema, date)
        if stale_reason is not None:
            result = msgspec.structs.replace(result, reason=f"{result.reason} {stale_reason}")
        _roll_back(result, data, store, date, actor, schema=schema)
    return result


@dataclass(frozen=True, slots=True)
class _ReviewCandidate:
    """A champion that can be reviewed, and the bundle that a rollback would return to."""

    champion: str
    previous: str
    serving_since: dt.date
    """The first date on which its models were the champion's."""


def _find_candidate(log: ChampionLog, store: Store, date: dt.date) -> _ReviewCandidate | ChampionReview:
    """Return the champion as of `date` and its predecessor, or the result if it isn't reviewed."""
    entry = log.as_of(date)
    if entry is None:
        return _keep_champion(None, None, "There is no champion yet.")
    first_entry = _first_entry_with_models(log, entry)
    previous_entry = log.rollback_target(first_entry)
    if previous_entry is None:
        return _keep_champion(entry.bundle, None, "There are no previous models to return to.")
    if first_entry.action in {"override", "rollback"}:
        return _keep_champion(
            entry.bundle,
            previous_entry.bundle,
            f"The champion's models were promoted by {first_entry.action}, which a review doesn't undo.",
        )
    if not store.has_bundle(previous_entry.bundle):
        if _has_later_champion(log, date):
            raise UsageError(
                f"The previous champion {previous_entry.bundle} isn't in {store.url}.",
                f"First, run preptime train --date {bundle_date(previous_entry.bundle)} again.",
            )
        return _keep_champion(entry.bundle, previous_entry.bundle, "The previous models aren't in the store.")
    return _ReviewCandidate(entry.bundle, previous_entry.bundle, first_entry.date)


def _has_later_champion(log: ChampionLog, date: dt.date) -> bool:
    current = log.current()
    return current is not None and current.date > date


def training_bundle_of(store: Store, bundle_id: str) -> str:
    """Return the trained bundle whose models a champion has: its parent, or itself. Both can be pruned."""
    return ChampionLog(store).training_by_refresh().get(bundle_id, bundle_id)


def _reason_prefix(date: dt.date) -> str:
    """Return the start of the reason of a review's rollback. A second run finds the first by it."""
    return f"Review of {date}. "


def _rollbacks_of_review(log: ChampionLog, date: dt.date) -> list[LogEntry]:
    """Return the rollbacks of an earlier review of this date, first to last."""
    prefix = _reason_prefix(date)
    return [
        entry
        for entry in log.entries()
        if entry.action == "rollback" and entry.reason.startswith(prefix) and entry.comparison is not None
    ]


def _read_review(rollback: LogEntry, date: dt.date) -> ChampionReview:
    """Return the earlier review of this date from one of its rollbacks."""
    comparison = msgspec.convert(rollback.comparison, Comparison)
    return ChampionReview(
        outcome="rolled_back",
        champion=comparison.challenger,
        previous=comparison.champion,
        comparison=comparison,
        reason=rollback.reason.removeprefix(_reason_prefix(date)),
    )


def _can_continue(log: ChampionLog, rollbacks: list[LogEntry], date: dt.date) -> bool:
    """Return whether only the review's own rollbacks and refreshes through `date` followed its first rollback.

    Any other entry is a later decision of a person, a training, or a review of another date, which it must not undo.
    """
    own_numbers = {entry.number for entry in rollbacks}
    later = [entry for entry in log.entries() if entry.number >= rollbacks[0].number]
    return later[-1].date <= date and all(entry.number in own_numbers or entry.action == "refresh" for entry in later)


def _roll_back(
    result: ChampionReview, data: TrainingData, store: Store, date: dt.date, actor: AuditActor, *, schema: Schema
) -> None:
    """Roll back to the previous models, then publish them with the history as of `date`. Skip completed steps.

    Refreshes of the worse models are rolled back as well as their promotion, so it can take several steps. A history
    that can't be built from orders of `schema` isn't published.
    """
    if result.champion is None or result.previous is None or result.comparison is None:
        return
    log = ChampionLog(store, check=lambda store, bundle_id: load_stored(store, bundle_id).manifest)
    reviewed_models, previous_models = (
        training_bundle_of(store, result.champion),
        training_bundle_of(store, result.previous),
    )
    entry = log.current()
    while entry is not None and training_bundle_of(store, entry.bundle) == reviewed_models:
        entry = log.rollback(
            reason=_reason_prefix(date) + result.reason,
            by=actor.by,
            at=actor.at,
            expected_number=entry.number,
            comparison=to_json_object(result.comparison),
        )
    if entry is not None and entry.date <= date and training_bundle_of(store, entry.bundle) == previous_models:
        champion = load_checked(store, entry.bundle)
        check_target_of_orders(schema.target, champion.manifest)
        if champion.manifest.date < date and explain_stale_history(champion.manifest, schema, date) is None:
            history = build_champion_history(champion, data.as_of(date), date)
            publish_refresh(
                store, champion, history, expected_current=entry, actor=actor, reason=f"After the review of {date}."
            )


def _first_entry_with_models(log: ChampionLog, entry: LogEntry) -> LogEntry:
    """Return the entry that first made the champion's models the champion's, before any refresh."""
    training_bundles = log.training_by_refresh()
    models = training_bundles.get(entry.bundle, entry.bundle)
    while (previous_entry := log.rollback_target(entry)) is not None and training_bundles.get(
        previous_entry.bundle, previous_entry.bundle
    ) == models:
        entry = previous_entry
    return entry


def _evaluate_candidate(
    data: TrainingData, champion: Bundle, previous: Bundle, serving_since: dt.date, date: dt.date
) -> ChampionReview:
    champion_manifest, previous_manifest = champion.manifest, previous.manifest
    first_day = max(
        champion_manifest.window.fitted_through + ONE_DAY,
        previous_manifest.window.fitted_through + ONE_DAY,
        serving_since,
    )
    last_day = date - ONE_DAY
    try:
        known_data = data.as_of(date)
    except DataError:
        return _keep_champion(champion_manifest.id, previous_manifest.id, f"No order was ready before {date}.")
    if first_day > min(last_day, known_data.last_day):
        return _keep_champion(
            champion_manifest.id,
            previous_manifest.id,
            "Since the promotion, there are no orders yet that neither bundle was fitted on.",
        )
    champion_orders, previous_orders = (
        evaluate_bundle(known_data, bundle, first_day, last_day) for bundle in (champion, previous)
    )
    check = _check_not_worse(champion_orders, previous_orders)
    comparison = Comparison(
        challenger=champion_manifest.id,
        champion=previous_manifest.id,
        first_day=first_day,
        last_day=last_day,
        orders=len(champion_orders),
        challenger_mae=MAE(champion_orders.actual, champion_orders.default_predictions),
        champion_mae=MAE(previous_orders.actual, previous_orders.default_predictions),
        lookup_mae=MAE(champion_orders.actual, champion_orders.baseline_predictions[LOOKUP]),
        challenger_coverage=compute_interval(champion_orders.actual, champion_orders.quantiles).coverage,
        checks=(check,),
    )
    return ChampionReview(
        outcome="kept" if check.passed else "rolled_back",
        champion=champion_manifest.id,
        previous=previous_manifest.id,
        comparison=comparison,
        reason=f"{check.rule}: {check.result}",
    )


def _check_not_worse(champion_orders: EvaluatedOrders, previous_orders: EvaluatedOrders) -> PromotionCheck:
    """Check whether the champion is worse than the previous models by a relevant and significant amount."""
    rule = (
        f"Not worse than the previous models by {MIN_RELATIVE_REGRESSION:.0%} and "
        f"{MIN_STANDARD_ERRORS:g} standard errors"
    )
    if len(champion_orders) < MIN_REVIEW_ORDERS:
        return PromotionCheck(
            rule,
            f"{format_count(len(champion_orders), 'order')}, but a review requires {MIN_REVIEW_ORDERS}. To roll back "
            "without a review, use preptime bundles rollback --reason TEXT.",
            passed=True,
        )
    previous_errors = np.abs(previous_orders.default_predictions - previous_orders.actual)
    differences = np.abs(champion_orders.default_predictions - champion_orders.actual) - previous_errors
    difference, previous_mae = float(differences.mean()), float(previous_errors.mean())
    standard_error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    is_worse = difference > MIN_RELATIVE_REGRESSION * previous_mae and difference > MIN_STANDARD_ERRORS * standard_error
    mae_text = (
        f"MAE {format_minutes(previous_mae + difference, 2)} min compared with {format_minutes(previous_mae, 2)} min"
    )
    return PromotionCheck(
        rule,
        f"{mae_text} on the same {len(champion_orders):,} orders "
        f"({difference / 60:+.2f} min, standard error {format_minutes(standard_error, 2)} min).",
        passed=not is_worse,
    )


def _keep_champion(champion: str | None, previous: str | None, reason: str) -> ChampionReview:
    return ChampionReview(outcome="kept", champion=champion, previous=previous, comparison=None, reason=reason)
