from __future__ import annotations

import pytest

from preptime.domain.time_zones import load_time_zone, resolve_time_zone, zones_by_country
from preptime.errors import DataError


def test_zones_by_country_are_valid_zones() -> None:
    for name in set(zones_by_country().values()):
        assert load_time_zone(name).key == name


def test_zones_by_country_declares_each_country_once() -> None:
    # A name that is declared twice would be lost in the dictionary, so the numbers must be equal.
    from preptime.domain import time_zones

    declared_names = [name for names in time_zones._COUNTRIES_BY_ZONE.values() for name in names.split("|")]
    assert len(declared_names) == len(zones_by_country())
    assert declared_names == [name.casefold() for name in declared_names]


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
def test_resolve_time_zone_by_country_ignores_case(country: str, expected: str) -> None:
    assert resolve_time_zone(country, None) == expected


def test_resolve_time_zone_own_zone_takes_precedence() -> None:
    assert resolve_time_zone("UK", "Atlantic/Bermuda") == "Atlantic/Bermuda"
    assert resolve_time_zone("USA", "America/New_York") == "America/New_York"


def test_resolve_time_zone_na_is_namibia_but_no_zone() -> None:
    assert resolve_time_zone("NA", None) == "Africa/Windhoek"
    assert resolve_time_zone("UK", " NA ") == "Europe/London"


@pytest.mark.parametrize("country", ["USA", "Australia", "Atlantis"])
def test_resolve_time_zone_ambiguous_country_raises(country: str) -> None:
    with pytest.raises(DataError, match=rf"{country}.*time_zone"):
        resolve_time_zone(country, None)


@pytest.mark.parametrize("name", ["Europe/Londres", "", "/etc/passwd", "../x"])
def test_resolve_time_zone_unknown_zone_raises(name: str) -> None:
    with pytest.raises(DataError, match="IANA"):
        resolve_time_zone(None, name)
