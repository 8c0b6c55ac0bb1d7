from __future__ import annotations

import pytest

from preptime.domain.time_zones import load_time_zone, resolve_time_zone, zones_by_country
from preptime.errors import DataError


def test_every_declared_zone_exists_here() -> None:
    for name in set(zones_by_country().values()):
        assert load_time_zone(name).key == name


def test_no_country_is_declared_for_two_zones() -> None:
    # A name declared twice would be lost in the dictionary: as many names as the declaration spells.
    from preptime.domain import time_zones

    spelt = [name for names in time_zones._COUNTRIES_BY_ZONE.values() for name in names.split("|")]
    assert len(spelt) == len(zones_by_country())
    assert spelt == [name.casefold() for name in spelt]


@pytest.mark.parametrize(
    ("country", "expected"),
    [
        ("UK", "Europe/London"),
        ("GBR", "Europe/London"),
        ("France", "Europe/Paris"),
        (" ireland ", "Europe/Dublin"),
        ("Germany", "Europe/Berlin"),
        ("de", "Europe/Berlin"),
        ("Japan", "Asia/Tokyo"),
    ],
)
def test_a_country_gives_its_zone_by_name_or_code_in_any_case(country: str, expected: str) -> None:
    assert resolve_time_zone(country, None) == expected


def test_a_restaurants_own_zone_wins() -> None:
    assert resolve_time_zone("UK", "Atlantic/Bermuda") == "Atlantic/Bermuda"
    assert resolve_time_zone("USA", "America/New_York") == "America/New_York"


@pytest.mark.parametrize("country", ["USA", "Australia", "Atlantis"])
def test_a_country_with_several_zones_or_none_says_what_to_add(country: str) -> None:
    with pytest.raises(DataError, match=rf"{country}.*time_zone"):
        resolve_time_zone(country, None)


@pytest.mark.parametrize("name", ["Europe/Londres", "", "/etc/passwd", "../x"])
def test_a_zone_that_does_not_exist_is_named(name: str) -> None:
    with pytest.raises(DataError, match="IANA"):
        resolve_time_zone(None, name)
