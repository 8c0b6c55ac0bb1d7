from __future__ import annotations

import time
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preptime.domain.data_dictionary import OUTCOME_COLUMNS
from preptime.sources.registry import open_source
from preptime.validation.audit import audit_orders
from preptime.validation.duplicates import order_id_texts, order_keys
from tests.validation.factories import make_month, make_order, make_orders, make_restaurant_index

RESTAURANT_INDEX = make_restaurant_index()


def _keys(frame: pl.DataFrame) -> list[str | None]:
    return order_keys(audit_orders(frame, RESTAURANT_INDEX, need_label=False).frame).to_list()


def test_order_keys_never_change() -> None:
    """Stored predictions have these keys, so keys must never change."""
    assert _keys(make_orders(make_order())) == ["4791e74e8b5bb18754ee80d657cd5a71"]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_order_keys_are_equal_in_csv_and_parquet(suffix: str, tmp_path: Path) -> None:
    rows = make_month(days=3)
    path = tmp_path / f"orders.{suffix}"
    rows.write_csv(path) if suffix == "csv" else rows.write_parquet(path)
    keys = _keys(open_source(path).frame())
    assert keys == _keys(rows)
    assert len(set(keys)) == len(rows)


@pytest.mark.parametrize(
    "cells",
    [
        {"order_acknowledged_at": "2015-06-01T18:00:00.25Z"},
        {"order_acknowledged_at": "2015-06-01 19:00:00.250"},
        {"order_acknowledged_at": "2015-06-01 20:00:00.250+02:00"},
        {"order_acknowledged_at": "1433181600250"},
        {"order_value_gbp": " 21.4 "},
        {"restaurant_id": "10.0", "number_of_items": "3.0"},
        {"order_ready_at": None, "prep_time_seconds": None},
        {"order_ready_at": "2015-06-01 22:00:00+01:00", "prep_time_seconds": "10800"},
    ],
)
def test_order_keys_other_format_has_the_same_key(cells: dict[str, str | None]) -> None:
    assert _keys(make_orders(make_order(**cells))) == _keys(make_orders(make_order()))


@pytest.mark.parametrize(
    "cells",
    [
        {"order_acknowledged_at": "2015-06-01 19:00:00.250001+01:00"},
        {"order_value_gbp": "21.41"},
        {"restaurant_id": "20"},
        {"number_of_items": "4"},
    ],
)
def test_order_keys_other_value_has_another_key(cells: dict[str, str | None]) -> None:
    assert _keys(make_orders(make_order(**cells))) != _keys(make_orders(make_order()))


@pytest.mark.parametrize(
    "cells",
    [
        {"order_acknowledged_at": "tomorrow"},
        {"order_value_gbp": "a lot"},
        {"restaurant_id": None},
        {"number_of_items": ""},
    ],
)
def test_order_keys_unidentifiable_order_has_no_key(cells: dict[str, str | None]) -> None:
    valid_key, missing_key = _keys(make_orders(make_order(), make_order(**cells)))
    assert valid_key is not None
    assert missing_key is None


def test_order_keys_use_the_order_id_if_present() -> None:
    frame = make_orders(
        make_order(order_id=" A-1 "), make_order(order_id="A-2", order_value_gbp="?"), make_order(order_id=" ")
    )
    assert _keys(frame) == ["A-1", "A-2", *_keys(make_orders(make_order()))]


def test_order_keys_of_long_ids_have_fixed_length() -> None:
    """An index of PostgreSQL can't hold a longer key, and the digits must never change."""
    ids = ["é" * 1_000, "é" * 1_000 + "x", "é" * 1_000 + "y", None]
    short, first, second, no_id = _keys(make_orders(*(make_order(order_id=text) for text in ids)))
    assert (short, no_id) == (ids[0], *_keys(make_orders(make_order())))
    assert (first, second) == ("678138113edfe0a8511c72933ea787dd", "d2fdd2aa2578fb22594eaa8fd6f29dd9")


NUMERIC_KINDS = (pl.Int16(), pl.Int64(), pl.UInt64(), pl.Float32(), pl.Float64(), pl.Decimal(9, 2))


@pytest.mark.parametrize("kind", [pl.String(), pl.Categorical(), *NUMERIC_KINDS])
def test_order_keys_are_equal_for_every_id_type(kind: pl.DataType) -> None:
    ids = pl.Series([17, 4]) if kind.is_numeric() else pl.Series(["17", "4"])
    assert _keys(make_orders(make_order(), make_order()).with_columns(order_id=ids.cast(kind))) == ["17", "4"]


def test_order_keys_of_pandas_floats_are_whole_numbers() -> None:
    frame, expected = make_orders(*[make_order()] * 4), ["17", "1.5", "1.2345678901234568e+16"]
    texts = pl.Series([" 17.0", "1.5", "1.2345678901234568e+16", ""])
    floats = pl.Series([17.0, 1.5, 1.2345678901234568e16, float("nan")])
    for ids in (texts, floats):
        keys = _keys(frame.with_columns(order_id=ids))
        assert keys == [*expected, *_keys(make_orders(make_order()))], "a missing ID has a computed key"


@given(st.lists(st.one_of(st.none(), st.integers(-(2**53), 2**53)), min_size=1))
def test_order_ids_as_floats_equal_the_integers(ids: list[int | None]) -> None:
    integers = pl.Series(ids, dtype=pl.Int64)
    texts = order_id_texts(integers)
    assert texts.equals(integers.cast(pl.String))
    assert order_id_texts(integers.cast(pl.Float64)).equals(texts)
    of_pandas = pl.Series([None if number is None else f"{number}.0" for number in ids], dtype=pl.String)
    assert order_id_texts(of_pandas).equals(texts)


def test_order_keys_empty_ids_equal_no_id_column() -> None:
    assert _keys(make_orders(make_order()).with_columns(order_id=None)) == _keys(make_orders(make_order()))


@given(st.integers(0, 2**40), st.integers(0, 10_799))
def test_order_keys_do_not_depend_on_outcomes(seed: int, seconds: int) -> None:
    frame = make_month(days=1, per_day=5, seed=seed % 1000)
    with_outcomes = frame.with_columns(prep_time_seconds=pl.lit(seconds), order_ready_at=pl.lit(None))
    assert _keys(with_outcomes) == _keys(frame) == _keys(frame.drop(OUTCOME_COLUMNS))


def test_order_keys_of_100000_orders_are_fast() -> None:
    frame = make_month(days=1, per_day=100_000)
    parsed = audit_orders(frame, RESTAURANT_INDEX, need_label=False).frame
    start = time.process_time()
    assert order_keys(parsed).n_unique() == len(frame)
    assert time.process_time() - start < 3
