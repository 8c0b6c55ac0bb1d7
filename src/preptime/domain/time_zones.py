"""The time zone of a restaurant, and the UTC offsets of time zones.

A restaurant's own `time_zone` takes precedence. Otherwise, its country determines the zone, by name or ISO 3166 code,
in any case. The country `NA` is Namibia, whereas the time zone `NA` is a missing value. Countries with several zones
are left out on purpose, because a wrong guess would shift every hour feature of a city: their restaurants need the
`time_zone` column. Spain and Portugal mean their mainland.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import lru_cache
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from zoneinfo import TZPATH, ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from preptime.domain.cells import MISSING_TOKENS
from preptime.domain.timestamps import MICROSECONDS, SECONDS_PER_DAY
from preptime.errors import DataError

_ZONE_KEY_SPAN = 2**33
"""Seconds. Larger than any time here, so that (zone, second) fits into one sortable integer."""

# By zone: the names and ISO codes of its countries, in lower case.
_COUNTRIES_BY_ZONE: dict[str, str] = {
    "Africa/Abidjan": "ivory coast|côte d'ivoire|cote d'ivoire|ci|civ",
    "Africa/Accra": "ghana|gh|gha",
    "Africa/Addis_Ababa": "ethiopia|et|eth",
    "Africa/Algiers": "algeria|dz|dza",
    "Africa/Cairo": "egypt|eg|egy",
    "Africa/Casablanca": "morocco|ma|mar",
    "Africa/Dakar": "senegal|sn|sen",
    "Africa/Dar_es_Salaam": "tanzania|tz|tza",
    "Africa/Douala": "cameroon|cm|cmr",
    "Africa/Gaborone": "botswana|bw|bwa",
    "Africa/Harare": "zimbabwe|zw|zwe",
    "Africa/Johannesburg": "south africa|za|zaf",
    "Africa/Kampala": "uganda|ug|uga",
    "Africa/Kigali": "rwanda|rw|rwa",
    "Africa/Lagos": "nigeria|ng|nga",
    "Africa/Luanda": "angola|ao|ago",
    "Africa/Lusaka": "zambia|zm|zmb",
    "Africa/Maputo": "mozambique|mz|moz",
    "Africa/Nairobi": "kenya|ke|ken",
    "Africa/Tripoli": "libya|ly|lby",
    "Africa/Tunis": "tunisia|tn|tun",
    "Africa/Windhoek": "namibia|na|nam",
    "America/Argentina/Buenos_Aires": "argentina|ar|arg",
    "America/Asuncion": "paraguay|py|pry",
    "America/Bogota": "colombia|co|col",
    "America/Caracas": "venezuela|ve|ven",
    "America/Costa_Rica": "costa rica|cr|cri",
    "America/El_Salvador": "el salvador|sv|slv",
    "America/Guatemala": "guatemala|gt|gtm",
    "America/Guyana": "guyana|gy|guy",
    "America/Havana": "cuba|cu|cub",
    "America/Jamaica": "jamaica|jm|jam",
    "America/La_Paz": "bolivia|bo|bol",
    "America/Lima": "peru|pe|per",
    "America/Managua": "nicaragua|ni|nic",
    "America/Montevideo": "uruguay|uy|ury",
    "America/Nassau": "bahamas|the bahamas|bs|bhs",
    "America/Panama": "panama|pa|pan",
    "America/Paramaribo": "suriname|sr|sur",
    "America/Port_of_Spain": "trinidad and tobago|tt|tto",
    "America/Puerto_Rico": "puerto rico|pr|pri",
    "America/Santo_Domingo": "dominican republic|do|dom",
    "America/Tegucigalpa": "honduras|hn|hnd",
    "America/Barbados": "barbados|bb|brb",
    "America/Belize": "belize|bz|blz",
    "America/Port-au-Prince": "haiti|ht|hti",
    "Asia/Almaty": "kazakhstan|kz|kaz",
    "Asia/Amman": "jordan|jo|jor",
    "Asia/Baghdad": "iraq|iq|irq",
    "Asia/Bahrain": "bahrain|bh|bhr",
    "Asia/Baku": "azerbaijan|az|aze",
    "Asia/Bangkok": "thailand|th|tha",
    "Asia/Beirut": "lebanon|lb|lbn",
    "Asia/Bishkek": "kyrgyzstan|kg|kgz",
    "Asia/Brunei": "brunei|bn|brn",
    "Asia/Colombo": "sri lanka|lk|lka",
    "Asia/Damascus": "syria|sy|syr",
    "Asia/Dhaka": "bangladesh|bd|bgd",
    "Asia/Dubai": "united arab emirates|uae|ae|are",
    "Asia/Ho_Chi_Minh": "vietnam|viet nam|vn|vnm",
    "Asia/Hong_Kong": "hong kong|hk|hkg",
    "Asia/Jerusalem": "israel|il|isr",
    "Asia/Kabul": "afghanistan|af|afg",
    "Asia/Karachi": "pakistan|pk|pak",
    "Asia/Kathmandu": "nepal|np|npl",
    "Asia/Kolkata": "india|in|ind",
    "Asia/Kuala_Lumpur": "malaysia|my|mys",
    "Asia/Kuwait": "kuwait|kw|kwt",
    "Asia/Macau": "macau|macao|mo|mac",
    "Asia/Manila": "philippines|the philippines|ph|phl",
    "Asia/Muscat": "oman|om|omn",
    "Asia/Nicosia": "cyprus|cy|cyp",
    "Asia/Phnom_Penh": "cambodia|kh|khm",
    "Asia/Qatar": "qatar|qa|qat",
    "Asia/Riyadh": "saudi arabia|ksa|sa|sau",
    "Asia/Seoul": "south korea|korea|republic of korea|kr|kor",
    "Asia/Shanghai": "china|prc|cn|chn",
    "Asia/Singapore": "singapore|sg|sgp",
    "Asia/Taipei": "taiwan|tw|twn",
    "Asia/Tashkent": "uzbekistan|uz|uzb",
    "Asia/Tbilisi": "georgia|ge|geo",
    "Asia/Tehran": "iran|ir|irn",
    "Asia/Thimphu": "bhutan|bt|btn",
    "Asia/Tokyo": "japan|jp|jpn",
    "Asia/Vientiane": "laos|la|lao",
    "Asia/Yangon": "myanmar|burma|mm|mmr",
    "Asia/Yerevan": "armenia|am|arm",
    "Atlantic/Reykjavik": "iceland|is|isl",
    "Europe/Amsterdam": "netherlands|the netherlands|holland|nl|nld",
    "Europe/Andorra": "andorra|ad|and",
    "Europe/Athens": "greece|gr|grc",
    "Europe/Belgrade": "serbia|rs|srb",
    "Europe/Berlin": "germany|deutschland|de|deu",
    "Europe/Bratislava": "slovakia|sk|svk",
    "Europe/Brussels": "belgium|belgique|belgië|be|bel",
    "Europe/Bucharest": "romania|ro|rou",
    "Europe/Budapest": "hungary|hu|hun",
    "Europe/Chisinau": "moldova|md|mda",
    "Europe/Copenhagen": "denmark|danmark|dk|dnk",
    "Europe/Dublin": "ireland|republic of ireland|éire|eire|ie|irl",
    "Europe/Gibraltar": "gibraltar|gi|gib",
    "Europe/Guernsey": "guernsey|gg|ggy",
    "Europe/Helsinki": "finland|suomi|fi|fin",
    "Europe/Isle_of_Man": "isle of man|im|imn",
    "Europe/Istanbul": "turkey|türkiye|turkiye|tr|tur",
    "Europe/Jersey": "jersey|je|jey",
    "Europe/Kyiv": "ukraine|ua|ukr",
    "Europe/Lisbon": "portugal|pt|prt",
    "Europe/Ljubljana": "slovenia|si|svn",
    "Europe/London": "uk|united kingdom|great britain|britain|england|scotland|wales|northern ireland|gb|gbr",
    "Europe/Luxembourg": "luxembourg|lu|lux",
    "Europe/Madrid": "spain|españa|espana|es|esp",
    "Europe/Malta": "malta|mt|mlt",
    "Europe/Minsk": "belarus|by|blr",
    "Europe/Monaco": "monaco|mc|mco",
    "Europe/Oslo": "norway|norge|no|nor",
    "Europe/Paris": "france|fr|fra",
    "Europe/Podgorica": "montenegro|me|mne",
    "Europe/Prague": "czechia|czech republic|cz|cze",
    "Europe/Riga": "latvia|lv|lva",
    "Europe/Rome": "italy|italia|it|ita",
    "Europe/San_Marino": "san marino|sm|smr",
    "Europe/Sarajevo": "bosnia and herzegovina|bosnia|ba|bih",
    "Europe/Skopje": "north macedonia|macedonia|mk|mkd",
    "Europe/Sofia": "bulgaria|bg|bgr",
    "Europe/Stockholm": "sweden|sverige|se|swe",
    "Europe/Tallinn": "estonia|ee|est",
    "Europe/Tirane": "albania|al|alb",
    "Europe/Vaduz": "liechtenstein|li|lie",
    "Europe/Vienna": "austria|österreich|at|aut",
    "Europe/Vilnius": "lithuania|lt|ltu",
    "Europe/Warsaw": "poland|polska|pl|pol",
    "Europe/Zagreb": "croatia|hr|hrv",
    "Europe/Zurich": "switzerland|schweiz|suisse|svizzera|ch|che",
    "Indian/Maldives": "maldives|mv|mdv",
    "Indian/Mauritius": "mauritius|mu|mus",
    "Pacific/Auckland": "new zealand|nz|nzl",
    "Pacific/Fiji": "fiji|fj|fji",
}


@lru_cache(maxsize=1)
def zones_by_country() -> dict[str, str]:
    """Return the IANA zone by country name or ISO code, in lower case."""
    return {name: zone for zone, names in _COUNTRIES_BY_ZONE.items() for name in names.split("|")}


def resolve_time_zone(country: str | None, time_zone: str | None) -> str:
    """Return the IANA zone of a restaurant: `time_zone` if it has one, otherwise its country's.

    Raises `DataError` for an unknown zone or country.
    """
    if time_zone and time_zone.strip().lower() not in MISSING_TOKENS:
        load_time_zone(time_zone)
        return time_zone
    if not country:
        raise DataError(
            "A restaurant has neither country nor time_zone.", "Add an IANA time zone, such as Europe/Paris."
        )
    country_zone = zones_by_country().get(country.strip().casefold())
    if country_zone is None:
        raise DataError(
            f"The country {country!r} is unknown or has several time zones.",
            "Add a column time_zone to the restaurants file with an IANA name, such as America/New_York.",
        )
    return country_zone


def load_time_zone(name: str) -> ZoneInfo:
    """Return the zone with an IANA name (cached by `zoneinfo`). Raises `DataError` for an unknown name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise DataError(
            f"The time zone {name!r} is unknown.", "Use an IANA name, such as Europe/London or Asia/Tokyo."
        ) from error


def country_of_zone(name: str) -> str:
    """Return the ISO 3166 code of the country of an IANA zone or of its alias, or an empty string if it's unknown.

    A zone without a place, such as `UTC` or `CET`, has no country.

    Example:
        >>> country_of_zone("Asia/Calcutta"), country_of_zone("America/Monterrey"), country_of_zone("Etc/UTC")
        ('IN', 'MX', '')
    """
    countries, zones = _zone_tables()
    is_abbreviation = name.isupper() and name.endswith("T")  # CET is an alias of Europe/Brussels
    return "" if is_abbreviation else countries.get(name) or countries.get(zones.get(name, ""), "")


@lru_cache(maxsize=1)
def _zone_tables() -> tuple[dict[str, str], dict[str, str]]:
    """Return the country of each zone and the zone of each alias, from the time zone data of `zoneinfo`."""
    places = [line.split("\t") for line in _time_zone_text("zone.tab").splitlines() if not line.startswith("#")]
    links = [line.split() for line in _time_zone_text("tzdata.zi").splitlines() if line.startswith("L ")]
    return {place[2]: place[0] for place in places}, {alias: zone for _, zone, alias in links}


def _time_zone_text(file_name: str) -> str:
    """Return a table of the system's time zone data or of the package tzdata, or an empty string without either."""
    folders = [*map(Path, TZPATH)] + ([resources.files("tzdata") / "zoneinfo"] if find_spec("tzdata") else [])
    files = (folder / file_name for folder in folders)
    return next((file.read_text(encoding="utf-8") for file in files if file.is_file()), "")


def last_midnight(day: date, zone_names: Iterable[str]) -> float:
    """Return when midnight of `day` has passed in every zone and in UTC, in seconds since 1970.

    The age of a date counts from here. Its jobs run later, in the time zone of the westernmost restaurant or in UTC
    (docs/daily-run.md).
    """
    zones = (UTC, *map(load_time_zone, zone_names))
    return max(datetime.combine(day, time(), zone).timestamp() for zone in zones)


@dataclass(frozen=True, slots=True)
class OffsetTable:
    """UTC offsets of several zones as steps over packed (zone, second) keys.

    One binary search finds the offsets of a column, whatever zones it mixes.
    """

    utc_keys: NDArray[np.int64]
    local_keys: NDArray[np.int64]
    microseconds: NDArray[np.int64]

    def offset_at_utc(self, zone_codes: NDArray[np.int32], utc: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return [N] offsets, in microseconds, at times in UTC."""
        return self._lookup(self.utc_keys, zone_codes, utc)

    def offset_at_local(self, zone_codes: NDArray[np.int32], local: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return [N] offsets, in microseconds, at local times."""
        return self._lookup(self.local_keys, zone_codes, local)

    def _lookup(
        self, step_keys: NDArray[np.int64], zone_codes: NDArray[np.int32], microseconds_since_epoch: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        if len(step_keys) == 1:
            return np.broadcast_to(self.microseconds, microseconds_since_epoch.shape)
        keys = zone_codes.astype(np.int64) * _ZONE_KEY_SPAN + microseconds_since_epoch // MICROSECONDS
        return self.microseconds[np.searchsorted(step_keys, keys, side="right") - 1]


def build_offset_table(microseconds: NDArray[np.int64], zone_names: Sequence[str]) -> OffsetTable:
    """Return the steps of every zone from two days before the first value to two days after the last."""
    first = int(microseconds.min()) // MICROSECONDS - 2 * SECONDS_PER_DAY
    last = int(microseconds.max()) // MICROSECONDS + 2 * SECONDS_PER_DAY
    utc_keys, local_keys, offsets = [], [], []
    for code, name in enumerate(zone_names):
        previous_offset = None
        for start, offset in _offset_steps(name, first, last):
            # In local time, the old offset lasts through a skipped hour and through the first pass of a repeated hour.
            local_second = start if previous_offset is None else start + max(previous_offset, offset)
            utc_keys.append(code * _ZONE_KEY_SPAN + (0 if previous_offset is None else start))
            local_keys.append(code * _ZONE_KEY_SPAN + (0 if previous_offset is None else local_second))
            offsets.append(offset * MICROSECONDS)
            previous_offset = offset
    return OffsetTable(np.array(utc_keys, np.int64), np.array(local_keys, np.int64), np.array(offsets, np.int64))


def _offset_steps(zone_key: str, first: int, last: int) -> list[tuple[int, int]]:
    """Return (UTC second, offset in seconds) of each change of a zone's offset. The first step is at `first`."""
    years = range(datetime.fromtimestamp(first, UTC).year, datetime.fromtimestamp(last, UTC).year + 1)
    changes = [change for year in years for change in _offset_changes(zone_key, year)]
    first_step = (first, _offset_seconds_at(load_time_zone(zone_key), first))
    return [first_step, *(change for change in changes if first < change[0] <= last)]


@lru_cache(maxsize=4096)
def _offset_changes(zone_key: str, year: int) -> tuple[tuple[int, int], ...]:
    """Return (UTC second, new offset in seconds) of each change of a zone's offset in a year."""
    zone = load_time_zone(zone_key)
    changes = []
    low, last = (int(datetime(start_year, 1, 1, tzinfo=UTC).timestamp()) - 1 for start_year in (year, year + 1))
    offset = _offset_seconds_at(zone, low)
    while low < last:
        # No zone changes its offset twice within a day.
        high = min(low + SECONDS_PER_DAY, last)
        if _offset_seconds_at(zone, high) != offset:
            left, right = low, high
            while right - left > 1:
                middle = (left + right) // 2
                left, right = (middle, right) if _offset_seconds_at(zone, middle) == offset else (left, middle)
            offset = _offset_seconds_at(zone, right)
            changes.append((right, offset))
        low = high
    return tuple(changes)


def _offset_seconds_at(zone: ZoneInfo, second: int) -> int:
    utc_offset = datetime.fromtimestamp(second, UTC).astimezone(zone).utcoffset()
    return 0 if utc_offset is None else int(utc_offset.total_seconds())
