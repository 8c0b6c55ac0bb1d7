"""A small bundle with fitted models, and orders of its restaurants."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl

from preptime.bundle.bundle import Bundle
from preptime.bundle.golden import choose_golden_orders
from preptime.bundle.manifest import ManifestDraft, TrainingWindow
from preptime.bundle.store import Store
from preptime.bundle.writer import write_bundle
from preptime.domain.validation_reasons import Purpose
from preptime.features.feature_set import FeatureSet
from preptime.features.history import feature_matrix
from preptime.features.history_state import CompletedOrders, HistoryState
from preptime.features.shrinkage import build_history
from preptime.models.fitting import fit_all
from preptime.models.model import Model
from preptime.models.onnx_export import merge_to_onnx
from preptime.models.quantile import QuantileModel
from preptime.models.sklearn_models import RandomForestModel
from preptime.models.xgboost_models import XGBoostModel
from preptime.schema.schema import TAKE_HOME_SCHEMA, Schema
from preptime.synthetic import SynthesisPlan, synthesize_frames
from preptime.training.training_data import with_category_values
from preptime.validation.audit import audit_orders, to_order_columns
from preptime.validation.restaurants import read_restaurants
from tests.bundle.factories import graph_files

PLAN = SynthesisPlan(orders=1_500, restaurants=60, days=14)
AS_OF = PLAN.start + dt.timedelta(days=PLAN.days + 5)
"""Five days after the last order, so that all orders are known."""
MODELS: tuple[Model, ...] = (
    RandomForestModel(tree_count=10, max_leaf_nodes=30),
    XGBoostModel(tree_count=10),
    QuantileModel(tree_count=10),
)


def small_bundle(store: Store, slower_seconds: int = 0) -> Bundle:
    """Return a bundle of three small models, fitted on fourteen synthetic days.

    `slower_seconds` is added to all labels, so that another value gives another bundle.
    """
    orders, restaurants, _ = synthesize_frames(PLAN)
    return bundle_of(store, orders, restaurants, slower_seconds=slower_seconds)


def bundle_of(
    store: Store,
    orders: pl.DataFrame,
    restaurants: pl.DataFrame,
    *,
    schema: Schema = TAKE_HOME_SCHEMA,
    slower_seconds: int = 0,
) -> Bundle:
    """Return a bundle of three small models, fitted on these orders. It knows all of them."""
    restaurant_index = read_restaurants(restaurants, schema)
    audited = audit_orders(orders, restaurant_index, need_label=True, schema=schema)
    frame = audited.frame.filter(pl.Series(audited.usable_for(Purpose.FITTING) & audited.usable_for(Purpose.HISTORY)))
    restaurant_index = with_category_values(restaurant_index, frame)
    columns = to_order_columns(frame, restaurant_index)
    label = frame["prep_time_seconds"].cast(pl.Int64).to_numpy() + slower_seconds
    completed = CompletedOrders(columns, columns.acknowledged_at + label, label)
    history = build_history(HistoryState.from_orders(restaurant_index, completed), restaurant_index, AS_OF)
    X = feature_matrix(columns, history)
    fitted = fit_all({model.name: model for model in MODELS}, X, label.astype(np.float64), threads=1, seed=12)
    last = AS_OF - dt.timedelta(days=1)
    draft = ManifestDraft(
        kind="training",
        date=AS_OF,
        schema=schema,
        window=TrainingWindow(first_day=PLAN.start, last_day=last, fitted_through=last),
        models=tuple(fitted),
        calibration={},
        data_fingerprint="synthetic",
        metrics={},
        libraries={},
    )
    graphs = graph_files(merge_to_onnx(fitted, len(FeatureSet.from_schema(schema))))
    manifest = write_bundle(store, draft, graphs=graphs, history=history, golden_orders=choose_golden_orders(columns))
    return Bundle.load(store.fetch(manifest.id))


def write_orders(path: Path, rows: pl.DataFrame) -> str:
    """Write rows as CSV or Parquet by the suffix, and return the path as a source."""
    if path.suffix == ".csv":
        rows.write_csv(path)
    else:
        rows.write_parquet(path, row_group_size=50)
    return str(path)


HOME = {"restaurant_id": "1", "order_acknowledged_at": "2015-06-20 19:00:00.250000+01:00"}


def order_cells(**changed: str | None) -> dict[str, str | None]:
    """Return the cells of a valid order in a CSV file, with an additional column and some cells replaced."""
    return {"note": "as it is", "order_value_gbp": "21.40", **HOME, "number_of_items": "3"} | changed


MIXED_ROWS: tuple[tuple[dict[str, str | None], str | None], ...] = (
    (order_cells(), None),
    (order_cells(restaurant_id="17", number_of_items="7"), None),
    (order_cells(number_of_items=None), "missing_value"),
    (order_cells(order_value_gbp="NaN"), "missing_value"),
    (order_cells(order_value_gbp="a lot"), "unparsable_number"),
    (order_cells(number_of_items="2.5"), "unparsable_number"),
    (order_cells(order_value_gbp="-3"), "negative_value"),
    (order_cells(order_value_gbp="inf"), "out_of_range"),
    (order_cells(number_of_items="99999"), "out_of_range"),
    (order_cells(restaurant_id="999999"), None),
    (order_cells(restaurant_id="1326 or so"), None),
    (order_cells(order_acknowledged_at="1969-12-31 23:59:00+01:00"), "unparsable_time"),
    (order_cells(order_acknowledged_at="noon"), "unparsable_time"),
    (order_cells(order_acknowledged_at=None, number_of_items="many"), "unparsable_number"),
    (
        order_cells(order_acknowledged_at="2015-03-29 01:30:00"),
        None,
    ),  # doesn't exist, because London's clocks go forward at 01:00
    (order_cells(order_acknowledged_at="2015-10-25 01:30:00"), None),  # exists twice
    (order_cells(order_acknowledged_at="2015-10-25T00:59:59Z"), None),
    (order_cells(order_acknowledged_at="1434823200"), None),
    (order_cells(note='a "quoted", cell\nof two lines', order_value_gbp=" 21.40"), None),
    (order_cells(note=None, number_of_items="3.0"), None),
)
"""Rows, and the expected `prediction_reason` of each."""


def mixed_rows() -> pl.DataFrame:
    """Return the rows of `MIXED_ROWS` as text."""
    return pl.DataFrame([row for row, _ in MIXED_ROWS], infer_schema_length=None)
