from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from preptime.validation.restaurants import order_time_zones
from tests.validation.factories import directory


def _zone(country: pl.Series, position: int = -1) -> str:
    zones, names = order_time_zones(pl.DataFrame({"country": country}), np.array([position]), directory())
    return names[int(zones[0])]


@pytest.mark.parametrize(
    "country",
    [
        pl.Series(["France"]),
        pl.Series([" France "]),
        pl.Series(["0"]),
        pl.Series([0]),
        pl.Series(["0.0"]),
        pl.Series([0.0]),
        pl.Series(["France"], dtype=pl.Categorical),
    ],
    ids=["name", "padded", "code as text", "code", "code as a float's text", "code as a float", "categorical"],
)
def test_a_stranger_lives_by_its_own_country(country: pl.Series) -> None:
    assert _zone(country) == "Europe/Paris"


def test_a_country_the_restaurants_file_lacks_still_has_a_zone() -> None:
    assert _zone(pl.Series(["Germany"])) == "Europe/Berlin"


@pytest.mark.parametrize("country", [pl.Series(["Atlantis"]), pl.Series([99]), pl.Series([None], dtype=pl.String)])
def test_without_a_country_the_usual_zone_stands_in(country: pl.Series) -> None:
    assert _zone(country) == "Europe/London"


def test_a_listed_restaurant_lives_by_its_own_zone() -> None:
    paris = int(directory().positions(np.array([30]))[0])
    assert _zone(pl.Series(["UK"]), paris) == "Europe/Paris"
