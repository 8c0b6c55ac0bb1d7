"""Files of synthetic tables: whole or not at all, the same bytes for the same rows."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from preptime.tables.synthetic.world import TIME_ZONES

ROW_GROUP_ROWS = 262_144
INTEGER_CODED_COLUMNS = ("country", "city", "type_of_food")


def write_table(table: pl.DataFrame, restaurants: pl.DataFrame, path: Path) -> None:
    """Write csv or parquet, by the suffix of `path`.

    In csv instants become text of the restaurant's wall clock with its offset, as in the real file
    (`2015-06-01 12:28:28.952789+01:00`); `restaurants` says where it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary_path = path.with_name(f".{path.name}.unfinished")
    try:
        if path.suffix == ".parquet":
            table.write_parquet(temporary_path, compression="zstd", compression_level=1, row_group_size=ROW_GROUP_ROWS)
        else:
            _with_wall_clock(table, restaurants).write_csv(temporary_path)
        temporary_path.replace(path)
    finally:
        temporary_path.unlink(missing_ok=True)


def write_integer_coded_orders(
    orders: pl.DataFrame, restaurants: pl.DataFrame, path: Path, rows: int | None = None
) -> int:
    """Write the first `rows` orders (all by default) as the notebook's demo page wants them; returns how many.

    Nothing that is known only later, and a category's code is its position in the sorted values of `restaurants`.
    """
    codes = [pl.col(name).rank("dense").cast(pl.Int64) - 1 for name in INTEGER_CODED_COLUMNS]
    first_orders = orders.head(rows) if rows is not None else orders
    coded = first_orders.join(
        restaurants.with_columns(codes), on="restaurant_id", how="left", maintain_order="left"
    ).select("order_acknowledged_at", "order_value_gbp", "restaurant_id", "number_of_items", *INTEGER_CODED_COLUMNS)
    write_table(coded, restaurants, path)
    return coded.height


def _with_wall_clock(table: pl.DataFrame, restaurants: pl.DataFrame) -> pl.DataFrame:
    instant_columns = [
        name for name, kind in table.schema.items() if isinstance(kind, pl.Datetime) and kind.time_zone == "UTC"
    ]
    if not instant_columns:
        return table
    country = table.select("restaurant_id").join(
        restaurants.select("restaurant_id", "country"), on="restaurant_id", how="left", maintain_order="left"
    )["country"]
    zone = country.replace_strict(TIME_ZONES, default="UTC", return_dtype=pl.String)
    parts = []
    numbered = table.with_columns(zone.alias("_zone")).with_row_index("_row")
    for (name,), part in numbered.group_by("_zone", maintain_order=True):
        wall_clock_columns = [
            pl.col(column).dt.convert_time_zone(str(name)).dt.strftime("%Y-%m-%d %H:%M:%S%.6f%:z")
            for column in instant_columns
        ]
        parts.append(part.with_columns(wall_clock_columns))
    return pl.concat(parts).sort("_row").drop("_row", "_zone")
