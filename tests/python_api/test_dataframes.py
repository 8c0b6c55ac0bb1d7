"""Tests of the conversion between pandas, Polars, and the rows that preptime reads."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest

from preptime.errors import UsageError
from preptime.python_api.dataframes import from_polars, take_rows, to_polars, with_columns
from preptime.schema.schema import TAKE_HOME_SCHEMA
from preptime.validation.parsing import parse_timestamps

WINTER = dt.timezone(dt.timedelta(hours=1))
NOON = dt.datetime(2015, 6, 1, 12, 0, 0)


@pytest.mark.parametrize(
    ("column", "dtype", "values"),
    [
        (pd.Series([1, 2, 3]), pl.Int64(), [1, 2, 3]),
        (pd.Series([1.5, None, np.inf]), pl.Float64(), [1.5, None, np.inf]),
        (pd.Series([1, None, 3], dtype="Int64"), pl.Int64(), [1, None, 3]),
        (pd.Series(["a", None, "c"]), pl.String(), ["a", None, "c"]),
        (pd.Series(["a", None, "c"], dtype=object), pl.String(), ["a", None, "c"]),
        (pd.Series(["x", None, "y"], dtype="category"), pl.String(), ["x", None, "y"]),
        (pd.Series([7, None, 9], dtype="category"), pl.Int64(), [7, None, 9]),
        (pd.Series([7, "store-7", None], dtype=object), pl.String(), ["7", "store-7", None]),
        (pd.Series([Decimal("1.50"), None]), pl.Decimal(3, 2), [Decimal("1.50"), None]),
        (pd.Series([True, None], dtype="boolean"), pl.Boolean(), [True, None]),
        (pd.Series([pd.Period("2015-01")]), pl.String(), ["2015-01"]),
        (pd.Series([{"a": 1}, 3], dtype=object), pl.String(), ["{'a': 1}", "3"]),
        (pd.Series([Decimal("1" * 40)]), pl.String(), ["1" * 40]),
        (pd.Series([[Decimal("1" * 40)]]), pl.String(), [f"[Decimal('{'1' * 40}')]"]),
        (pd.Series([pd.DateOffset(months=1)]), pl.String(), ["<DateOffset: months=1>"]),
        (pd.Series([2**70], dtype=object), pl.String(), [str(2**70)]),
        (pd.Series([1 + 2j]), pl.String(), ["(1+2j)"]),
        (pd.Series([pd.Timestamp(NOON), pd.NaT]), pl.Datetime("us"), [NOON, None]),
        (pd.Series([], dtype=object), pl.Null(), []),
    ],
    ids=lambda value: str(getattr(value, "dtype", value))[:30],
)
def test_pandas_column_keeps_its_values(column: pd.Series, dtype: pl.DataType, values: list[object]) -> None:
    converted = to_polars(pd.DataFrame({"c": column}))["c"]
    assert converted.dtype == dtype
    assert converted.to_list() == values


@pytest.mark.parametrize(
    "times",
    [
        pd.Series(pd.to_datetime(["2015-06-01 12:00:00+01:00", "2015-06-01 13:30:00+01:00"])),
        pd.Series(pd.to_datetime(["2015-06-01 16:30:00+05:30", "2015-06-01 18:00:00+05:30"])),
        pd.Series(pd.to_datetime(["2015-06-01 16:30:00+05:30", "2015-06-01 18:00:00+05:30"])).convert_dtypes(
            dtype_backend="pyarrow"
        ),
        pd.Series(pd.to_datetime(["2015-06-01 11:00", "2015-06-01 12:30"])).dt.tz_localize("UTC"),
        pd.Series(pd.to_datetime(["2015-06-01 13:00", "2015-06-01 14:30"])).dt.tz_localize("Europe/Paris"),
        pd.Series([NOON.replace(tzinfo=WINTER), dt.datetime(2015, 6, 1, 12, 30, tzinfo=dt.UTC)], dtype=object),
        pd.Series(["2015-06-01 12:00:00+01:00", "2015-06-01T12:30:00Z"]),
    ],
    ids=["offset", "half hour", "half hour in Arrow", "UTC", "zone", "mixed", "text"],
)
def test_pandas_instants_are_read_as_in_text(times: pd.Series) -> None:
    cells = to_polars(pd.DataFrame({"at": times}))["at"]
    parsed = parse_timestamps(cells, np.zeros(2, np.int32), ["Europe/London"])
    local = [dt.datetime(2015, 6, 1, 12, 0), dt.datetime(2015, 6, 1, 13, 30)]
    assert pl.Series(parsed.local).cast(pl.Datetime("us")).to_list() == local


def test_pandas_times_without_zone_are_local() -> None:
    mixed = pd.Series([NOON, NOON.replace(tzinfo=WINTER)], dtype=object)
    for times in (pd.Series([NOON, NOON]), mixed):
        cells = to_polars(pd.DataFrame({"at": times}))["at"]
        parsed = parse_timestamps(cells, np.zeros(2, np.int32), ["Europe/London"])
        assert pl.Series(parsed.local).cast(pl.Datetime("us")).to_list() == [NOON, NOON]


@pytest.mark.parametrize("after_parquet_scan", [False, True])
def test_pandas_times_in_unknown_zone_become_utc(monkeypatch: pytest.MonkeyPatch, after_parquet_scan: bool) -> None:
    variable = "POLARS_IGNORE_TIMEZONE_PARSE_ERROR"
    if after_parquet_scan:
        monkeypatch.setenv(variable, "1")
    else:
        monkeypatch.delenv(variable, raising=False)
    times = pd.to_datetime(["2015-06-01 16:30:00+05:30", "NaT"])
    converted = to_polars(pd.DataFrame({"at": times, "nested": [[times[0]], []]}))
    assert converted["at"].dtype == pl.Datetime("us", "UTC")
    assert converted["at"].to_list() == [dt.datetime(2015, 6, 1, 11, 0, tzinfo=dt.UTC), None]


def test_text_without_utf8_form_names_the_column() -> None:
    frame = pd.DataFrame({"city": pd.Series(["London", "ab\ud800"], dtype=object)})
    with pytest.raises(UsageError, match=r"Column city of the data frame has text .* 'ab\\ud800'\. Decode the source"):
        to_polars(frame)
    assert to_polars(frame.assign(value=1), ["value"]).columns == ["value"]


def test_named_index_levels_are_columns() -> None:
    frame = pd.DataFrame({"restaurant_id": [1, 2]}, index=pd.Index(["a", "b"], name="order_id"))
    assert to_polars(frame).to_dict(as_series=False) == {"order_id": ["a", "b"], "restaurant_id": [1, 2]}
    assert to_polars(frame, ["restaurant_id"]).columns == ["restaurant_id"]
    levels = frame.set_index("restaurant_id", append=True)
    assert to_polars(levels).to_dict(as_series=False) == {"order_id": ["a", "b"], "restaurant_id": [1, 2]}


def test_lazy_frames_are_collected() -> None:
    assert to_polars(pl.LazyFrame({"a": [1], "b": [2]}), ["a"]).to_dict(as_series=False) == {"a": [1]}


def test_repeated_column_and_other_types_raise() -> None:
    repeated = pd.DataFrame([[1, 2]], columns=["city", "city"])
    with pytest.raises(UsageError, match="the column city more than once"):
        to_polars(repeated)
    assert to_polars(repeated, ["restaurant_id"]).shape == (1, 0)
    for value in ([{"restaurant_id": 1}], None, 3, np.zeros((2, 2))):
        with pytest.raises(UsageError, match=f"The orders are of type {type(value).__name__}; expected a path"):
            to_polars(value, subject="the orders")


def test_columns_are_added_with_index_and_replaced_in_place() -> None:
    added = pl.DataFrame({"b": [10.0, None], "c": ["x", "y"]})
    frame = pd.DataFrame({"a": [1, 2], "b": ["old", "old"], "z": [5, 6]}, index=["second", "first"])
    extended = with_columns(frame, added)
    assert [*extended.columns] == ["a", "b", "z", "c"]
    assert [*extended.index] == ["second", "first"]
    assert extended["b"].isna().tolist() == [False, True]
    assert frame["b"].tolist() == ["old", "old"]
    same_labels = pd.concat([pd.DataFrame({name: [1, 2]}, index=[7, 7]) for name in map(str, range(150))], axis=1)
    assert with_columns(same_labels, added).index.tolist() == [7, 7]
    assert with_columns(same_labels, added)["c"].tolist() == ["x", "y"]
    assert with_columns(frame, added.select("b")).columns.tolist() == ["a", "b", "z"]
    polars = with_columns(pl.DataFrame({"b": [0, 0], "a": [1, 2]}), added)
    assert polars.columns == ["b", "a", "c"]


def test_rows_keep_their_index() -> None:
    frame = pd.DataFrame({"a": [1, 2, 3]}, index=[30, 20, 10])
    assert take_rows(frame, np.array([2, 0])).index.tolist() == [10, 30]
    assert take_rows(pl.DataFrame({"a": [1, 2, 3]}), np.array([2, 0]))["a"].to_list() == [3, 1]


def test_table_has_the_types_of_its_library() -> None:
    table = pl.DataFrame({"day": [dt.date(2015, 6, 1)], "n": [3], "mae": [None]}, schema_overrides={"mae": pl.Float64})
    assert from_polars(table, "polars") is table
    frame = from_polars(table, "pandas")
    assert str(frame.dtypes["n"]) == "int64"
    assert np.isnan(frame["mae"][0])
    assert TAKE_HOME_SCHEMA.has("order_id")
