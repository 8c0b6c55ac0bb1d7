"""The nineteen exports of a new user: synthetic orders in the formats that companies use (docs/schema.md).

Each export knows its orders in UTC, so that tests can compare what the inferred schema reads. `run_two_commands` runs
`preptime schema infer` and `preptime demo` on an export, from its files to a champion.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import polars as pl

from preptime.synthetic import SynthesisPlan, synthesize_frames
from preptime.synthetic.world import TIME_ZONES
from tests.cli.run_command import CommandResult, preptime

PLAN = SynthesisPlan(orders=3_000, restaurants=40, days=35)
UTC = pl.Datetime("us", "UTC")
NAIVE_TIMES = ("--times", "local")


@dataclass(frozen=True)
class Export:
    """Files of a company, and what they mean."""

    name: str
    orders: pl.DataFrame
    """Cells as the company writes them."""
    truth: pl.DataFrame
    """[N] `acknowledged_utc`, `prep_time_seconds`, `order_value`, and `number_of_items` of the same rows."""
    restaurants: pl.DataFrame | None
    options: tuple[str, ...] = ()
    """Options of `schema infer` that the data can't replace."""
    open_key: str = ""
    """The key that is open without the options."""
    separator: str = ","
    encoding: str = "utf-8"
    demo_options: tuple[str, ...] = ()
    """Options of `demo` for exports with fewer orders than the data gate requires."""
    features: tuple[str, ...] = ()
    """The custom features."""
    expected: dict[str, dict[str, str]] = field(default_factory=dict)
    """Options of order columns that the schema must have, by canonical name."""

    def write(self, folder: Path) -> tuple[Path, Path | None]:
        """Write the files, and return their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        orders = folder / "orders.csv"
        text = self.orders.write_csv(separator=self.separator)
        orders.write_text(text, encoding=self.encoding, newline="")
        if self.restaurants is None:
            return orders, None
        restaurants = folder / "restaurants.csv"
        restaurants.write_text(self.restaurants.write_csv(separator=self.separator), encoding=self.encoding, newline="")
        return orders, restaurants


@cache
def base(plan: SynthesisPlan = PLAN) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return orders in UTC with the time zone of their restaurant, and the restaurants."""
    orders, restaurants, _ = synthesize_frames(plan)
    zones = restaurants.select("restaurant_id", zone=pl.col("country").replace_strict(TIME_ZONES))
    return orders.join(zones, on="restaurant_id", how="left", maintain_order="left"), restaurants


def _truth(orders: pl.DataFrame) -> pl.DataFrame:
    return orders.select(
        pl.col("order_acknowledged_at").dt.replace_time_zone(None).alias("acknowledged_utc"),
        pl.col("prep_time_seconds"),
        pl.col("order_value_gbp").alias("order_value"),
        pl.col("number_of_items"),
    )


def _local(orders: pl.DataFrame, column: str) -> pl.Series:
    """Return a time as local time at the restaurant, without an offset."""
    numbered = orders.select("zone", column).with_row_index("row")
    parts = [
        part.with_columns(pl.col(column).dt.convert_time_zone(str(zone)).dt.replace_time_zone(None))
        for (zone,), part in numbered.group_by("zone", maintain_order=True)
    ]
    return pl.concat(parts).sort("row")[column]


def _written(orders: pl.DataFrame, pattern: str, *, local: bool) -> pl.DataFrame:
    """Return take-home columns with times in a format."""
    times = {
        name: (_local(orders, name) if local else orders[name].dt.replace_time_zone(None)).dt.strftime(pattern)
        for name in ("order_acknowledged_at", "order_ready_at")
    }
    return orders.with_columns(**times).drop("zone")


def _whole_seconds(orders: pl.DataFrame) -> pl.DataFrame:
    """Return orders whose times are whole seconds, as most formats write them."""
    times = [pl.col(name).dt.truncate("1s") for name in ("order_acknowledged_at", "order_ready_at")]
    seconds = (pl.col("order_ready_at") - pl.col("order_acknowledged_at")).dt.total_seconds()
    return orders.with_columns(times).with_columns(prep_time_seconds=seconds)


def _whole_minutes(orders: pl.DataFrame) -> pl.DataFrame:
    times = [pl.col(name).dt.truncate("1m") for name in ("order_acknowledged_at", "order_ready_at")]
    seconds = (pl.col("order_ready_at") - pl.col("order_acknowledged_at")).dt.total_seconds()
    return orders.with_columns(times).with_columns(prep_time_seconds=seconds)


def _with_offsets(orders: pl.DataFrame) -> pl.DataFrame:
    return _written(orders, "%Y-%m-%d %H:%M:%S+00:00", local=False)


def _doordash() -> Export:
    """DoorDash's names: naive UTC times in Los Angeles, cents, deliveries, no order identifier, no restaurants file."""
    orders, restaurants = base()
    zone = "America/Los_Angeles"
    moved = _whole_seconds(orders).with_columns(
        _local(orders, name)
        .dt.truncate("1s")
        .dt.replace_time_zone(zone, ambiguous="earliest")
        .dt.convert_time_zone("UTC")
        for name in ("order_acknowledged_at", "order_ready_at")
    )
    places = restaurants.select(
        "restaurant_id", market_id=pl.col("city").rank("dense"), store_primary_category=pl.col("type_of_food")
    )
    written = moved.join(places, on="restaurant_id", how="left", maintain_order="left").select(
        "market_id",
        created_at=pl.col("order_acknowledged_at").dt.strftime("%Y-%m-%d %H:%M:%S"),
        actual_delivery_time=pl.col("order_ready_at").dt.strftime("%Y-%m-%d %H:%M:%S"),
        store_id=pl.col("restaurant_id"),
        store_primary_category=pl.col("store_primary_category"),
        order_protocol=pl.col("restaurant_id") % 5 + 1,
        total_items=pl.col("number_of_items"),
        subtotal=(pl.col("order_value_gbp") * 100).round().cast(pl.Int64),
    )
    return Export(
        *("doordash", written, _truth(moved), None, ("--time-zone", zone), "time_zone"),
        features=("order_protocol",),
        expected={"order_acknowledged_at": {"time_zone": "UTC"}, "order_value": {"unit": "cents"}},
    )


def _day_first() -> Export:
    orders = _whole_seconds(base()[0])
    pattern = "%d/%m/%Y %H:%M:%S"
    written = _written(orders, pattern, local=True).drop("prep_time_seconds")
    return Export(
        *("day_first", written, _truth(orders), base()[1], NAIVE_TIMES, "order_acknowledged_at"),
        expected={"order_acknowledged_at": {"format": pattern}, "order_ready_at": {"format": pattern}},
    )


def _month_first() -> Export:
    orders = _whole_minutes(base()[0])
    pattern = "%m/%d/%Y %I:%M %p"
    written = _written(orders, pattern, local=True).drop("prep_time_seconds")
    return Export(
        *("month_first", written, _truth(orders), base()[1], NAIVE_TIMES, "order_acknowledged_at"),
        expected={"order_acknowledged_at": {"format": pattern}},
    )


def _currency_sign() -> Export:
    orders = _whole_seconds(base()[0])
    written = _with_offsets(orders).with_columns(order_value_gbp="£" + pl.col("order_value_gbp").cast(pl.String))
    return Export(*("currency_sign", written, _truth(orders), base()[1]), expected={"order_value": {"currency": "GBP"}})


def _decimal_comma() -> Export:
    orders = _whole_seconds(base()[0])
    comma = pl.col("order_value_gbp").cast(pl.String).str.replace(".", ",", literal=True)
    written = _with_offsets(orders).with_columns(order_value_gbp=comma)
    return Export("decimal_comma", written, _truth(orders), base()[1], separator=";")


def _text_ids(name: str, to_text: pl.Expr) -> Export:
    orders, restaurants = _whole_seconds(base()[0]), base()[1]
    written = _with_offsets(orders).with_columns(restaurant_id=to_text)
    return Export(name, written, _truth(orders), restaurants.with_columns(restaurant_id=to_text))


def _prefixed_ids() -> Export:
    return _text_ids("prefixed_ids", "R-" + (pl.col("restaurant_id") + 1_000).cast(pl.String))


def _uuids() -> Export:
    number = pl.col("restaurant_id").cast(pl.String).str.zfill(12)
    return _text_ids("uuids", "9b2f7f0e-53a4-4c8e-8f6c-" + number)


def _minutes() -> Export:
    """The label in minutes with one decimal."""
    orders = _whole_seconds(base()[0])
    minutes = (pl.col("prep_time_seconds") / 60).round(1)
    written = _with_offsets(orders).with_columns(prep_time_minutes=minutes).drop("order_ready_at", "prep_time_seconds")
    truth = _truth(orders.with_columns(prep_time_seconds=(minutes * 60).round().cast(pl.Int64)))
    return Export(*("minutes", written, truth, base()[1]), expected={"prep_time_seconds": {"unit": "min"}})


def _no_restaurants() -> Export:
    orders = _whole_seconds(base()[0])
    options = ("--time-zone", "Europe/London")
    return Export("no_restaurants", _with_offsets(orders), _truth(orders), None, options, "time_zone")


def _other_country(name: str, country: str, zone: str) -> Export:
    """A country with several time zones. Times have the offset of this one."""
    orders, restaurants = base()
    moved = _whole_seconds(orders).with_columns(
        _local(orders, column)
        .dt.truncate("1s")
        .dt.replace_time_zone(zone, ambiguous="earliest")
        .dt.convert_time_zone("UTC")
        for column in ("order_acknowledged_at", "order_ready_at")
    )
    countries = restaurants.with_columns(country=pl.lit(country))
    return Export(name, _with_offsets(moved), _truth(moved), countries, ("--time-zone", zone), "time_zone")


def _naive_utc() -> Export:
    orders = _whole_seconds(base()[0])
    written = _written(orders, "%Y-%m-%d %H:%M:%S", local=False)
    return Export(
        *("naive_utc", written, _truth(orders), base()[1], ("--times", "UTC"), "order_acknowledged_at"),
        expected={"order_acknowledged_at": {"time_zone": "UTC"}},
    )


def _byte_order_mark() -> Export:
    orders = _whole_seconds(base()[0])
    return Export("byte_order_mark", _with_offsets(orders), _truth(orders), base()[1], encoding="utf-8-sig")


def _epochs() -> Export:
    orders = _whole_seconds(base()[0])
    names = ("order_acknowledged_at", "order_ready_at")
    written = orders.with_columns(pl.col(name).dt.epoch("ms") for name in names).drop("zone")
    return Export("epochs", written, _truth(orders), base()[1])


def _subset(name: str, keep: pl.Expr, *demo_options: str) -> Export:
    orders = _whole_seconds(base()[0]).filter(keep)
    files = (name, _with_offsets(orders), _truth(orders), base()[1])
    return Export(*files, demo_options=demo_options)


def _half_a_day() -> Export:
    acknowledged = pl.col("order_acknowledged_at")
    is_missing = (acknowledged.dt.date() == dt.date(2015, 6, 20)) & (acknowledged.dt.hour() >= 15)
    return _subset("half_a_day", ~is_missing)


def _one_restaurant() -> Export:
    """With fewer than about 1,000 orders, the models aren't significantly better than the restaurant's median."""
    orders, restaurants = base(replace(PLAN, orders=1_500, restaurants=1))
    orders = _whole_seconds(orders)
    return Export("one_restaurant", _with_offsets(orders), _truth(orders), restaurants)


def _three_days() -> Export:
    return _subset(
        "three_days",
        pl.col("order_acknowledged_at").dt.date() < dt.date(2015, 6, 4),
        *("--gate", "min_days=3", "--gate", "min_orders=200"),
    )


def _few_orders() -> Export:
    is_kept = pl.int_range(pl.len()) % (PLAN.orders // 200) == 0
    return _subset("few_orders", is_kept, "--gate", "min_orders=100")


def _additional_columns() -> Export:
    """Distance, weather, and type of courier, with missing values, and columns that aren't features."""
    orders = _whole_seconds(base()[0])
    row = pl.int_range(pl.len())
    distance = pl.when(row % 20 == 0).then(None).otherwise((row * 37 % 900) / 100)
    written = _with_offsets(orders).with_columns(
        distance_km=distance,
        weather=pl.Series(["sun", "rain", "snow"]).gather(orders["order_id"] % 3),
        courier_type=pl.Series(["bike", "car"]).gather(orders["restaurant_id"] % 2),
        comment="Order " + pl.col("order_id").cast(pl.String),
        courier_arrived_at=pl.col("order_ready_at"),
        rating=row % 5 + 1,
        source=pl.lit("app"),
    )
    return Export(
        *("additional_columns", written, _truth(orders), base()[1]), features=("distance_km", "weather", "courier_type")
    )


EXPORTS: dict[str, Callable[[], Export]] = {
    "doordash": _doordash,
    "day_first": _day_first,
    "month_first": _month_first,
    "currency_sign": _currency_sign,
    "decimal_comma": _decimal_comma,
    "prefixed_ids": _prefixed_ids,
    "uuids": _uuids,
    "minutes": _minutes,
    "no_restaurants": _no_restaurants,
    "united_states": lambda: _other_country("united_states", "US", "America/New_York"),
    "brazil": lambda: _other_country("brazil", "Brazil", "America/Sao_Paulo"),
    "naive_utc": _naive_utc,
    "byte_order_mark": _byte_order_mark,
    "epochs": _epochs,
    "half_a_day": _half_a_day,
    "one_restaurant": _one_restaurant,
    "three_days": _three_days,
    "few_orders": _few_orders,
    "additional_columns": _additional_columns,
}
"""The nineteen exports, by name."""


def infer(export: Export, folder: Path, *extra: str, options: tuple[str, ...] | None = None) -> CommandResult:
    """Write an export to a folder, and run `schema infer --yes` on it."""
    orders, restaurants = export.write(folder)
    files = (str(orders), *(() if restaurants is None else ("--restaurants", str(restaurants))))
    given = export.options if options is None else options
    return preptime("schema", "infer", *files, *given, "--out", folder / "schema.toml", "--yes", *extra)


def run_two_commands(export: Export, folder: Path) -> tuple[CommandResult, CommandResult]:
    """Run `schema infer` and `demo` on an export, and return their results. The store is `folder / "models"`."""
    inferred = infer(export, folder)
    restaurants: list[str | Path] = []
    if export.restaurants is not None:
        restaurants = ["--restaurants", folder / "restaurants.csv"]
    arguments = ["demo", "--orders", folder / "orders.csv", *restaurants, "--schema", folder / "schema.toml"]
    return inferred, preptime(*arguments, "--out", folder, *export.demo_options, "--json")
