"""Trains a challenger: the gate's walk-forward, the refit on all days, and the bundle in the store."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import msgspec

from preptime.bundle.golden import choose_golden_orders
from preptime.bundle.manifest import (
    EVALUATION_FILE,
    REPORT_FILE,
    Manifest,
    ManifestDraft,
    ModelDetails,
    TrainingWindow,
    to_json_object,
)
from preptime.bundle.store import Store
from preptime.bundle.writer import write_bundle
from preptime.domain.orders import DEFAULT_MODEL
from preptime.evaluation.documents import BacktestDocument
from preptime.evaluation.evaluated_orders import EvaluatedOrders, build_backtest_document
from preptime.evaluation.report import LabelAuditRow, ReportContext, render_report
from preptime.evaluation.report_data import LabelCount, ReportData, encode, importance_shares, summarize_predictions
from preptime.evaluation.summary_text import weak_models
from preptime.features.shrinkage import build_history
from preptime.models.catalogue import hyperparameters
from preptime.models.custom import CustomModel
from preptime.models.model import Model
from preptime.progress import ProgressCallback
from preptime.schema.schema import Schema
from preptime.training.as_of_features import build_feature_matrix
from preptime.training.backtest import select_days
from preptime.training.fitting import FitPlan, FittedWindow, check_plan, fit_window
from preptime.training.gate import has_better_live_model, walk_forward
from preptime.training.requirements import choose_mode
from preptime.training.training_data import ONE_DAY, TrainingData
from preptime.validation.audit import AuditedOrders
from preptime.validation.audit_report import summarize_audit

if TYPE_CHECKING:
    from preptime.sources.data_versions import DataRevisions

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


@dataclass(frozen=True)
class Challenger:
    """A trained bundle in the store, and the predictions of the gate."""

    manifest: Manifest
    fitted: FittedWindow
    evaluated: EvaluatedOrders | None
    """The gate's predictions of its days. None without the gate."""
    evaluation: BacktestDocument | None


def train_challenger(
    audited: AuditedOrders,
    data: TrainingData,
    date: dt.date,
    store: Store,
    *,
    plan: FitPlan,
    schema: Schema,
    with_gate: bool,
    with_report: bool,
    revisions: DataRevisions | None,
    progress: ProgressCallback,
) -> Challenger:
    """Predict the gate's days, refit on all days, and write the bundle with the history as of `date`.

    `data` has the orders known as of `date`, and `audited` the rows they come from. They have no shortfalls (see
    `preptime.training.requirements`). The vocabularies of custom categories are those of the refit. Raises the same
    errors as `preptime.training.train.train`.
    """
    mode, last_day = choose_mode(data, date), date - ONE_DAY
    first_gate_day = max(date - mode.gate_days * ONE_DAY, (plan.offered_through or dt.date.min) + ONE_DAY)
    data = data.with_common_categories(date)
    features = build_feature_matrix(data, data.first_day, last_day, progress)
    if mode.is_reduced:
        plan = plan.reduced(features.data.restaurants.feature_set)
    check_plan(plan, features, first_gate_day - ONE_DAY, progress)
    evaluated = walk_forward(features, first_gate_day, last_day, plan, progress) if with_gate else None
    evaluation = None
    if evaluated is not None:
        evaluation = build_backtest_document(evaluated, first_gate_day.isoformat(), last_day.isoformat())
        plan = replace(plan, with_live_model=has_better_live_model(evaluated))
    fitted = fit_window(features, last_day, plan, progress, min_calibration_orders=mode.min_calibration_orders)
    gate_window = None if evaluated is None else (first_gate_day, last_day)
    draft = _draft_manifest(
        data,
        date,
        fitted,
        evaluation,
        gate_window,
        schema=schema.without_models(),
        revisions=revisions,
        details={name: model_details(model) for name, model in plan.models.items()},
    )
    extra_files = {}
    if evaluated is not None:
        extra_files[EVALUATION_FILE] = encode(_build_report_data(audited, fitted, evaluated))
        if with_report:
            extra_files[REPORT_FILE] = _render_training_report(audited, draft, fitted, evaluated).encode()
    progress("Report", 1.0)
    state = data.initial_state(data.is_history)
    manifest = write_bundle(
        store,
        draft,
        graphs=fitted.model_files(),
        history=build_history(state, data.restaurants, date),
        golden_orders=choose_golden_orders(select_days(features, first_gate_day, last_day).orders),
        extra_files=extra_files,
    )
    return Challenger(manifest, fitted, evaluated, evaluation)


def model_details(model: Model) -> ModelDetails:
    """Return what a manifest records about a model: hyperparameters, and the name and hash of a custom model's file."""
    if isinstance(model, CustomModel):
        source = ":".join(filter(None, (model.code.path.name, model.code.class_name)))
        return ModelDetails(
            hyperparameters=hyperparameters(model),
            source=source if model.code.name == model.name else f"{source} ({model.code.name})",
            sha256=model.sha256,
            fitted_through=model.fitted_through,
        )
    return ModelDetails(hyperparameters=hyperparameters(model))


def _draft_manifest(
    data: TrainingData,
    date: dt.date,
    fitted: FittedWindow,
    evaluation: BacktestDocument | None,
    gate_window: tuple[dt.date, dt.date] | None,
    *,
    schema: Schema,
    revisions: DataRevisions | None,
    details: dict[str, ModelDetails],
) -> ManifestDraft:
    return ManifestDraft(
        kind="training",
        date=date,
        schema=schema,
        window=TrainingWindow(
            first_day=data.first_day,
            last_day=fitted.fitted_through,
            fitted_through=fitted.fitted_through,
            gated_from=None if gate_window is None else gate_window[0],
            gated_through=None if gate_window is None else gate_window[1],
            sample=msgspec.UNSET if data.earlier is None else data.earlier.sample,
        ),
        models=fitted.names,
        model_details=details,
        weak_models=() if evaluation is None else weak_models(evaluation),
        calibration=to_json_object(fitted.calibration),
        live_calibration=None if fitted.live_calibration is None else to_json_object(fitted.live_calibration),
        data_fingerprint=data.fingerprint(),
        dvc_revision=revisions.dvc if revisions else None,
        git_revision=revisions.git if revisions else None,
        metrics={} if evaluation is None else to_json_object(evaluation),
        libraries=_library_versions(),
    )


def _render_training_report(
    audited: AuditedOrders, draft: ManifestDraft, fitted: FittedWindow, evaluated: EvaluatedOrders
) -> str:
    first_day, last_day = draft.window.gated_from, draft.window.gated_through
    importance = fitted.importance[DEFAULT_MODEL]
    return render_report(
        ReportContext(
            bundle_id=f"trained for {draft.date}",
            date=draft.date.isoformat(),
            training_window=(draft.window.first_day.isoformat(), draft.window.last_day.isoformat()),
            orders_used=fitted.orders,
            data_fingerprint=draft.data_fingerprint,
            evaluated_days=(str(first_day), str(last_day)),
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
