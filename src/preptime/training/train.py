"""`train`: gate on the data, history, features, fit, calibrate, export, compare, then promote or refresh."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import msgspec

from preptime.bundle.champions import ChampionLog
from preptime.bundle.golden import choose_golden
from preptime.bundle.manifest import EVALUATION, REPORT, Draft, Manifest, Window, document
from preptime.bundle.store import Store
from preptime.bundle.writing import write_bundle
from preptime.domain.prediction import DEFAULT_MODEL
from preptime.errors import DataError
from preptime.evaluation.documents import BacktestDocument
from preptime.evaluation.evaluated import EvaluatedOrders, backtest_document
from preptime.evaluation.pictured import LabelCount, Pictured, answered, encode, shares
from preptime.evaluation.report import AuditRow, ReportData, render_report
from preptime.features.directory import Directory
from preptime.features.history import build_history
from preptime.features.spec import FEATURE_NAMES
from preptime.features.state import HistoryState
from preptime.tables.audit import Audited
from preptime.tables.gate import GateResult, GateThresholds, gate, refusal
from preptime.tables.report import summary
from preptime.tables.revisions import Revisions
from preptime.training.backtest import between, evaluate
from preptime.training.corpus import Corpus, known_rows
from preptime.training.decide import ONE_DAY, Outcome, decide
from preptime.training.fit import FitPlan, FittedWindow, fit_window
from preptime.training.mornings import matrix
from preptime.training.progress import Progress, silent
from preptime.training.promote import Comparison
from preptime.training.publish import Who

HOLDOUT_DAYS = 7
"""A whole week: weekdays and weekends differ."""
SHORT_HOLDOUT_DAYS = 3
"""With fewer than `LONG_WINDOW_DAYS` of data a week held out would cost more than it tells."""
LONG_WINDOW_DAYS = 28

LIBRARIES = (
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
    outcome: Outcome
    reason: str
    champion: str | None
    """The champion of the morning of `date` afterwards, whoever serves by now."""
    comparison: Comparison | None
    evaluation: BacktestDocument
    """The challenger on the days held out."""
    gate: GateResult
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
    audited: Audited,
    directory: Directory,
    date: dt.date,
    store: Store,
    who: Who,
    *,
    plan: FitPlan,
    thresholds: GateThresholds | None = None,
    may_promote: bool = True,
    report: bool = True,
    revisions: Revisions | None = None,
    progress: Progress = silent,
) -> TrainDocument:
    """Train on what was known on the morning of `date`, and let the comparison decide what serves.

    Without `report` the bundle carries no pictures, and a small training is done in half the time. `revisions` are
    those of the orders, for the manifest.

    Raises `DataError` when the data gate refuses or too few days are known (nothing is written then), `FaultError` when
    the export differs from the estimators, `RefusedBundleError` when the champion fails verification and `StoreError`
    when someone else promoted meanwhile (the challenger is kept then).
    """
    passed = gate(audited, date, thresholds or GateThresholds())
    if not passed.passed:
        raise refusal(passed)
    known = known_rows(audited, directory, date)
    corpus = Corpus.of(known, directory).known_on(date)
    challenger = make_challenger(
        known, corpus, date, store, plan=plan, report=report, revisions=revisions, progress=progress
    )
    decision = decide(challenger.manifest, challenger.evaluated, corpus, store, who, may_promote=may_promote)
    champion = ChampionLog(store).as_of(date)
    return TrainDocument(
        date=date,
        bundle=challenger.manifest.id,
        outcome=decision.outcome,
        reason=decision.reason,
        champion=champion.bundle if champion else None,
        comparison=decision.comparison,
        evaluation=challenger.evaluation,
        gate=passed,
        orders=challenger.fitted.orders,
        parity_seconds=challenger.fitted.parity,
    )


def make_challenger(
    audited: Audited,
    corpus: Corpus,
    date: dt.date,
    store: Store,
    *,
    plan: FitPlan,
    report: bool = True,
    revisions: Revisions | None = None,
    progress: Progress = silent,
) -> Challenger:
    """Fit, evaluate on the days held out, and write the bundle; its history reaches `date`.

    `corpus` is what was known on that morning, `audited` the rows it is of. Raises as `train` does.
    """
    last_day = date - ONE_DAY
    through = _last_day_fitted(corpus, date)
    days = matrix(corpus, corpus.first_day, last_day, progress)
    held_out = between(days, through + ONE_DAY, last_day)
    if not corpus.evaluation[held_out.rows].any():
        raise DataError(
            f"No order from {through + ONE_DAY} to {last_day} has a label to evaluate on.",
            "Take an earlier date, or the orders of those days.",
        )
    fitted = fit_window(days, through, plan, progress)
    evaluated = evaluate(held_out, fitted.opened(days.X.shape[1]), fitted.fence_seconds)
    history = build_history(
        HistoryState.of(corpus.directory, corpus.completed.take(corpus.history)), corpus.directory, date
    )
    window = Window(
        first_day=corpus.first_day, last_day=through, fitted_through=through, gate_days=(last_day - through).days
    )
    evaluation = backtest_document(evaluated, (through + ONE_DAY).isoformat(), last_day.isoformat())
    draft = Draft(
        kind="training",
        date=date,
        window=window,
        models=fitted.names,
        calibration=document(fitted.calibration),
        data_fingerprint=corpus.fingerprint(),
        dvc_revision=revisions.dvc if revisions else None,
        git_revision=revisions.git if revisions else None,
        metrics=document(evaluation),
        libraries=_versions(),
    )
    extra = {EVALUATION: encode(_pictured(audited, fitted, evaluated))}
    if report:
        extra[REPORT] = _report(audited, draft, fitted, evaluated).encode()
    progress("Report", 1.0)
    manifest = write_bundle(
        store,
        draft,
        model=fitted.graph,
        history=history,
        golden=choose_golden(held_out.orders),
        extra=extra,
    )
    return Challenger(manifest, fitted, evaluated, evaluation)


def holdout_days(corpus: Corpus, date: dt.date) -> int:
    """How many of the latest days are left out of fitting, so that a comparison has orders nobody has seen."""
    return HOLDOUT_DAYS if (date - corpus.first_day).days >= LONG_WINDOW_DAYS else SHORT_HOLDOUT_DAYS


def _last_day_fitted(corpus: Corpus, date: dt.date) -> dt.date:
    """The day before those that are held out. Raises `DataError` when no day is before it."""
    through = date - dt.timedelta(days=1 + holdout_days(corpus, date))
    if corpus.first_day >= through:
        raise DataError(
            f"Orders are known from {corpus.first_day} on, and the {holdout_days(corpus, date)} days before {date} "
            "are held out for the comparison, which leaves none to learn from.",
            "Take a later date, or more orders.",
        )
    return through


def _report(audited: Audited, draft: Draft, fitted: FittedWindow, evaluated: EvaluatedOrders) -> str:
    first, last = draft.window.fitted_through + ONE_DAY, draft.date - ONE_DAY
    importance = fitted.importance[DEFAULT_MODEL]
    found = summary(audited, 0).reasons
    return render_report(
        ReportData(
            bundle_id=f"trained for {draft.date}",
            date=draft.date.isoformat(),
            training_window=(draft.window.first_day.isoformat(), draft.window.last_day.isoformat()),
            orders_used=fitted.orders,
            data_fingerprint=draft.data_fingerprint,
            evaluated_days=(first.isoformat(), last.isoformat()),
            orders=evaluated,
            importances=dict(zip(FEATURE_NAMES, importance.tolist(), strict=True)),
            audit=tuple(AuditRow(one.reason, one.rows, one.meaning, ", ".join(one.keeps_out_of)) for one in found),
            rows_read=len(audited),
        )
    )


def _pictured(audited: Audited, fitted: FittedWindow, evaluated: EvaluatedOrders) -> Pictured:
    return Pictured(
        answers=answered(evaluated),
        importance={
            name: shares(dict(zip(FEATURE_NAMES, values.tolist(), strict=True)))
            for name, values in fitted.importance.items()
        },
        orders_fitted=fitted.orders,
        rows_read=len(audited),
        labels=tuple(LabelCount(one.reason, one.rows) for one in summary(audited, 0).reasons),
    )


def _versions() -> dict[str, str]:
    """The versions of the libraries that decide what a bundle holds, of those that are installed."""

    def found() -> Iterator[tuple[str, str]]:
        for name in LIBRARIES:
            try:
                yield name, version(name)
            except PackageNotFoundError:
                continue

    return dict(found())
