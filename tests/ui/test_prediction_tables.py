"""Tests of the tables of a scored file, with a file written by the test instead of a bundle's predictions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from streamlit.testing.v1 import AppTest

from preptime.schema.schema import TAKE_HOME_SCHEMA
from preptime.scoring.preview import Preview
from preptime.scoring.score_document import ScoreCounts
from preptime.scoring.scorer import (
    FALLBACK_LEVEL,
    PREDICTED_READY_AT,
    PREDICTED_SECONDS,
    PREDICTION_REASON,
    model_column,
    quantile_column,
)
from preptime.scoring.summary import summarize
from preptime.scoring.travel_column import COURIER_WAIT, DISPATCH_AT, FOOD_WAIT, TravelColumn
from preptime.ui.upload_session import ScoredFile
from tests.ui.page_rendering import table_column

_SCRIPT = """
import streamlit as st
from preptime.ui.prediction_tables import prediction_tables
prediction_tables(*st.session_state["arguments"])
"""


@dataclass(frozen=True)
class Scored:
    """One scored order. Its other columns are the file's own."""

    ready_at: str = "2015-06-20 19:10:00"
    seconds: float = 600.0
    p90: float = 900.0
    dispatch_at: str | None = None


def render_table(
    folder: Path, orders: list[Scored], columns: tuple[str, ...] = (), model: str = "rf", tab: str = ""
) -> AppTest:
    """Render the predictions of orders in a file that has these columns, and open a tab."""
    names = ("restaurant_id", *columns)
    rows = pl.DataFrame({name: ["mine"] * len(orders) for name in names}).with_columns(
        pl.Series(PREDICTED_SECONDS, [order.seconds for order in orders], pl.Float32),
        *(pl.Series(quantile_column(level), [order.seconds for order in orders], pl.Float32) for level in (0.1, 0.5)),
        *(pl.Series(quantile_column(level), [order.p90 for order in orders], pl.Float32) for level in (0.8, 0.9)),
        pl.Series(PREDICTED_READY_AT, [f"{order.ready_at}+01:00" for order in orders]),
        pl.lit("restaurant").alias(FALLBACK_LEVEL),
        pl.lit(None, pl.String).alias(PREDICTION_REASON),
        pl.lit(660.0, pl.Float32).alias(model_column(model)),
    )
    dispatch_times = [order.dispatch_at and f"{order.dispatch_at}+01:00" for order in orders]
    travel = TravelColumn("restaurant_id", 0.5) if any(dispatch_times) else None
    if travel is not None:
        waits = (pl.lit(0.0, pl.Float32).alias(name) for name in (COURIER_WAIT, FOOD_WAIT))
        rows = rows.with_columns(pl.Series(DISPATCH_AT, dispatch_times, pl.String), *waits)
    path = folder / "scored.parquet"
    rows.write_parquet(path)
    result = ScoredFile(
        path,
        ScoreCounts().to_document("orders.csv", path, "bundle"),
        summarize(path, (model,)),
        (model,),
        (),
        TAKE_HOME_SCHEMA,
        {},
        travel=travel,
    )
    preview = Preview(names, len(orders), {}, 0, pl.DataFrame(), pl.DataFrame())
    at = AppTest.from_string(_SCRIPT, default_timeout=30)
    at.session_state["arguments"] = result, preview
    if tab:
        at.session_state["model_tab"] = tab
    at.run()
    assert not at.exception, at.exception
    return at


def columns_of_file(at: AppTest) -> list[str]:
    """Return the columns of the table that the file has."""
    rows = at.dataframe[0].value
    return [str(name) for name in rows.columns if rows[name].tolist() == ["mine"]]


def test_suffix_is_repeated_until_the_name_is_free(tmp_path: Path) -> None:
    columns = ("row", "row (file)", "row (file) (file)", "ready at (file)", "ready at")
    assert columns_of_file(render_table(tmp_path, [Scored()], columns)) == [
        "restaurant_id",
        "row (file) (file) (file)",
        "row (file)",
        "row (file) (file)",
        "ready at (file)",
        "ready at (file) (file)",
    ]


def test_columns_of_another_meaning_are_shown(tmp_path: Path) -> None:
    columns = ("predictor", "predicted_travel_seconds", "prediction_note", "explain_note")
    earlier = ("predicted_seconds", "predicted_p10_seconds", "predicted_xgb_seconds", "prediction_dispatch_reason")
    results = (*earlier, "prediction_live", "explain_base_seconds", "predicted_own_seconds")
    at = render_table(tmp_path, [Scored()], (*columns, *results), model="own")
    assert columns_of_file(at) == ["restaurant_id", *columns]


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("row", "row (model)"),
        ("difference", "difference (model)"),
        ("default_prediction", "default prediction (model)"),
        ("xgb", "XGBoost"),
    ],
)
def test_model_with_the_name_of_a_column_gets_a_suffix(tmp_path: Path, name: str, column: str) -> None:
    # The open tab is the second one, also if both have the same title.
    at = render_table(tmp_path, [Scored()], model=name, tab=column.removesuffix(" (model)"))
    shown = [table_column(at, title, having=column) for title in ("row", column, "default prediction", "difference")]
    assert shown == [[1], [11.0], [10.0], [1.0]]


@pytest.mark.parametrize(
    ("orders", "expected"),
    [
        ([Scored()], ["19:10", "19:15"]),
        ([Scored("2015-06-20 23:50:00", 600, 2_400)], ["2015-06-20 23:50", "2015-06-21 00:20"]),
        ([Scored("2015-06-20 23:54:01", 600, 900)], ["2015-06-20 23:54", "2015-06-21 00:00"]),  # rounded up
        ([Scored("2015-06-20 23:54:00", 600, 900)], ["23:54", "23:59"]),
        ([Scored("2015-06-20 23:59:30", 600, 600)], ["00:00", "00:00"]),  # both times are on the next day
    ],
)
def test_times_after_midnight_have_a_date(tmp_path: Path, orders: list[Scored], expected: list[str]) -> None:
    at = render_table(tmp_path, orders)
    assert [table_column(at, name)[0] for name in ("ready at", "90% ready by")] == expected


def test_dispatch_before_midnight_has_a_date(tmp_path: Path) -> None:
    late = "2015-06-21 00:05:00"
    at = render_table(tmp_path, [Scored(late, dispatch_at="2015-06-20 23:55:00"), Scored(late)])
    assert table_column(at, "dispatch at")[0] == "2015-06-20 23:55"
    assert table_column(at, "ready at") == ["2015-06-21 00:05"] * 2
    at = render_table(tmp_path, [Scored(late, dispatch_at="2015-06-21 00:01:00"), Scored(late)])
    assert table_column(at, "dispatch at")[0] == "00:01"
