"""`preptime train`: data gate, challenger, comparison, and promotion or refresh."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.store import Store
from preptime.evaluation.documents import BacktestDocument
from preptime.features.feature_set import FeatureSet
from preptime.features.restaurant_index import RestaurantIndex
from preptime.progress import ProgressCallback, no_progress
from preptime.schema.schema import Schema
from preptime.training.challenger import Challenger, train_challenger
from preptime.training.comparison import Comparison
from preptime.training.fitting import FitPlan
from preptime.training.promotion import PromotionDecision, PromotionOutcome, decide_promotion
from preptime.training.publishing import AuditActor
from preptime.training.requirements import choose_mode, find_shortfalls, find_store_shortfalls
from preptime.training.training_data import EarlierOrders, TrainingData, rows_as_of
from preptime.validation.audit import AuditedOrders
from preptime.validation.data_gate import GateResult, GateThresholds, gate_error
from preptime.validation.gate_checks import evaluate_gate

if TYPE_CHECKING:
    from preptime.sources.data_versions import DataRevisions

NO_GATE_REASON = "Trained without the gate (--quick), so it can't be promoted."
FORMAT = 1
"""The format of `training.json` (docs/daily-run.md)."""


class TrainDocument(msgspec.Struct, frozen=True):
    """The content of `training.json` and the output of `preptime train --json`.

    It has no time of day and no path, so equal inputs give equal bytes.
    """

    date: dt.date
    bundle: str
    """The challenger."""
    outcome: PromotionOutcome
    reason: str
    champion: str | None
    """The champion as of `date` after this run. The current champion can have a later date."""
    comparison: Comparison | None
    evaluation: BacktestDocument | None
    """The metrics of the gate's predictions. None for a training without the gate."""
    data_gate: GateResult
    orders: int
    """Orders that the models were fitted on."""
    parity_seconds: dict[str, float]
    """Largest |ONNX − estimator| over the training matrix by model, in seconds."""
    reduced_reason: str | None = None
    """Why only the lookup and `quantile` were trained. None if all models were."""
    format: int = FORMAT


def train(
    audited: AuditedOrders,
    restaurants: RestaurantIndex,
    date: dt.date,
    store: Store,
    actor: AuditActor,
    *,
    plan: FitPlan,
    thresholds: GateThresholds | None = None,
    schema: Schema | None = None,
    allow_promotion: bool = True,
    refresh_champion: bool = True,
    with_gate: bool = True,
    with_report: bool = True,
    revisions: DataRevisions | None = None,
    earlier: EarlierOrders | None = None,
    progress: ProgressCallback = no_progress,
) -> TrainDocument:
    """Train a challenger on the orders known as of `date`, and decide on its promotion.

    With few orders, only the lookup and `quantile` are trained (`preptime.training.requirements`). Without `with_gate`,
    training takes less than half the time, and nothing is promoted. Without `with_report`, the bundle has no HTML
    report. `schema` is that of the bundle, by default that of the orders, whose columns have canonical names in a
    database. A bundle that loses causes a refresh, unless `refresh_champion` is False.
    `earlier` are the orders before the window of a corpus.

    Raises:
        DataError: The data gate failed, or the data isn't enough. Nothing is written.
        OperationError: The export differs from the estimators.
        BundleVerificationError: The champion failed verification. The challenger stays in the store.
        UsageError: The champion predicts another target (nothing is written), or is missing in the store.
        StoreError: The store can't be written, or another process promoted a bundle meanwhile.
    """
    schema = schema or audited.schema
    gate_result, audited_as_of, data = _checked_data(
        audited, restaurants, date, store, schema=schema, thresholds=thresholds or GateThresholds()
    )
    data = replace(data, earlier=earlier)
    challenger = train_challenger(
        audited_as_of,
        data,
        date,
        store,
        plan=plan,
        schema=schema,
        with_gate=with_gate,
        with_report=with_report,
        revisions=revisions,
        progress=progress,
    )
    mode = choose_mode(data, date)
    decision = _decide(
        challenger,
        data,
        store,
        actor,
        allow_promotion=allow_promotion,
        reduced=mode.is_reduced,
        left_out=plan.left_out,
        refresh_champion=refresh_champion,
    )
    champion = ChampionLog(store).as_of(date)
    return _document(challenger, decision, gate_result, champion.bundle if champion else None, mode.reduced_reason)


def _checked_data(
    audited: AuditedOrders,
    restaurants: RestaurantIndex,
    date: dt.date,
    store: Store,
    *,
    schema: Schema,
    thresholds: GateThresholds,
) -> tuple[GateResult, AuditedOrders, TrainingData]:
    """Return the passed data gate, and the rows and orders known as of `date`. Raises `DataError` or `UsageError`."""
    gate_result = evaluate_gate(audited, date, thresholds)
    audited_as_of = rows_as_of(audited, restaurants, date)
    shortfalls = (*find_shortfalls(audited_as_of, restaurants, date), *find_store_shortfalls(store, schema, date))
    if shortfalls or not gate_result.passed:
        raise gate_error(gate_result, shortfalls)
    index = replace(restaurants, feature_set=FeatureSet.from_schema(schema))
    return gate_result, audited_as_of, TrainingData.from_orders(audited_as_of, index).as_of(date)


def _decide(
    challenger: Challenger,
    data: TrainingData,
    store: Store,
    actor: AuditActor,
    *,
    allow_promotion: bool,
    reduced: bool,
    left_out: tuple[str, ...],
    refresh_champion: bool,
) -> PromotionDecision:
    """Return the decision about a challenger. Without the gate, it's kept."""
    if challenger.evaluated is None:
        return PromotionDecision("kept", NO_GATE_REASON)
    return decide_promotion(
        challenger.manifest,
        challenger.evaluated,
        data,
        store,
        actor,
        allow_promotion=allow_promotion,
        reduced=reduced,
        left_out=left_out,
        refresh_champion=refresh_champion,
    )


def _document(
    challenger: Challenger,
    decision: PromotionDecision,
    gate_result: GateResult,
    champion: str | None,
    reduced_reason: str | None,
) -> TrainDocument:
    return TrainDocument(
        date=challenger.manifest.date,
        bundle=challenger.manifest.id,
        outcome=decision.outcome,
        reason=decision.reason,
        champion=champion,
        comparison=decision.comparison,
        evaluation=challenger.evaluation,
        data_gate=gate_result,
        orders=challenger.fitted.orders,
        parity_seconds=challenger.fitted.parity_seconds,
        reduced_reason=reduced_reason,
    )
