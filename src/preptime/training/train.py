"""`train`: gate on the data, history, features, fit, calibrate, export, compare, then promote or refresh."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

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
from preptime.features.history import build_history
from preptime.features.history_state import HistoryState
from preptime.features.restaurant_index import RestaurantIndex
from preptime.features.spec import FEATURE_NAMES
from preptime.progress import ProgressCallback, no_progress
from preptime.sources.data_versions import DataRevisions
from preptime.training.as_of_features import build_feature_matrix
from preptime.training.backtest import evaluate_graph, select_days
from preptime.training.comparison import Comparison
from preptime.training.fitting import FitPlan, FittedWindow, fit_window
from preptime.training.promotion import ONE_DAY, PromotionOutcome, decide_promotion
from preptime.training.publishing import AuditActor
from preptime.training.training_data import TrainingData, rows_as_of
from preptime.validation.audit import AuditedOrders
from preptime.validation.audit_report import summarize_audit
from preptime.validation.data_gate import GateResult, GateThresholds, evaluate_gate, gate_error

HOLDOUT_DAYS = 7
"""A whole week: weekdays and weekends differ."""
SHORT_HOLDOUT_DAYS = 3
"""With fewer than `LONG_WINDOW_DAYS` of data a week held out would cost more than it tells."""
LONG_WINDOW_DAYS = 28

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
"""The format of `training.json`: docs/daily-run.md."""


class TrainDocument(msgspec.Struct, frozen=True):
    """`training.json`, and the document of `train --json`. No clock, no path: the same contents, the same bytes."""

    date: dt.date
    bundle: str
    outcome: PromotionOutcome
    reason: str
    champion: str | None
    """The champion of the morning of `date` afterwards, whoever serves by now."""
    comparison: Comparison | None
    evaluation: BacktestDocument
    """The challenger on the days held out."""
    data_gate: GateResult
    orders: int
    """Orders fitted on."""
    parity_seconds: dict[str, float]
    """Largest |ONNX − estimator| over the training matrix, by model."""
    format: int = FORMAT


@dataclass(frozen=True)
class Challenger:
    """A trained bundle in the store, and what it answered on the days held out."""

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
    allow_promotion: bool = True,
    with_report: bool = True,
    revisions: DataRevisions | None = None,
    progress: ProgressCallback = no_progress,
) -> TrainDocument:
    """Train on what was known on the morning of `date`, and let the comparison decide what serves.

    Without `report` the bundle carries no pictures, and a small training is done in half the time. `revisions` are
    those of the orders, for the manifest.

    Raises `DataError` when the data gate refuses or too few days are known (nothing is written then), `OperationError` when
    the export differs from the estimators, `BundleVerificationError` when the champion fails verification and `StoreError`
    when someone else promoted meanwhile (the challenger is kept then).
    """
    gate_result = evaluate_gate(audited, date, thresholds or GateThresholds())
    if not gate_result.passed:
        raise gate_error(gate_result)
    audited_as_of = rows_as_of(audited, restaurants, date)
    data = TrainingData.from_orders(audited_as_of, restaurants).as_of(date)
    challenger = train_challenger(
        audited_as_of, data, date, store, plan=plan, with_report=with_report, revisions=revisions, progress=progress
    )
    decision = decide_promotion(
        challenger.manifest, challenger.evaluated, data, store, actor, allow_promotion=allow_promotion
    )
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


def train_challenger(
    audited: AuditedOrders,
    data: TrainingData,
    date: dt.date,
    store: Store,
    *,
    plan: FitPlan,
    with_report: bool = True,
    revisions: DataRevisions | None = None,
    progress: ProgressCallback = no_progress,
) -> Challenger:
    """Fit, evaluate on the days held out, and write the bundle; its history reaches `date`.

    `corpus` is what was known on that morning, `audited` the rows it is of. Raises as `train` does.
    """
    last_day = date - ONE_DAY
    last_fitted_day = _last_fitted_day(data, date)
    features = build_feature_matrix(data, data.first_day, last_day, progress)
    held_out = select_days(features, last_fitted_day + ONE_DAY, last_day)
    if not data.is_evaluation[held_out.rows].any():
        raise DataError(
            f"No order from {last_fitted_day + ONE_DAY} to {last_day} has a label to evaluate on.",
            "Take an earlier date, or the orders of those days.",
        )
    fitted = fit_window(features, last_fitted_day, plan, progress)
    evaluated = evaluate_graph(held_out, fitted.load_graph(features.X.shape[1]), fitted.label_limit_seconds)
    history = build_history(
        HistoryState.from_orders(data.restaurants, data.completed.take(data.is_history)), data.restaurants, date
    )
    window = TrainingWindow(
        first_day=data.first_day,
        last_day=last_fitted_day,
        fitted_through=last_fitted_day,
        gate_days=(last_day - last_fitted_day).days,
    )
    evaluation = build_backtest_document(evaluated, (last_fitted_day + ONE_DAY).isoformat(), last_day.isoformat())
    draft = ManifestDraft(
        kind="training",
        date=date,
        window=window,
        models=fitted.names,
        calibration=to_json_object(fitted.calibration),
        data_fingerprint=data.fingerprint(),
        dvc_revision=revisions.dvc if revisions else None,
        git_revision=revisions.git if revisions else None,
        metrics=to_json_object(evaluation),
        libraries=_library_versions(),
    )
    extra = {EVALUATION_FILE: encode(_build_report_data(audited, fitted, evaluated))}
    if with_report:
        extra[REPORT_FILE] = _render_training_report(audited, draft, fitted, evaluated).encode()
    progress("Report", 1.0)
    manifest = write_bundle(
        store,
        draft,
        model=fitted.graph,
        history=history,
        golden_orders=choose_golden_orders(held_out.orders),
        extra_files=extra,
    )
    return Challenger(manifest, fitted, evaluated, evaluation)


def holdout_days(data: TrainingData, date: dt.date) -> int:
    """How many of the latest days are left out of fitting, so that a comparison has orders nobody has seen."""
    return HOLDOUT_DAYS if (date - data.first_day).days >= LONG_WINDOW_DAYS else SHORT_HOLDOUT_DAYS


def _last_fitted_day(data: TrainingData, date: dt.date) -> dt.date:
    """The day before those that are held out. Raises `DataError` when no day is before it."""
    last_fitted_day = date - dt.timedelta(days=1 + holdout_days(data, date))
    if data.first_day >= last_fitted_day:
        raise DataError(
            f"Orders are known from {data.first_day} on, and the {holdout_days(data, date)} days before {date} "
            "are held out for the comparison, which leaves none to learn from.",
            "Take a later date, or more orders.",
        )
    return last_fitted_day


def _render_training_report(
    audited: AuditedOrders, draft: ManifestDraft, fitted: FittedWindow, evaluated: EvaluatedOrders
) -> str:
    first_day, last_day = draft.window.fitted_through + ONE_DAY, draft.date - ONE_DAY
    importance = fitted.importance[DEFAULT_MODEL]
    reasons = summarize_audit(audited, 0).reasons
    return render_report(
        ReportContext(
            bundle_id=f"trained for {draft.date}",
            date=draft.date.isoformat(),
            training_window=(draft.window.first_day.isoformat(), draft.window.last_day.isoformat()),
            orders_used=fitted.orders,
            data_fingerprint=draft.data_fingerprint,
            evaluated_days=(first_day.isoformat(), last_day.isoformat()),
            orders=evaluated,
            importances=dict(zip(FEATURE_NAMES, importance.tolist(), strict=True)),
            label_audit=tuple(
                LabelAuditRow(
                    reason_row.reason, reason_row.rows, reason_row.meaning, ", ".join(reason_row.excluded_from)
                )
                for reason_row in reasons
            ),
            rows_read=len(audited),
        )
    )


def _build_report_data(audited: AuditedOrders, fitted: FittedWindow, evaluated: EvaluatedOrders) -> ReportData:
    return ReportData(
        predictions=summarize_predictions(evaluated),
        importance={
            name: importance_shares(dict(zip(FEATURE_NAMES, values.tolist(), strict=True)))
            for name, values in fitted.importance.items()
        },
        orders_fitted=fitted.orders,
        rows_read=len(audited),
        label_counts=tuple(
            LabelCount(reason_row.reason, reason_row.rows) for reason_row in summarize_audit(audited, 0).reasons
        ),
    )


def _library_versions() -> dict[str, str]:
    """The versions of the libraries that decide what a bundle holds, of those that are installed."""

    def installed() -> Iterator[tuple[str, str]]:
        for name in RECORDED_LIBRARIES:
            try:
                yield name, version(name)
            except PackageNotFoundError:
                continue

    return dict(installed())
