from __future__ import annotations

import polars as pl
import pytest

from preptime.domain.orders import UNKNOWN_CODE
from preptime.validation.parsing import parse_categories

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
    assert parse_categories(pl.Series(["42", "0"]), ("1", "42")).tolist() == [1, 0]
