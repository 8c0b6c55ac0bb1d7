"""The time zone of a restaurant.

A restaurant's own `time_zone` takes precedence. Otherwise, its country determines the zone, by name or ISO 3166 code,
in any case. Countries with several zones are left out on purpose, because a wrong guess would shift every hour feature
of a city: their restaurants need the `time_zone` column. Spain and Portugal mean their mainland.
"""

from __future__ import annotations

from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from preptime.errors import DataError

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
    if time_zone:
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
