"""`preptime train`: data gate, features, fit, evaluation on the holdout, bundle, comparison, promotion or refresh."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import msgspec

from preptime.bundle.bundle import choose_golden_orders
from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.manifest import (
    EVALUATION_FILE,
    REPORT_FILE,
    Manifest,
    ManifestDraft,
    TrainingWindow,
    to_json_object,
)
from preptime.bundle.store import Store
from preptime.bundle.writer import write_bundle
from preptime.domain.orders import DEFAULT_MODEL
from preptime.errors import DataError
from preptime.evaluation.documents import BacktestDocument
from preptime.evaluation.evaluated_orders import EvaluatedOrders, build_backtest_document
from preptime.evaluation.report import LabelAuditRow, ReportContext, render_report
from preptime.evaluation.report_data import LabelCount, ReportData, encode, importance_shares, summarize_predictions
from preptime.features.feature_set import FeatureSet
from preptime.features.history_state import HistoryState
from preptime.features.restaurant_index import RestaurantIndex
from preptime.features.shrinkage import build_history
from preptime.progress import ProgressCallback, no_progress
from preptime.schema.schema import Schema
from preptime.training.as_of_features import build_feature_matrix
from preptime.training.backtest import evaluate_graph, select_days
from preptime.training.calibration import MIN_CALIBRATION_ORDERS
from preptime.training.comparison import Comparison
from preptime.training.fitting import FitPlan, FittedWindow, fit_shortfall, fit_window
from preptime.training.promotion import PromotionOutcome, decide_promotion
from preptime.training.publishing import AuditActor
from preptime.training.training_data import ONE_DAY, TrainingData, date_from_day_number, day_number, rows_as_of
from preptime.validation.audit import AuditedOrders
from preptime.validation.audit_report import summarize_audit
from preptime.validation.data_gate import GateResult, GateThresholds, Shortfall, evaluate_gate, gate_error

if TYPE_CHECKING:
    from preptime.sources.data_versions import DataRevisions

HOLDOUT_DAYS = 7
"""A whole week, because weekdays and weekends differ."""
SHORT_HOLDOUT_DAYS = 3
"""The holdout for less than `LONG_WINDOW_DAYS` of data, where a week would be too large a share."""
LONG_WINDOW_DAYS = 28
MIN_FITTED_DAYS = 2
"""The features of a window's first day have no history, so one day is too few to fit on."""

RECORDED_LIBRARIES = (
    "catboost",
    "numpy",
    "onnx",
    "onnxmltools",
    "onnxruntime",
    "polars",
    "preptime",
    "scikit-learn",
    "skl2onnx",
    "xgboost",
    "xgboost-cpu",
)

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
    evaluation: BacktestDocument
    """The challenger's metrics on the holdout."""
    data_gate: GateResult
    orders: int
    """Orders that the models were fitted on."""
    parity_seconds: dict[str, float]
    """Largest |ONNX − estimator| over the training matrix by model, in seconds."""
    format: int = FORMAT


@dataclass(frozen=True)
class Challenger:
    """A trained bundle in the store, and its predictions for the holdout."""

    manifest: Manifest
    fitted: FittedWindow
    evaluated: EvaluatedOrders
    evaluation: BacktestDocument


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
    with_report: bool = True,
    revisions: DataRevisions | None = None,
    progress: ProgressCallback = no_progress,
) -> TrainDocument:
    """Train a challenger on the orders known as of `date`, and decide on its promotion.

    `schema` is that of the bundle. The default is that of the orders, whose columns have canonical names if they are
    from a database. Without `with_report`, the bundle has no HTML report, which halves the duration of a small
    training. `revisions` are those of the orders, for the manifest.

    Raises:
        DataError: The data gate failed, or there are too few days. Nothing is written.
        OperationError: The export differs from the estimators.
        BundleVerificationError: The champion failed verification. The challenger stays in the store.
        UsageError: The champion is missing in the store. The challenger stays in the store.
        StoreError: Another process promoted a bundle meanwhile. The challenger stays in the store.
    """
    audited_as_of = rows_as_of(audited, restaurants, date)
    gate_result = evaluate_gate(audited, date, thresholds or GateThresholds())
    _require_enough(gate_result, audited_as_of, restaurants, date)
    schema = schema or audited.schema
    index = replace(restaurants, feature_set=FeatureSet.from_schema(schema))
    data = TrainingData.from_orders(audited_as_of, index).as_of(date)
    challenger = train_challenger(
        audited_as_of,
        data,
        date,
        store,
        plan=plan,
        schema=schema,
        with_report=with_report,
        revisions=revisions,
        progress=progress,
    )
    manifest, evaluated = challenger.manifest, challenger.evaluated
    decision = decide_promotion(manifest, evaluated, data, store, actor, allow_promotion=allow_promotion)
    champion = ChampionLog(store).as_of(date)
    return TrainDocument(
        date=date,
        bundle=challenger.manifest.id,
        outcome=decision.outcome,
        reason=decision.reason,
        champion=champion.bundle if champion else None,
        comparison=decision.comparison,
        evaluation=challenger.evaluation,
        data_gate=gate_result,
        orders=challenger.fitted.orders,
        parity_seconds=challenger.fitted.parity_seconds,
    )


def _require_enough(
    gate_result: GateResult, audited: AuditedOrders, restaurants: RestaurantIndex, date: dt.date
) -> None:
    """Raise `DataError` if the data gate failed, or if the orders known as of `date` are too few to train on."""
    shortfalls = find_shortfalls(audited, restaurants, date)
    if shortfalls or not gate_result.passed:
        raise gate_error(gate_result, shortfalls)


def train_challenger(
    audited: AuditedOrders,
    data: TrainingData,
    date: dt.date,
    store: Store,
    *,
    plan: FitPlan,
    schema: Schema | None = None,
    with_report: bool = True,
    revisions: DataRevisions | None = None,
    progress: ProgressCallback = no_progress,
) -> Challenger:
    """Fit, evaluate on the holdout, and write the bundle with the history as of `date`.

    `data` has the orders known as of `date`, and `audited` the rows they come from. They have no shortfalls (see
    `find_shortfalls`). Raises the same errors as `train`.
    """
    last_day = date - ONE_DAY
    last_fitted_day = _last_fitted_day(data, date)
    data = data.with_common_categories(last_fitted_day + ONE_DAY)
    features = build_feature_matrix(data, data.first_day, last_day, progress)
    holdout = select_days(features, last_fitted_day + ONE_DAY, last_day)
    fitted = fit_window(features, last_fitted_day, plan, progress)
    evaluated = evaluate_graph(holdout, fitted.load_graph(features.X.shape[1]), fitted.label_limit_seconds)
    evaluation = build_backtest_document(evaluated, (last_fitted_day + ONE_DAY).isoformat(), last_day.isoformat())
    draft = _draft_manifest(data, date, fitted, evaluation, schema=schema or audited.schema, revisions=revisions)
    extra_files = {EVALUATION_FILE: encode(_build_report_data(audited, fitted, evaluated))}
    if with_report:
        extra_files[REPORT_FILE] = _render_training_report(audited, draft, fitted, evaluated).encode()
    progress("Report", 1.0)
    state = HistoryState.from_orders(data.restaurants, data.completed.take(data.is_history))
    manifest = write_bundle(
        store,
        draft,
        model=fitted.graph,
        history=build_history(state, data.restaurants, date),
        golden_orders=choose_golden_orders(holdout.orders),
        extra_files=extra_files,
    )
    return Challenger(manifest, fitted, evaluated, evaluation)


def holdout_days(data: TrainingData, date: dt.date) -> int:
    """Return the number of latest days that aren't fitted on, so that bundles can be compared on them."""
    return HOLDOUT_DAYS if (date - data.first_day).days >= LONG_WINDOW_DAYS else SHORT_HOLDOUT_DAYS


def _last_fitted_day(data: TrainingData, date: dt.date) -> dt.date:
    """Return the day before the holdout."""
    return date - (1 + holdout_days(data, date)) * ONE_DAY


def find_shortfalls(audited: AuditedOrders, restaurants: RestaurantIndex, date: dt.date) -> tuple[Shortfall, ...]:
    """Return everything that training as of `date` needs and the orders known as of `date` don't have.

    These requirements have no option. `train` checks them together with the data gate, before any fit.
    """
    try:
        data = TrainingData.from_orders(audited, restaurants).as_of(date)
    except DataError as error:
        return (Shortfall(error.facts, error.hint),)
    last_fitted_day = _last_fitted_day(data, date)
    least_days = holdout_days(data, date) + MIN_FITTED_DAYS
    shortfalls = []
    if data.first_day > last_fitted_day - (MIN_FITTED_DAYS - 1) * ONE_DAY:
        first_day = date - least_days * ONE_DAY
        shortfalls.append(
            Shortfall(
                f"Training needs {least_days} days: {MIN_FITTED_DAYS} to fit on, and {least_days - MIN_FITTED_DAYS} "
                f"held out. The first completed order is of {data.first_day}.",
                f"Provide orders from {first_day} or earlier, with at least {MIN_CALIBRATION_ORDERS} that were "
                f"ready on {last_fitted_day} for the calibration.",
                least_days=least_days,
            )
        )
    elif (fit := fit_shortfall(data, last_fitted_day)) is not None:
        shortfalls.append(fit)
    if not data.is_evaluation[data.acknowledged_day > day_number(last_fitted_day)].any():
        shortfalls.append(
            Shortfall(
                f"No order from {last_fitted_day + ONE_DAY} to {date - ONE_DAY} has a label for the evaluation.",
                f"Provide the outcomes of those days{_date_suggestion(data)}.",
                resolved_checks=("freshness",),
            )
        )
    return tuple(shortfalls)


def _date_suggestion(data: TrainingData) -> str:
    """Return the option for the day after the last label, if there is a label."""
    days = data.acknowledged_day[data.is_evaluation]
    return f", or use --date {date_from_day_number(int(days.max()) + 1)}" if len(days) else ""


def _draft_manifest(
    data: TrainingData,
    date: dt.date,
    fitted: FittedWindow,
    evaluation: BacktestDocument,
    *,
    schema: Schema,
    revisions: DataRevisions | None,
) -> ManifestDraft:
    return ManifestDraft(
        kind="training",
        date=date,
        schema=schema,
        window=TrainingWindow(
            first_day=data.first_day,
            last_day=fitted.fitted_through,
            fitted_through=fitted.fitted_through,
            gate_days=holdout_days(data, date),
        ),
        models=fitted.names,
        calibration=to_json_object(fitted.calibration),
        data_fingerprint=data.fingerprint(),
        dvc_revision=revisions.dvc if revisions else None,
        git_revision=revisions.git if revisions else None,
        metrics=to_json_object(evaluation),
        libraries=_library_versions(),
    )


def _render_training_report(
    audited: AuditedOrders, draft: ManifestDraft, fitted: FittedWindow, evaluated: EvaluatedOrders
) -> str:
    first_day, last_day = draft.window.fitted_through + ONE_DAY, draft.date - ONE_DAY
    importance = fitted.importance[DEFAULT_MODEL]
    return render_report(
        ReportContext(
            bundle_id=f"trained for {draft.date}",
            date=draft.date.isoformat(),
            training_window=(draft.window.first_day.isoformat(), draft.window.last_day.isoformat()),
            orders_used=fitted.orders,
            data_fingerprint=draft.data_fingerprint,
            evaluated_days=(first_day.isoformat(), last_day.isoformat()),
            orders=evaluated,
            importances=dict(zip(fitted.features.names, importance.tolist(), strict=True)),
            label_audit=tuple(
                LabelAuditRow(
                    reason_row.reason, reason_row.rows, reason_row.meaning, ", ".join(reason_row.excluded_from)
                )
                for reason_row in summarize_audit(audited, 0).reasons
            ),
            rows_read=len(audited),
            target=draft.schema.target,
            feature_titles=fitted.features.titles,
        )
    )


def _build_report_data(audited: AuditedOrders, fitted: FittedWindow, evaluated: EvaluatedOrders) -> ReportData:
    return ReportData(
        predictions=summarize_predictions(evaluated),
        importance={
            name: importance_shares(dict(zip(fitted.features.names, values.tolist(), strict=True)))
            for name, values in fitted.importance.items()
        },
        orders_fitted=fitted.orders,
        rows_read=len(audited),
        label_counts=tuple(
            LabelCount(reason_row.reason, reason_row.rows) for reason_row in summarize_audit(audited, 0).reasons
        ),
    )


def _library_versions() -> dict[str, str]:
    """Return the versions of the installed libraries that affect the content of a bundle."""

    def installed() -> Iterator[tuple[str, str]]:
        for name in RECORDED_LIBRARIES:
            try:
                yield name, version(name)
            except PackageNotFoundError:
                continue

    return dict(installed())
