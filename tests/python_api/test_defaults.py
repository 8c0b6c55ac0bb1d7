"""Tests of arguments in Python: invalid values raise `UsageError`, and hints name arguments instead of options."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import preptime
from preptime.errors import PreptimeError, UsageError
from preptime.python_api.bundles import LoadedBundle
from preptime.python_api.defaults import in_python, to_whole_number
from preptime.python_api.schemas import ANSWERS
from preptime.training.train import NO_GATE_REASON
from tests.python_api.examples import small_models

DATE = "2015-06-13"


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        (
            "Use --from 2015-06-02 or later, because x, and --to 2015-06-12 or earlier.",
            'Use first_day="2015-06-02" or later, because x, and last_day="2015-06-12" or earlier.',
        ),
        ("Provide outcomes, or use --date 2015-06-02.", 'Provide outcomes, or use date="2015-06-02".'),
        ("Use --days 10, or provide orders.", "Use days=10, or provide orders."),
        ("Use --retrain-every 1 or more.", "Use retrain_every=1 or more."),
        ("Accept it with --gate max_unusable_share=0.25.", 'Accept it with thresholds={"max_unusable_share": 0.25}.'),
        (
            "Accept it with --gate min_days=4 --gate min_orders=858.",
            'Accept it with thresholds={"min_days": 4, "min_orders": 858}.',
        ),
        ("Add --restaurants FILE. Or, add two lines.", "Add restaurants=FILE. Or, add two lines."),
        (
            "Use another file (--study FILE), or discard the trials (--restart).",
            "Use another file (study=FILE), or discard the trials (restart=True).",
        ),
        (
            "Omit --live, or use a bundle that has one (--bundle).",
            "Omit live=True, or use a bundle that has one (load_bundle).",
        ),
        ("Allow it, or use another store (--store).", "Allow it, or use another store (store)."),
        (NO_GATE_REASON, "Trained without the gate (quick=True), so it can't be promoted."),
        ("Promotion is disabled by --promote never.", "Promotion is disabled by promote=False."),
        (
            "Or map the existing columns: preptime schema infer ORDERS --out schema.toml.",
            'Or map the existing columns: preptime.infer_schema(orders).save("schema.toml").',
        ),
        (
            "First, run preptime train --date 2015-06-12 again.",
            "First, run preptime train --date 2015-06-12 again.",
        ),
        (
            "To load rows, run: preptime ingest ORDERS --restaurants RESTAURANTS --to postgresql:///preptime",
            "To load rows, run: preptime ingest ORDERS --restaurants RESTAURANTS --to postgresql:///preptime",
        ),
    ],
)
def test_options_of_a_sentence_become_arguments(sentence: str, expected: str) -> None:
    assert in_python(sentence) == expected


def call(function: str, orders: pl.DataFrame, restaurants: pl.DataFrame, options: dict[str, Any]) -> object:
    """Call a function of the Python API, with the orders and restaurants if it reads them."""
    inputs: dict[str, Any] = {}
    if function not in {"load_bundle", "open_store", "read_schema", "synthesize"}:
        inputs = {"orders": orders, "restaurants": restaurants}
    if function == "tune":
        inputs["model"] = "xgb"
    return getattr(preptime, function)(**inputs | options)


@pytest.mark.parametrize(
    ("function", "options", "hint"),
    [
        ("backtest", {"first_day": "2015-06-12", "last_day": "2015-06-11"}, 'Use last_day="2015-06-12" or later.'),
        (
            "backtest",
            {"first_day": "2016-06-12", "last_day": "2016-06-12"},
            'Use first_day="2015-06-02" or later, because an earlier day is needed to fit on, and last_day=',
        ),
        ("tune", {"days": 100}, "Use days=10, or provide orders from 2015-03-03 or earlier."),
        ("train", {"date": "2015-06-05"}, 'accept it with thresholds={"min_days": 4, "min_orders": 858}.'),
        ("check", {"restaurants": None}, "Add restaurants=FILE."),
        ("check", {"orders": pl.DataFrame({"a": [1]})}, 'preptime.infer_schema(orders).save("schema.toml").'),
        ("read_schema", {"path": "none.toml"}, 'preptime.infer_schema(orders).save("none.toml").'),
    ],
)
def test_hints_name_arguments(
    orders: pl.DataFrame, restaurants: pl.DataFrame, function: str, options: dict[str, Any], hint: str
) -> None:
    with pytest.raises(PreptimeError) as refused:
        call(function, orders, restaurants, options)
    assert hint in refused.value.hint
    assert " --" not in str(refused.value)


def test_backtest_of_one_day_asks_for_two(orders: pl.DataFrame, restaurants: pl.DataFrame) -> None:
    with pytest.raises(UsageError, match="Provide orders of at least two days, because an earlier day is needed"):
        preptime.backtest(orders.head(1), restaurants, first_day="2015-06-11", last_day="2015-06-12")


def test_reason_names_the_argument(orders: pl.DataFrame, restaurants: pl.DataFrame) -> None:
    quick = preptime.train(orders, restaurants, schema=small_models(), models="xgb", quick=True, progress=False)
    assert quick.reason == "Trained without the gate (quick=True), so it can't be promoted."
    assert "--" not in repr(quick) + quick._repr_html_()


def test_live_prediction_without_outcomes_names_the_argument(bundle: LoadedBundle, orders: pl.DataFrame) -> None:
    rows = orders.head(3).drop("order_ready_at", "prep_time_seconds")
    for live in (bundle.predict, bundle.explain):
        with pytest.raises(PreptimeError) as refused:
            live(rows, live=True)
        assert "Omit live=True, or" in refused.value.hint


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        ("check", {"use_case": "junk"}, 'use_case is \'junk\'. Use "scoring" or "training".'),
        ("check", {"schema": 5}, "schema is of type int. Use a path"),
        ("tune", {"trials": 0}, "trials is 0. Use a whole number from 1."),
        ("tune", {"days": 1}, "days is 1. Use a whole number from 2."),
        ("tune", {"retrain_every": 0}, "retrain_every is 0. Use a whole number from 1."),
        ("tune", {"seed": -1}, "seed is -1. Use a whole number from 0."),
        ("tune", {"study": 5}, "study is 5. Use text or a path."),
        ("train", {"threads": -1}, "threads is -1. Use a whole number from 1."),
        ("train", {"threads": True}, "threads is True. Use a whole number from 1."),
        ("train", {"date": pd.NaT}, "date is NaT; expected a date."),
        ("train", {"thresholds": {"min_days": "x"}}, "The threshold min_days is 'x'. Use a number."),
        ("train", {"thresholds": {"min_days": None}}, "The threshold min_days is None. Use a number."),
        ("train", {"thresholds": 3}, "thresholds is 3. Use a dict of names and numbers."),
        ("train", {"models": 3}, "models is 3. Use a name, or a list of names."),
        ("train", {"models": [3]}, "models is 3. Use a name, or a list of names."),
        ("train", {"store": 5}, "The address of the store is 5. Use text or a path."),
        ("features", {"as_of": pd.NaT}, "as_of is NaT; expected a date."),
        ("backtest", {"first_day": pd.NaT, "last_day": DATE}, "first_day is NaT; expected a date."),
        (
            "backtest",
            {"first_day": DATE, "last_day": DATE, "retrain_every": 1.5},
            "retrain_every is 1.5. Use a whole number from 1.",
        ),
        ("load_bundle", {"bundle": None}, "bundle is None. Use a folder, or the ID of a bundle."),
        ("synthesize", {"orders": 1e3}, "orders is 1000.0. Use a whole number from 1."),
        ("synthesize", {"days": "3"}, "days is '3'. Use a whole number from 1."),
        ("synthesize", {"drift": 3}, "drift is 3. Use text."),
        ("synthesize", {"out": 3}, "out is 3. Use text or a path."),
        ("synthesize", {"file_format": "xls"}, 'file_format is \'xls\'. Use "csv" or "parquet".'),
        ("infer_schema", {"times": "junk"}, 'The answer to naive_times is \'junk\'. Use "local" or "UTC".'),
        ("infer_schema", {"answers": {"nope": "x"}}, "There is no question 'nope'. The questions are time_zone"),
        ("infer_schema", {"answers": {"decimal": 1}}, "The answer to decimal is 1. Use text."),
    ],
)
def test_invalid_argument_is_a_usage_error(
    orders: pl.DataFrame, restaurants: pl.DataFrame, function: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        call(function, orders, restaurants, options)


def test_bundle_id_of_a_store_is_text() -> None:
    with pytest.raises(UsageError, match=r"bundle_id is None\. Use the ID of a bundle"):
        preptime.open_store("memory://arguments").load(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"travel": None}, "travel is None. Use the name of a column"),
        ({"travel": True}, "travel is True. Use the name of a column"),
        ({"travel": {"a": 1}}, "travel is {'a': 1}. Use the name of a column"),
        ({"travel": [100, 200]}, "travel has 2 values for 3 orders. Use one value for each order"),
        ({"travel": 60, "courier_cost": "2"}, "courier_cost is '2'. Use a number"),
        ({"travel": 60, "food_cost": [1]}, "food_cost is [1]. Use a number"),
    ],
)
def test_invalid_dispatch_argument_is_a_usage_error(
    bundle: LoadedBundle, orders: pl.DataFrame, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        bundle.dispatch(orders.head(3), **options)


@pytest.mark.parametrize(
    "travel",
    [
        [100, None, 2.5],
        ("100", None, "2.5"),
        np.array([100, np.nan, 2.5]),
        pl.Series([100.0, None, 2.5]),
        pd.Series([100, None, 2.5], dtype="Float64", index=[7, 8, 9]),
    ],
    ids=["list", "text", "array", "Polars", "pandas"],
)
def test_travel_can_be_a_time_for_each_order(bundle: LoadedBundle, orders: pl.DataFrame, travel: Any) -> None:
    rows = orders.head(3)
    expected = bundle.dispatch(rows.with_columns(travel_seconds=pl.Series([100.0, None, 2.5])))
    for frame in (rows, rows.to_pandas().set_axis([7, 8, 9])):
        dispatched = bundle.dispatch(frame, travel=travel)
        assert [*dispatched["prediction_dispatch_reason"]][1] == "missing_value"
        waits = "predicted_courier_wait_seconds"
        np.testing.assert_array_equal(np.array(dispatched[waits], float), np.array(expected[waits].to_list(), float))
        assert [*dispatched.columns] == [name for name in expected.columns if name != "travel_seconds"]


def test_travel_with_another_index_is_refused(bundle: LoadedBundle, orders: pl.DataFrame) -> None:
    with pytest.raises(UsageError, match=r"The index of travel isn't that of the orders.*travel.to_numpy\(\)"):
        bundle.dispatch(orders.head(3).to_pandas(), travel=pd.Series([1.0, 2.0, 3.0], index=[2, 1, 0]))


def test_costs_and_counts_can_be_numbers_of_any_library(bundle: LoadedBundle, orders: pl.DataFrame) -> None:
    expected = bundle.dispatch(orders.head(3), travel=60, courier_cost=2, food_cost=1)
    options: dict[str, Any] = {"travel": np.float32(60), "courier_cost": Decimal(2), "food_cost": np.int8(1)}
    assert bundle.dispatch(orders.head(3), **options).equals(expected)
    assert to_whole_number("threads", np.int64(2)) == 2


def test_answers_are_those_of_the_questions() -> None:
    import preptime.schema

    (folder,) = preptime.schema.__path__
    source = "".join(path.read_text(encoding="utf-8") for path in sorted(Path(folder).glob("*.py")))
    asked = re.findall(r'Question\(\s*"(\w+)"', source)
    assert {*asked, "order_acknowledged_at"} == {*ANSWERS}
