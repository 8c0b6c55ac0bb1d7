"""Dispatch columns of scored files: decisions for readable travel times, and a reason for the others."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from preptime.bundle.bundle import Bundle
from preptime.domain.dispatch import decide
from preptime.domain.orders import QUANTILE_LEVELS
from preptime.errors import DataError
from preptime.scoring.score_file import score_file
from preptime.scoring.scorer import PREDICTED_READY_AT, PREDICTED_SECONDS, PREDICTION_REASON, quantile_column
from preptime.scoring.travel_column import (
    COURIER_WAIT,
    DISPATCH_AT,
    DISPATCH_QUANTILE,
    DISPATCH_REASON,
    FOOD_WAIT,
    TravelColumn,
)
from tests.scoring.factories import order_cells, write_orders

COLUMNS = [DISPATCH_AT, COURIER_WAIT, FOOD_WAIT, DISPATCH_QUANTILE, DISPATCH_REASON]
CELLS: tuple[tuple[str | None, str | None], ...] = (
    ("240", None),
    (" 300.5", None),
    ("0", None),
    ("21600", None),
    ("", "missing_value"),
    (None, "missing_value"),
    ("soon", "unparsable_number"),
    ("-1", "negative_value"),
    ("21600.5", "out_of_range"),
    ("inf", "out_of_range"),
)
"""Travel times, and the expected reason of each."""


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_dispatch_columns_are_decisions_or_reasons(tmp_path: Path, bundle: Bundle, suffix: str) -> None:
    rows = pl.DataFrame(
        [order_cells(travel=cell) for cell, _ in CELLS] + [order_cells(travel="60", number_of_items="0")],
        infer_schema_length=None,
    )
    source, out = write_orders(tmp_path / f"orders.{suffix}", rows), tmp_path / "scored.parquet"
    document = score_file(source, out, bundle, travel=TravelColumn("travel", 2 / 3), chunk_rows=4)
    scored = pl.read_parquet(out)
    assert scored.columns[-len(COLUMNS) :] == COLUMNS
    assert scored[DISPATCH_REASON].to_list() == [*(reason for _, reason in CELLS), None]
    assert scored[PREDICTION_REASON].to_list() == [None] * len(CELLS) + ["out_of_range"]
    reasons = pl.Series([reason for _, reason in CELLS]).drop_nulls().value_counts().iter_rows()
    assert document.without_dispatch == dict(reasons)
    assert (document.rows, document.predicted) == (len(CELLS) + 1, len(CELLS))

    without = scored.filter(pl.col(DISPATCH_AT).is_null())
    assert len(without) == 7
    assert without.select(COLUMNS[:-1]).null_count().row(0) == (7,) * 4
    decided = scored.head(4)
    quantiles = decided.select(quantile_column(level) for level in QUANTILE_LEVELS).to_numpy()
    decisions = decide(quantiles, np.array([240, 300.5, 0, 21_600]), 2 / 3)
    np.testing.assert_allclose(decided[COURIER_WAIT], decisions.courier_wait_seconds, rtol=1e-5)
    np.testing.assert_allclose(decided[FOOD_WAIT], decisions.food_wait_seconds, rtol=1e-5)
    assert decided[DISPATCH_QUANTILE].to_list() == [2 / 3] * 4
    times = decided.select(pl.col(DISPATCH_AT, PREDICTED_READY_AT).str.to_datetime("%Y-%m-%d %H:%M:%S%z").dt.epoch("s"))
    acknowledged = times[PREDICTED_READY_AT].to_numpy() - decided[PREDICTED_SECONDS].to_numpy()
    np.testing.assert_allclose(times[DISPATCH_AT] - acknowledged, decisions.dispatch_seconds, rtol=0, atol=1.01)


def test_travel_column_uses_the_number_format_of_the_schema(tmp_path: Path, bundle: Bundle) -> None:
    rows = pl.DataFrame([order_cells(order_value_gbp="21,40", travel="240,5")])
    source = msgspec.structs.replace(bundle.schema.source, decimal=",", delimiter=";")
    schema = msgspec.structs.replace(bundle.schema, source=source)
    rows.write_csv(tmp_path / "orders.csv", separator=";")
    travel = TravelColumn("travel", 0.5)
    score_file(str(tmp_path / "orders.csv"), tmp_path / "scored.parquet", bundle, schema=schema, travel=travel)
    typed = rows.with_columns(order_value_gbp=pl.lit(21.4), travel=pl.lit(240.5))
    score_file(write_orders(tmp_path / "typed.parquet", typed), tmp_path / "other.parquet", bundle, travel=travel)
    scored, other = (pl.read_parquet(tmp_path / name).select(COLUMNS) for name in ("scored.parquet", "other.parquet"))
    assert scored.equals(other)
    assert scored[DISPATCH_REASON].to_list() == [None]


def test_second_scoring_has_no_results_of_the_first(tmp_path: Path, bundle: Bundle) -> None:
    rows = pl.DataFrame([order_cells(travel="240"), order_cells(travel="300")])
    source, travel = write_orders(tmp_path / "orders.csv", rows), TravelColumn("travel", 0.5)
    first, again, last = (tmp_path / f"{name}.parquet" for name in ("first", "again", "last"))
    score_file(source, first, bundle, travel=travel)
    score_file(str(first), again, bundle, travel=travel)
    assert pl.read_parquet(again).equals(pl.read_parquet(first))  # replaced in place
    more = {"prediction_live": pl.lit(True), "explain_base_seconds": pl.lit(1.0), "explained": pl.lit("kept")}
    marked = pl.read_parquet(first).with_columns(**more)
    marked.write_parquet(first)
    score_file(str(first), last, bundle)
    dropped = {*COLUMNS, "prediction_live", "explain_base_seconds"}
    assert pl.read_parquet(last).columns == [name for name in marked.columns if name not in dropped]


def test_missing_travel_column_is_an_error(tmp_path: Path, bundle: Bundle) -> None:
    source = write_orders(tmp_path / "orders.csv", pl.DataFrame([order_cells()]))
    with pytest.raises(DataError, match=r"orders\.csv has no column 'trip'\. Its columns are note, order_value_gbp,"):
        score_file(source, tmp_path / "scored.csv", bundle, travel=TravelColumn("trip", 0.5))
    assert not (tmp_path / "scored.csv").exists()
