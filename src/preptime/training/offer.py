"""`preptime bundles offer`: a finished graph as a model of a new bundle, through the same gate as a training.

The bundle is the one that a training of the date would give, with the graph as an additional point model, or in place
of `quantile` if it predicts four quantiles. The graph isn't fitted, so only days after its last day can calibrate and
evaluate it.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from preptime.bundle.store import Store
from preptime.domain.orders import DEFAULT_MODEL
from preptime.errors import DataError, UsageError
from preptime.features.feature_set import FeatureSet
from preptime.features.restaurant_index import RestaurantIndex
from preptime.models.custom import CustomModel, CustomQuantileModel
from preptime.models.onnx_export import merge_to_onnx
from preptime.models.quantile import QuantileModel
from preptime.models.user_code import UserCode
from preptime.progress import ProgressCallback, no_progress
from preptime.schema.keys import is_model_name
from preptime.schema.schema import Schema
from preptime.training.as_of_features import FeatureMatrix, build_feature_matrix
from preptime.training.calibration import check_offered_orders
from preptime.training.fitting import FitPlan, fitted_rows
from preptime.training.offered_graph import as_model, check_offered_graph, with_extreme_rows
from preptime.training.publishing import AuditActor
from preptime.training.requirements import GATE_DAYS, choose_mode
from preptime.training.train import TrainDocument, train
from preptime.training.training_data import ONE_DAY, TrainingData, date_from_day_number, rows_as_of
from preptime.validation.audit import AuditedOrders
from preptime.validation.data_gate import GateThresholds

if TYPE_CHECKING:
    from preptime.sources.data_versions import DataRevisions

MIN_HELD_OUT_DAYS = 2
"""With one day, the comparison has no standard error, so nothing could be promoted."""
CHECKED_DAYS = 3
"""The latest days with orders, whose orders the graph predicts in the separate process."""
CHECKED_ROWS = 500
"""The number of these orders. If the days have fewer, orders of earlier days are predicted too."""


@dataclass(frozen=True)
class Offer:
    """A graph that a user offers."""

    path: Path
    """The ONNX file."""
    name: str
    """The name of the model."""
    fitted_through: dt.date
    """The last day that the graph was fitted on. The days of the gate and of the calibration are later."""


def offer(
    offered: Offer,
    audited: AuditedOrders,
    restaurants: RestaurantIndex,
    date: dt.date,
    store: Store,
    *,
    actor: AuditActor,
    plan: FitPlan,
    thresholds: GateThresholds | None = None,
    schema: Schema | None = None,
    allow_promotion: bool = True,
    with_report: bool = True,
    revisions: DataRevisions | None = None,
    progress: ProgressCallback = no_progress,
) -> TrainDocument:
    """Check a graph, and train and compare a bundle with it, as `preptime.training.train.train`.

    If the bundle isn't promoted, nothing else changes: unlike a training, an offer doesn't refresh the champion.

    Args:
        offered: The graph.
        audited: Completed orders.
        restaurants: The restaurants.
        date: As-of date. The columns of the graph are those of the feature matrix as of this date.
        store: The store.
        actor: Who offers it, for the champion log.
        plan: The other models, which are trained.
        thresholds: Thresholds of the data gate.
        schema: The schema of the bundle. The default is that of the orders.
        allow_promotion: Whether the bundle is promoted if it's better.
        with_report: Whether the bundle has an HTML report.
        revisions: Revisions of the orders.
        progress: Called with each step.

    Raises:
        UsageError: The graph breaks a requirement, which the message names, or the name or the days are wrong.
        DataError, OperationError, BundleVerificationError, StoreError: As `train`.
    """
    _check_name(offered.name, plan)
    _check_days(offered, date)
    features = _latest_features(audited, restaurants, date, schema or audited.schema)
    progress("Checking the graph in a separate process", 0.0)
    model = _checked_model(offered, features, date, store)
    progress("Checking the graph in a separate process", 1.0)
    return train(
        audited,
        restaurants,
        date,
        store,
        actor,
        plan=plan_with(plan, model),
        thresholds=thresholds,
        schema=schema,
        allow_promotion=allow_promotion,
        refresh_champion=False,
        with_report=with_report,
        revisions=revisions,
        progress=progress,
    )


def day_before_gate(date: dt.date) -> dt.date:
    """Return the last day that a graph can be fitted on if all days of the gate as of `date` evaluate it.

    Example:
        >>> day_before_gate(dt.date(2015, 6, 17))
        datetime.date(2015, 6, 9)
    """
    return date - (GATE_DAYS + 1) * ONE_DAY


def plan_with(plan: FitPlan, model: CustomModel) -> FitPlan:
    """Return a plan with an offered model. An offered `quantile` has no live model: it doesn't read the kitchen."""
    models = {name: other for name, other in plan.models.items() if name not in {model.name, DEFAULT_MODEL}}
    models |= {model.name: model} | ({} if model.name == DEFAULT_MODEL else {DEFAULT_MODEL: plan.models[DEFAULT_MODEL]})
    return replace(plan, models=models, with_live_model=plan.with_live_model and model.name != DEFAULT_MODEL)


def _checked_model(offered: Offer, features: FeatureMatrix, date: dt.date, store: Store) -> CustomModel:
    content, code = offered.path.read_bytes(), UserCode(offered.name, offered.path, "", "")
    rows = np.flatnonzero(fitted_rows(features, date - ONE_DAY))
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), CHECKED_ROWS)).astype(np.intp)]
    X, y = features.X[rows], features.data.labels[features.rows][rows]
    reference = merge_to_onnx({DEFAULT_MODEL: QuantileModel().fit(X, y, threads=1, seed=0)}, X.shape[1])
    check = check_offered_graph(content, str(code.path), with_extreme_rows(X), reference, store.check_limits)
    model = as_model(content, code, check.columns, offered.fitted_through)
    if not isinstance(model, CustomQuantileModel):
        return model
    data = features.data
    check_offered_orders(model, data.acknowledged_day[data.is_fitting])
    return replace(model, name=DEFAULT_MODEL)


def _latest_features(
    audited: AuditedOrders, restaurants: RestaurantIndex, date: dt.date, schema: Schema
) -> FeatureMatrix:
    """Return the features of the latest days with orders as of `date`. Raises `DataError` if there are too few orders.

    Late data isn't an error here: the data gate decides about it.
    """
    index = replace(restaurants, feature_set=FeatureSet.from_schema(schema))
    data = TrainingData.from_orders(rows_as_of(audited, restaurants, date), index).as_of(date)
    mode = choose_mode(data, date)
    if mode.reduced_reason is not None:
        raise DataError(
            f"A graph can only be offered if there are enough orders for all models. {mode.reduced_reason}",
            "Provide more orders.",
        )
    days = data.acknowledged_day[data.is_fitting]
    first_day = date_from_day_number(int(min(np.unique(days)[-CHECKED_DAYS:][0], days[-CHECKED_ROWS:][0])))
    return build_feature_matrix(data.with_common_categories(date), first_day, date - ONE_DAY)


def _check_name(name: str, plan: FitPlan) -> None:
    if not is_model_name(name) or name in {*plan.models, *plan.left_out}:
        names = ", ".join((*plan.models, *plan.left_out))
        raise UsageError(
            f"{name!r} can't be the name of an offered model.",
            f"Use lower-case letters, digits, and underscores (--name). These names are in use: {names}.",
        )


def _check_days(offered: Offer, date: dt.date) -> None:
    path, through = offered.path, offered.fitted_through
    held_out = (date - ONE_DAY - through).days
    if held_out < MIN_HELD_OUT_DAYS:
        latest = date - (MIN_HELD_OUT_DAYS + 1) * ONE_DAY
        raise UsageError(
            f"{path} was fitted through {through}. As of {date}, it wasn't fitted on {max(held_out, 0)} days, and the "
            f"gate needs {MIN_HELD_OUT_DAYS} or more.",
            f"Fit it on the days through {latest} or earlier, or use a later --as-of.",
        )
