from __future__ import annotations

import datetime as dt

import pytest

from preptime.domain.time_zones import (
    country_of_zone,
    last_midnight,
    load_time_zone,
    resolve_time_zone,
    zones_by_country,
)
from preptime.errors import DataError


def test_zones_by_country_are_valid_zones() -> None:
    for name in set(zones_by_country().values()):
        assert load_time_zone(name).key == name


def test_country_of_zone_is_that_of_the_table_and_of_aliases() -> None:
    """Every zone of a country here has the same country in the time zone data."""
    codes = {
        zone: {name for name, other in zones_by_country().items() if other == zone}
        for zone in zones_by_country().values()
    }
    assert all(country_of_zone(zone).lower() in names for zone, names in codes.items())
    zones = ("Asia/Calcutta", "Europe/Kiev", "Asia/Makassar", "Africa/Dakar", "US/Pacific", "PRC")
    assert [*map(country_of_zone, zones)] == ["IN", "UA", "ID", "SN", "US", "CN"]
    assert [*map(country_of_zone, ("UTC", "Etc/GMT+5", "CET", "EST5EDT", "Mars"))] == [""] * 5


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


@pytest.mark.parametrize(
    ("zone_names", "expected"),
    [
        ((), "2015-06-18T00:00+00:00"),
        (("Europe/London",), "2015-06-18T00:00+00:00"),
        (("Asia/Tokyo",), "2015-06-18T00:00+00:00"),
        (("America/New_York",), "2015-06-18T00:00-04:00"),
        (("America/New_York", "America/Los_Angeles", "Asia/Tokyo"), "2015-06-18T00:00-07:00"),
    ],
)
def test_last_midnight_is_that_of_westernmost_zone(zone_names: tuple[str, ...], expected: str) -> None:
    assert last_midnight(dt.date(2015, 6, 18), zone_names) == dt.datetime.fromisoformat(expected).timestamp()


@pytest.mark.parametrize(("zone", "schedule"), [
    ("Asia/Tokyo", "UTC"), ("Asia/Tokyo", "Asia/Tokyo"), ("Asia/Kolkata", "Europe/London"), ("Africa/Lagos", "UTC"),
    ("Europe/London", "UTC"), ("Europe/London", "Europe/London"), ("America/Sao_Paulo", "America/Sao_Paulo"),
    ("America/New_York", "America/New_York"), ("America/Los_Angeles", "America/Los_Angeles"),
    ("Pacific/Honolulu", "Pacific/Honolulu"),
])  # fmt: skip
def test_healthy_days_stay_below_the_limits_of_alerts(zone: str, schedule: str) -> None:
    """Trainings at 05:00 replace the history within 15 minutes, which the alert waits. Monitoring runs at 09:00."""
    for number in range(730):
        day = dt.date(2024, 1, 1) + dt.timedelta(number)
        midnight = last_midnight(day, [zone])
        for hour, limit_hours in ((5, 30), (9, 36)):
            next_run = dt.datetime.combine(day + dt.timedelta(1), dt.time(hour), load_time_zone(schedule))
            assert next_run.timestamp() - midnight <= limit_hours * 3600
