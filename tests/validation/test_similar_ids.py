from __future__ import annotations

import polars as pl
import pytest

from preptime.validation.restaurant_ids import parse_restaurant_ids
from preptime.validation.restaurants import read_restaurants
from preptime.validation.similar_ids import SimilarIds, describe_similar_ids, find_similar_ids
from tests.validation.factories import RESTAURANTS


def _find(ids: list[str], restaurant_ids: list[str]) -> tuple[SimilarIds, ...]:
    restaurants = pl.DataFrame({"restaurant_id": restaurant_ids}).join(
        RESTAURANTS[:1].drop("restaurant_id"), how="cross"
    )
    cells = pl.Series("restaurant_id", ids)
    parsed = parse_restaurant_ids(cells)
    keys = pl.Series(parsed.keys).set(pl.Series(parsed.unusable), None)
    return find_similar_ids(cells, keys, read_restaurants(restaurants))


@pytest.mark.parametrize(
    "spellings",
    [
        ("7", "007"),
        ("7", "7.00"),
        ("7", "+7"),
        ("1000", "1E3"),
        ("0.5", ".50"),
        ("-7", "-07"),
        ("0", "-0"),
        ("ab-1", "AB-1"),
        ("10124420001034504343", "010124420001034504343"),
    ],
)
def test_find_reports_what_a_spreadsheet_treats_as_one(spellings: tuple[str, str]) -> None:
    first, second = spellings
    (group,) = _find([first, second, first, "other", ""], ["other", first])
    assert group == SimilarIds((first, second), (2, 1))
    assert _find([first, first], [first]) == ()


def test_find_reports_spelling_of_restaurants_file() -> None:
    """A spreadsheet removed the zeros in one of two files, so that no order has a known restaurant."""
    (group,) = _find(["007", "007"], ["7", "8"])
    assert group.text == "'007' (2 orders) and '7' (restaurants file)"


def test_find_ignores_different_identifiers() -> None:
    assert _find(["7", "70", "700", "a", "b", "e3", "1e", "0x7", "é"], ["7", "e"]) == ()


def test_find_sorts_groups_and_limits_text() -> None:
    groups = _find(["9", "09", "09", "8", "08", "7", "07", "6", "06"], ["1"])
    assert [group.spellings[0] for group in groups] == ["09", "06", "07", "08"]
    lines = describe_similar_ids(groups)
    assert lines[0].startswith(
        "Restaurant identifiers that a spreadsheet would treat as one (4): '09' (2 orders) and '9'"
    )
    assert lines[0].endswith("; ….")
    assert describe_similar_ids(()) == []
