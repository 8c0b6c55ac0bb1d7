from __future__ import annotations

import polars as pl
import pytest

from preptime.domain.orders import UNKNOWN_CODE
from preptime.validation.parsing import parse_categories
from preptime.validation.restaurants import text_column

FOODS = ("burgers", "italian", "thai")


@pytest.mark.parametrize(
    ("cells", "codes"),
    [
        (pl.Series(["thai", " burgers ", "sushi", "", None]), [2, 0, UNKNOWN_CODE, UNKNOWN_CODE, UNKNOWN_CODE]),
        (pl.Series(["2", "0.0", "3", "-1", "1.5"]), [2, 0, UNKNOWN_CODE, UNKNOWN_CODE, UNKNOWN_CODE]),
        (pl.Series([2, 0, 3, -1, None]), [2, 0, UNKNOWN_CODE, UNKNOWN_CODE, UNKNOWN_CODE]),
        (
            pl.Series([2.0, 0.5, float("nan"), float("inf"), None]),
            [2, UNKNOWN_CODE, UNKNOWN_CODE, UNKNOWN_CODE, UNKNOWN_CODE],
        ),
        (pl.Series(["thai", "thai", None], dtype=pl.Categorical), [2, 2, UNKNOWN_CODE]),
        (pl.Series([None, None]), [UNKNOWN_CODE, UNKNOWN_CODE]),
        (pl.Series([], dtype=pl.String), []),
    ],
)
def test_parse_categories_names_and_codes(cells: pl.Series, codes: list[int]) -> None:
    assert parse_categories(cells, FOODS).tolist() == codes


def test_parse_categories_name_precedes_code() -> None:
    assert parse_categories(pl.Series(["42", "thai", "0"]), ("42", "thai")).tolist() == [0, 1, UNKNOWN_CODE]


@pytest.mark.parametrize("dtype", [pl.String, pl.Int64, pl.Float64, pl.Decimal(5, 1)])
def test_parse_categories_numbers_are_names_in_every_format(dtype: pl.DataType) -> None:
    """Markets 1 to 3 have the same codes in CSV, in Parquet, and with a fraction of zero. Market 0 is unknown."""
    cells = pl.Series([1, 3, 2, 0, None, 4]).cast(dtype)
    expected = [0, 2, 1, UNKNOWN_CODE, UNKNOWN_CODE, UNKNOWN_CODE]
    assert parse_categories(cells, ("1", "2", "3")).tolist() == expected
    vocabulary = text_column(cells[:3].to_frame("market"), "market")
    assert vocabulary.to_list() == ["1", "3", "2"]
