"""Find identifiers of restaurants that a spreadsheet would treat as one, such as `007` and `7`, or `ab` and `AB`.

Spreadsheets convert text to numbers and ignore case in lookups. For preptime, two spellings are two restaurants.
"""

from __future__ import annotations

import re
from decimal import Decimal

import msgspec
import polars as pl

from preptime.features.restaurant_index import RestaurantIndex
from preptime.formatting import format_count
from preptime.validation.restaurant_ids import restaurant_id_texts

MAX_SIMILAR_IDS = 100
"""The maximum number of groups in a report."""
_MAX_SHOWN = 3
_NUMBER_PATTERN = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?$"
_PLAIN_INTEGER = re.compile(r"0|[1-9][0-9]*")


class SimilarIds(msgspec.Struct, frozen=True):
    """Identifiers that a spreadsheet would treat as one."""

    spellings: tuple[str, ...]
    """In the order of their numbers of orders."""
    orders: tuple[int, ...]
    """The number of orders with each spelling. With 0, the spelling is only in the restaurants file."""

    @property
    def text(self) -> str:
        """The spellings with their counts, such as `'007' (2 orders) and '7' (1 order)`."""
        counts = [format_count(count, "order") if count else "restaurants file" for count in self.orders]
        shown = [f"{name!r} ({count})" for name, count in zip(self.spellings, counts, strict=True)]
        return f"{', '.join(shown[:-1])} and {shown[-1]}"


def find_similar_ids(cells: pl.Series, keys: pl.Series, restaurants: RestaurantIndex) -> tuple[SimilarIds, ...]:
    """Return the groups of similar identifiers of orders and restaurants, those with most orders first.

    `cells` are the unparsed identifiers of orders, and `keys` their keys, null where a cell is invalid.
    """
    counts = keys.rename("key").value_counts(name="orders").drop_nulls("key")
    rows = keys.arg_unique()
    first = pl.DataFrame({"key": keys.gather(rows), "text": restaurant_id_texts(cells.gather(rows))})
    listed = pl.DataFrame({"key": restaurants.restaurant_id, "text": _identifiers(restaurants)})
    known = pl.concat([first.drop_nulls(), listed]).unique("key", keep="first")
    spellings = known.join(counts, on="key", how="left").with_columns(pl.col("orders").fill_null(0))
    compared = spellings.with_columns(compared=_comparable(spellings["text"]))
    groups = (
        compared.filter(pl.col("compared").is_duplicated())
        .sort(["orders", "text"], descending=[True, False])
        .group_by("compared", maintain_order=True)
        .agg("text", "orders")
        .sort(pl.col("orders").list.sum(), descending=True, maintain_order=True)
    )
    return tuple(
        SimilarIds(tuple(texts), tuple(orders)) for _, texts, orders in groups.head(MAX_SIMILAR_IDS).iter_rows()
    )


def describe_similar_ids(groups: tuple[SimilarIds, ...]) -> list[str]:
    """Return lines of text about similar identifiers. Without any, there are none."""
    if not groups:
        return []
    shown = "; ".join(group.text for group in groups[:_MAX_SHOWN]) + ("; …" if len(groups) > _MAX_SHOWN else "")
    count = f"{len(groups):,}" if len(groups) < MAX_SIMILAR_IDS else f"at least {len(groups):,}"
    return [
        f"Restaurant identifiers that a spreadsheet would treat as one ({count}): {shown}.",
        "  preptime treats them as different restaurants. If they are the same restaurant, use one spelling.",
    ]


def _identifiers(restaurants: RestaurantIndex) -> pl.Series:
    numbers = restaurants.restaurant_id[len(restaurants.names) :]
    return pl.concat([pl.Series(restaurants.names.texts(), dtype=pl.String), pl.Series(numbers).cast(pl.String)])


def _comparable(texts: pl.Series) -> pl.Series:
    """Return a text for each identifier that is equal if a spreadsheet would treat two as one."""
    lower = texts.str.to_lowercase()
    is_number = texts.str.contains(_NUMBER_PATTERN) & ~texts.str.contains(f"^(?:{_PLAIN_INTEGER.pattern})$")
    rows = is_number.arg_true()
    if not len(rows):
        return lower
    return lower.scatter(rows, pl.Series([_plain_number(text) for text in texts.gather(rows)], dtype=pl.String))


def _plain_number(text: str) -> str:
    """Return a number without sign, leading zeros, exponent, and trailing zeros where they don't change it.

    Example:
        >>> _plain_number("007"), _plain_number("7.00"), _plain_number("1E3"), _plain_number("-0.50")
        ('7', '7', '1000', '-0.5')
    """
    plain = format(Decimal(text), "f")
    plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
    return "0" if plain in {"-0", ""} else plain
