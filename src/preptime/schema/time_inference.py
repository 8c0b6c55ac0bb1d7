"""Infers formats and time zones of times, and the time zones of restaurants.

Times without an offset are local time at the restaurant, or UTC. Restaurants get few orders at night, which decides
between them if the time zone of the restaurants is far enough from UTC.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import polars as pl

from preptime.domain.time_zones import resolve_time_zone
from preptime.errors import DataError
from preptime.schema.column_contents import MIN_SHARE, ColumnContents, TimeReading
from preptime.schema.proposal import Inference, Question, best_name
from preptime.schema.synonyms import ORDER_SYNONYMS
from preptime.schema.toml_text import TomlValue

MAX_NIGHT_SHARE = 0.05
"""Restaurants get at most this share of their orders between 02:00 and 06:00, if the time zone is right."""
MIN_NIGHT_DIFFERENCE = 0.05
"""The wrong time zone has at least this much more of the orders in these hours. Otherwise, there's no evidence."""
MIN_EVIDENCE_ORDERS = 100
"""Fewer orders don't show when restaurants are open."""
_TIME_KEY = "order_acknowledged_at"


def propose_restaurant_zones(state: Inference, restaurant: str, roles: Mapping[str, str]) -> None:
    """Set the time zone of each order, from countries, zones, or `state.time_zone`. Otherwise, ask for it.

    `restaurant` is the column of orders with the restaurant, and `roles` are the columns of the restaurants file.
    """
    rows = len(state.contents[restaurant].cells)
    if state.time_zone and "time_zone" not in roles:
        state.add("restaurants", "time_zone", [state.time_zone], "The time zone of all restaurants.")
        state.zones = pl.repeat(state.time_zone, rows, eager=True)
        return
    known = _zones_of_restaurants(state, restaurant, roles) if roles else _zones_of_countries(state)
    if known is not None and known.null_count() == 0:
        state.zones = known
    elif "time_zone" not in roles:
        state.ask(Question("time_zone", "In which time zone are the restaurants? No column has it."))
        comment = "No column has the time zone of all restaurants. Use the IANA name, such as Europe/London."
        state.add("restaurants", "time_zone", [], comment)
    else:
        state.zones = known


def _zones_of_restaurants(state: Inference, restaurant: str, roles: Mapping[str, str]) -> pl.Series | None:
    """Return the zone of each order, null where the restaurants file doesn't have it. None if it has no zone."""
    contents = state.restaurant_contents or {}
    names = [name for name in ("restaurant_id", "country", "time_zone") if name in roles]
    table = pl.DataFrame([contents[roles[name]].cells.alias(name) for name in names])
    zones = [_zone_of(row.get("country"), row.get("time_zone")) for row in table.iter_rows(named=True)]
    keyed = table.select("restaurant_id", zone=pl.Series(zones, dtype=pl.String)).unique("restaurant_id", keep="first")
    if keyed["zone"].null_count() == len(keyed):
        return None
    keys = pl.DataFrame([state.contents[restaurant].cells.alias("restaurant_id")])
    found = keys.join(keyed, on="restaurant_id", how="left", maintain_order="left")["zone"]
    # Orders of restaurants that aren't in the file have another validation reason, and no time zone.
    return found.fill_null(str(keyed["zone"].mode()[0])) if keyed["zone"].null_count() == 0 else found


def _zones_of_countries(state: Inference) -> pl.Series | None:
    """Return the zone of each order by its country. None if there is no such column, or if no country has one zone."""
    name = best_name(ORDER_SYNONYMS["country"], list(state.contents))
    if name is None:
        return None
    countries = state.contents[name].cells
    zones = {country: _zone_of(country, None) for country in countries.drop_nulls().unique()}
    if not any(zones.values()):
        return None
    found = countries.replace_strict(zones, default=None, return_dtype=pl.String)
    is_complete = all(zones.values()) and countries.null_count() <= (1 - MIN_SHARE) * len(countries)
    return found.fill_null(str(found.drop_nulls().mode()[0])) if is_complete else found


def _zone_of(country: str | None, zone: str | None) -> str | None:
    try:
        return resolve_time_zone(country, zone)
    except DataError:
        return None


def propose_acknowledgement(state: Inference) -> TimeReading:
    """Add the line of the acknowledgement, and return its most likely reading.

    Raises `DataError` if no column contains times.
    """
    timed = state.timed()
    if not timed:
        raise _missing_times(state)
    name = state.best(ORDER_SYNONYMS[_TIME_KEY], timed)
    if name is None:
        text = "Which column is the time when the restaurant accepted the order?"
        choices = tuple((column, f"{column}, such as {values.example}") for column, values in timed.items())
        name = state.ask(Question(_TIME_KEY, text, choices))
    if name is None:
        state.add_candidates(_TIME_KEY, list(timed), "When the restaurant accepted the order.")
        return next(iter(timed.values())).times[0]
    state.roles[name] = _TIME_KEY
    return propose_time(state, _TIME_KEY, name)


def _missing_times(state: Inference) -> DataError:
    """Return the error for a file without readable times. It shows the column that has the name of one."""
    message = f"No column contains times with a date and a clock time. Existing columns: {', '.join(state.contents)}."
    name = best_name(ORDER_SYNONYMS[_TIME_KEY], [name for name, column in state.contents.items() if column.filled])
    if name is None:
        return DataError(message, "Export the time at which the restaurant accepted each order.")
    column = state.contents[name]
    message = f"{message} Values of {name}, such as {column.example!r}, have no known format."
    if column.numbers is not None:
        return DataError(message, "In a spreadsheet, format the cells as date and time. Then export the file again.")
    line = f'{_TIME_KEY} = {{ column = "{name}", format = "%Y-%m-%d %H:%M:%S" }}'
    return DataError(message, f"Write schema.toml yourself, with the directives of your format: {line}.")


def propose_time(state: Inference, key: str, name: str) -> TimeReading:
    """Add the line of a time, with one reading for each format and time zone that is possible. Return the first."""
    column = state.contents[name]
    readings = _choose_formats(state, column)
    time_zones, reason = _choose_time_zones(state, readings[0], column)
    values: list[TomlValue] = [
        column_value(name, {"format": reading.pattern, "time_zone": zone})
        for reading, zone in itertools.product(readings, time_zones)
    ]
    state.add("orders", key, values, f"Times such as {column.example!r}{reason}.")
    return readings[0]


def column_value(name: str, options: Mapping[str, str]) -> TomlValue:
    """Return the value of a key in `[orders]`: the column, or a table with the options that aren't empty."""
    given = {key: value for key, value in options.items() if value}
    return {"column": name, **given} if given else name


def _choose_formats(state: Inference, column: ColumnContents) -> list[TimeReading]:
    """Return the readings that are possible after the answers and the formats of other columns."""
    readings = list(column.times)
    if len(readings) == 1:
        return readings
    others = [_date_order(other.times[0]) for other in state.timed().values() if len(other.times) == 1]
    known = {*others} & {*map(_date_order, readings)}
    question = Question(
        "date_order",
        f"The dates in {column.name} have {len(readings)} readings. How is {column.example!r} read?",
        tuple((_date_order(reading), _meaning(column.example, reading)) for reading in readings),
    )
    order = next(iter(known)) if len(known) == 1 else state.ask(question)
    return [reading for reading in readings if _date_order(reading) == order] or readings


def _date_order(reading: TimeReading) -> str:
    """Return `day`, `month`, or `year` for a format that starts with it as one or two digits, or an empty string."""
    has_month_name = "%b" in reading.pattern or "%B" in reading.pattern
    return "" if has_month_name else {"%d": "day", "%m": "month", "%y": "year"}.get(reading.pattern[:2], "")


def _meaning(example: str, reading: TimeReading) -> str:
    filled = reading.times.drop_nulls()
    date = f"{filled[0]:%d %B %Y}".lstrip("0") if len(filled) else ""
    return f"{_date_order(reading)} first ({reading.pattern}): {example} is {date}"


def _choose_time_zones(state: Inference, reading: TimeReading, column: ColumnContents) -> tuple[list[str], str]:
    """Return the possible values of `time_zone`, with an empty one for local time, and the end of the comment."""
    if reading.is_instant:
        return [""], ", which are instants"
    text = f"The times in {column.name}, such as {column.example!r}, have no offset. In which time zone are they?"
    choices = (("local", "local time at the restaurant"), ("UTC", "UTC, the default of many databases"))
    is_undecidable = "naive_times" in state.answers or column.filled < MIN_EVIDENCE_ORDERS
    shares = None if state.zones is None or is_undecidable else _night_shares(reading.times, state.zones)
    if shares is not None and abs(shares[0] - shares[1]) >= MIN_NIGHT_DIFFERENCE and min(shares) <= MAX_NIGHT_SHARE:
        zone, other = ("", "UTC") if shares[0] < shares[1] else ("UTC", "local time")
        evidence = f"{min(shares):.1%} of the orders are between 02:00 and 06:00, and {max(shares):.1%} as {other}"
        return [zone], f", in {zone or 'local time at the restaurant'}: {evidence}"
    answer = state.ask(Question("naive_times", text, choices))
    if answer is None:
        return ["", "UTC"], " without an offset: local time at the restaurant, or UTC"
    return ([""], ", in local time at the restaurant") if answer == "local" else (["UTC"], ", in UTC")


def _night_shares(times: pl.Series, zones: pl.Series) -> tuple[float, float]:
    """Return the share of orders between 02:00 and 06:00, if times are local, and if they are UTC."""
    frame = pl.DataFrame({"time": times, "zone": zones}).drop_nulls()
    if frame.is_empty():
        return 0.0, 0.0
    in_utc = [
        part["time"].dt.replace_time_zone("UTC").dt.convert_time_zone(str(zone)).dt.hour()
        for (zone,), part in frame.group_by("zone", maintain_order=True)
    ]
    return _night_share(frame["time"].dt.hour()), _night_share(pl.concat(in_utc))


def _night_share(hours: pl.Series) -> float:
    return int(hours.is_between(2, 5).sum()) / len(hours)


def seconds_between(start: TimeReading, end: TimeReading) -> pl.Series:
    """Return the seconds from one time to another, null where one is missing."""
    return (end.times - start.times).dt.total_seconds().cast(pl.Float64)


def is_after(start: TimeReading, column: ColumnContents) -> bool:
    """Return whether almost all times of a column are after the acknowledgement, in any reading."""
    differences = [seconds_between(start, reading).drop_nulls() for reading in column.times]
    return any(len(seconds) > 0 and int((seconds >= 0).sum()) >= MIN_SHARE * len(seconds) for seconds in differences)
