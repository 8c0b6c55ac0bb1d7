from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from preptime.validation.restaurants import order_time_zones
from tests.validation.factories import make_restaurant_index


def _zone(country: pl.Series, restaurant_index: int = -1) -> str:
    zone_codes, names = order_time_zones(
        pl.DataFrame({"country": country}), np.array([restaurant_index]), make_restaurant_index()
    )
    return names[int(zone_codes[0])]


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
def test_order_time_zones_unknown_restaurant_uses_country(country: pl.Series) -> None:
    assert _zone(country) == "Europe/Paris"


def test_order_time_zones_country_without_restaurants() -> None:
    assert _zone(pl.Series(["Germany"])) == "Europe/Berlin"


@pytest.mark.parametrize("country", [pl.Series(["Atlantis"]), pl.Series([99]), pl.Series([None], dtype=pl.String)])
def test_order_time_zones_without_country_most_common(country: pl.Series) -> None:
    assert _zone(country) == "Europe/London"


def test_order_time_zones_known_restaurant_uses_own_zone() -> None:
    paris = int(make_restaurant_index().positions(np.array([30]))[0])
    assert _zone(pl.Series(["UK"]), paris) == "Europe/Paris"
