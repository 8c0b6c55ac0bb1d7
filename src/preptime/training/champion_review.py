"""Whether the champion was a mistake: worse than the models before it on orders neither has seen, since it serves."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from preptime.bundle.bundle import Bundle, fetch_verified
from preptime.bundle.champion_log import ChampionLog, LogEntry
from preptime.bundle.manifest import bundle_date, to_json_object
from preptime.bundle.store import Store
from preptime.errors import DataError, UsageError
from preptime.evaluation.evaluated_orders import LOOKUP, EvaluatedOrders
from preptime.evaluation.metrics import MAE, compute_interval
from preptime.training.comparison import Comparison, PromotionCheck, evaluate_bundle
from preptime.training.promotion import ONE_DAY
from preptime.training.publishing import AuditActor, publish_refresh
from preptime.training.refresh import build_champion_history
from preptime.training.training_data import TrainingData

MIN_REVIEW_ORDERS = 200
"""As for a segment at the promotion gate (D7): fewer say too little."""
MIN_RELATIVE_REGRESSION = 0.02
"""Share of the other's mean error. Going back costs everybody the newer models; a hundredth is not worth it."""
MIN_STANDARD_ERRORS = 3.0
"""Of the difference on the same orders: by chance alone once in 700 reviews."""

ReviewOutcome = Literal["rolled_back", "kept"]


class ChampionReview(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the review of a morning found, and what was done about it."""

    outcome: ReviewOutcome
    champion: str | None
    """The champion that was reviewed."""
    previous: str | None
    """The latest champion before it with other models."""
    comparison: Comparison | None
    """Both on the days since it serves that neither was fitted on: it as `challenger`, the one before as `champion`.
    Null without such days."""
    reason: str


def review_champion(
    data: TrainingData, store: Store, date: dt.date, actor: AuditActor, *, allow_rollback: bool
) -> ChampionReview:
    """Review the champion on the morning of `date`; where it is worse and `may_roll_back`, the one before returns.

    `corpus` holds completed orders; only what was known that morning is looked at. The champion log says what was
    done: a second run on the same date ends what the first began, and does nothing twice. Reviewed is the champion of
    that morning; where later ones followed nothing is done about it, and one that a person promoted past the comparison
    is left alone. What returns is verified, and published with this morning's history.

    Raises `BundleVerificationError` for a bundle that fails verification, `UsageError` for one that a past morning needs and
    the store no longer has, `StoreError` when someone else promoted meanwhile.
    """
    log = ChampionLog(store)
    earlier = _earlier_review(log, date)
    if earlier is not None:
        _roll_back(earlier, data, store, date, actor)
        return earlier
    candidate = _find_candidate(log, store, date)
    if isinstance(candidate, ChampionReview):
        return candidate
    result = _evaluate_candidate(
        data,
        fetch_verified(store, candidate.champion),
        fetch_verified(store, candidate.previous),
        candidate.serving_since,
        date,
    )
    if result.outcome == "rolled_back":
        if _has_later_champion(log, date):
            explanation = "A champion of a later date followed; a backfill changes nothing."
            return msgspec.structs.replace(result, outcome="kept", reason=f"{explanation} {result.reason}")
        if not allow_rollback:
            return msgspec.structs.replace(result, outcome="kept", reason=f"Rolling back is forbidden. {result.reason}")
        _roll_back(result, data, store, date, actor)
    return result


@dataclass(frozen=True, slots=True)
class _ReviewCandidate:
    """A champion that may be reviewed, and what it would give way to."""

    champion: str
    previous: str
    serving_since: dt.date
    """The date from which its models serve."""


def _find_candidate(log: ChampionLog, store: Store, date: dt.date) -> _ReviewCandidate | ChampionReview:
    """The champion of that morning and the models before it, or why it is left alone."""
    entry = log.as_of(date)
    if entry is None:
        return _keep_champion(None, None, "There is no champion yet.")
    first_entry = _first_entry_with_models(log, entry)
    previous_entry = log.rollback_target(first_entry)
    if previous_entry is None:
        return _keep_champion(entry.bundle, None, "There are no other models to go back to.")
    if first_entry.action in {"override", "rollback"}:
        action_text = "by a person" if first_entry.action == "override" else "by a rollback"
        return _keep_champion(
            entry.bundle,
            previous_entry.bundle,
            f"The champion's models were chosen {action_text}; that is not undone here.",
        )
    if not store.has_bundle(previous_entry.bundle):
        if _has_later_champion(log, date):
            raise UsageError(
                f"{previous_entry.bundle}, which served before, is not in {store.url} any more.",
                _retrain_hint(previous_entry),
            )
        return _keep_champion(
            entry.bundle, previous_entry.bundle, "The models before it are not in the store any more."
        )
    return _ReviewCandidate(entry.bundle, previous_entry.bundle, first_entry.date)


def _has_later_champion(log: ChampionLog, date: dt.date) -> bool:
    current = log.current()
    return current is not None and current.date > date


def _retrain_hint(entry: LogEntry) -> str:
    return f"Run preptime train --date {bundle_date(entry.bundle)} again first."


def training_bundle_of(store: Store, bundle_id: str) -> str:
    """The training whose models a champion has: its parent's, or its own. Neither need be in the store any more."""
    return ChampionLog(store).training_by_refresh().get(bundle_id, bundle_id)


def _reason_prefix(date: dt.date) -> str:
    """How the reason of a rollback begins that a review made: by it a second run knows the first."""
    return f"Review of {date}. "


def _earlier_review(log: ChampionLog, date: dt.date) -> ChampionReview | None:
    """The review of this date, if it ended in a rollback before: the log keeps all of it."""
    prefix = _reason_prefix(date)
    for entry in log.entries():
        if entry.action == "rollback" and entry.reason.startswith(prefix) and entry.comparison is not None:
            comparison = msgspec.convert(entry.comparison, Comparison)
            return ChampionReview(
                outcome="rolled_back",
                champion=comparison.challenger,
                previous=comparison.champion,
                comparison=comparison,
                reason=entry.reason.removeprefix(prefix),
            )
    return None


def _roll_back(result: ChampionReview, data: TrainingData, store: Store, date: dt.date, actor: AuditActor) -> None:
    """Roll back until the models before serve, then give them this morning's history; what is done is not done again.

    A refresh of the worse models is undone as well as their promotion, so it may take several steps.
    """
    if result.champion is None or result.previous is None or result.comparison is None:
        return
    log = ChampionLog(store)
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
        champion = fetch_verified(store, entry.bundle)
        if champion.manifest.date < date:
            history = build_champion_history(champion, data.as_of(date), date)
            publish_refresh(
                store, champion, history, expected_current=entry, actor=actor, reason=f"After the review of {date}."
            )


def _first_entry_with_models(log: ChampionLog, entry: LogEntry) -> LogEntry:
    """The entry that brought the champion's models: refreshes stand on it."""
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
            champion_manifest.id, previous_manifest.id, "There is no order yet that neither has seen since it serves."
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
    """Whether the champion is no worse than the models before: by little, or by what chance may make of it."""
    rule = (
        f"Not worse than the models before by {MIN_RELATIVE_REGRESSION:.0%} and {MIN_STANDARD_ERRORS:g} standard errors"
    )
    if len(champion_orders) < MIN_REVIEW_ORDERS:
        return PromotionCheck(
            rule, f"{len(champion_orders):,} orders are too few, {MIN_REVIEW_ORDERS} are needed.", passed=True
        )
    previous_errors = np.abs(previous_orders.default_predictions - previous_orders.actual)
    differences = np.abs(champion_orders.default_predictions - champion_orders.actual) - previous_errors
    difference, previous_mae = float(differences.mean()), float(previous_errors.mean())
    standard_error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    is_worse = difference > MIN_RELATIVE_REGRESSION * previous_mae and difference > MIN_STANDARD_ERRORS * standard_error
    mae_text = f"MAE {previous_mae + difference:.1f} s against {previous_mae:.1f} s on the same {len(champion_orders):,} orders"
    return PromotionCheck(
        rule, f"{mae_text} ({difference:+.1f} s, standard error {standard_error:.1f} s).", passed=not is_worse
    )


def _keep_champion(champion: str | None, previous: str | None, reason: str) -> ChampionReview:
    return ChampionReview(outcome="kept", champion=champion, previous=previous, comparison=None, reason=reason)
