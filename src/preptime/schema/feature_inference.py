"""Decides which additional columns are features: known when an order is acknowledged, and numbers or categories."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import combinations

import polars as pl

from preptime.schema.column_contents import MIN_SHARE, ColumnContents
from preptime.schema.keys import RESERVED_FEATURE_NAMES, matrix_names
from preptime.schema.proposal import has_codes, is_time
from preptime.schema.schema import MAX_RANGE
from preptime.schema.synonyms import is_known_later, name_words
from preptime.schema.toml_text import ProposedLine, TomlValue

MAX_CATEGORIES = 1_000
"""A category with more different values has too few orders for each."""
MIN_ORDERS_PER_CATEGORY = 5
"""Text with fewer orders for each different value is free text."""
MAX_CORRELATION = 0.95
"""A number that agrees more closely with the label was computed from it."""
MIN_COMPARED_ORDERS = 50
"""Fewer orders don't show an agreement."""
MIN_COUNT_CORRELATION = 0.8
"""Two counts that rise and fall together, such as open orders and couriers, carry little apart from their ratio."""
MAX_RATIOS = 10
_MAX_NAME = 60
_UNITS = {"km": "km", "kilometers": "km", "miles": "mi", "mi": "mi", "meters": "m", "duration": "s", "seconds": "s"} | {
    word: unit for unit, words in {"min": ("min", "mins", "minutes"), "°C": ("celsius",)}.items() for word in words
}
"""Words in names of numbers, and the unit that people see."""


def propose_features(
    orders: Iterable[ColumnContents],
    restaurants: Iterable[ColumnContents],
    seconds: pl.Series | None,
    acknowledged: pl.Series,
) -> tuple[list[ProposedLine], dict[str, str]]:
    """Return a line for each feature, and the reason why each other column isn't one.

    `seconds` [N] are the labels of the orders, and `acknowledged` [N] their times.
    """
    lines: list[ProposedLine] = []
    unused: dict[str, str] = {}
    taken = {*RESERVED_FEATURE_NAMES}
    counts: dict[str, ColumnContents] = {}
    for column in orders:
        reason = _later_reason(column, seconds, acknowledged) or _unsuitable_reason(column)
        if reason:
            unused[column.name] = reason
        else:
            lines.append(_feature_line(column, "order", taken))
            if _is_count(column):
                counts[lines[-1].key] = column
    for column in restaurants:
        reason = _unsuitable_reason(column, min_repeats=2)
        if reason:
            unused[f"{column.name} (restaurants)"] = reason
        else:
            lines.append(_feature_line(column, "restaurant", taken))
    return [*lines, *_ratio_lines(counts, taken)], unused


def _is_count(column: ColumnContents) -> bool:
    """Return whether a column contains counts: whole numbers of 0 or more."""
    if column.numbers is None or not column.is_whole or not _is_number(column):
        return False
    minimum = column.numbers.min()
    return isinstance(minimum, int | float) and minimum >= 0


def _ratio_lines(counts: Mapping[str, ColumnContents], taken: set[str]) -> list[ProposedLine]:
    """Return a line for each pair of counts that rise and fall together. `counts` are columns by feature name."""
    lines: list[ProposedLine] = []
    for (first, dividend), (second, divisor) in combinations(counts.items(), 2):
        pairs = pl.DataFrame({"a": dividend.numbers, "b": divisor.numbers}).drop_nulls()
        correlation = pairs.select(pl.corr("a", "b")).item() if len(pairs) >= MIN_COMPARED_ORDERS else None
        name = f"{second}_per_{first}"[:_MAX_NAME]
        if correlation is None or not correlation >= MIN_COUNT_CORRELATION or name in taken or len(lines) == MAX_RATIOS:
            continue
        taken.add(name)
        comment = f"Both numbers rise and fall together (correlation {correlation:.2f}), so their ratio is a feature."
        lines.append(ProposedLine("ratios", name, ([second, first],), comment))
    return lines


def _later_reason(column: ColumnContents, seconds: pl.Series | None, acknowledged: pl.Series) -> str:
    """Return why a column is known only after the acknowledgement, or an empty string."""
    if is_known_later(column.name):
        return "its name says that it's known only after the acknowledgement"
    if is_time(column):
        after = (column.times[0].times - acknowledged).drop_nulls().dt.total_seconds()
        is_later = len(after) > 0 and int((after > 0).sum()) >= MIN_SHARE * len(after)
        return "a time after the acknowledgement, so it's known only later" if is_later else ""
    if seconds is not None and column.numbers is not None:
        pairs = pl.DataFrame({"value": column.numbers, "label": seconds}).drop_nulls()
        correlation = pairs.select(pl.corr("value", "label")).item() if len(pairs) >= MIN_COMPARED_ORDERS else None
        if correlation is not None and abs(correlation) > MAX_CORRELATION:
            return f"its correlation with the label is {correlation:.2f}, so it's known only later"
    return ""


def _unsuitable_reason(column: ColumnContents, min_repeats: int = MIN_ORDERS_PER_CATEGORY) -> str:
    """Return why the values of a column can't be a feature, or an empty string."""
    if not column.filled:
        return "it has no values"
    if is_time(column):
        return "a time; features are numbers or categories"
    if column.distinct == 1:
        return f"all its values are {column.example!r}"
    if _is_number(column):
        is_unique = column.is_whole and column.distinct == column.filled and column.filled >= MIN_COMPARED_ORDERS
        return "a different whole number in every row, like an identifier" if is_unique else ""
    return _category_reason(column, min_repeats)


def _category_reason(column: ColumnContents, min_repeats: int) -> str:
    """Return why the values of a column can't be categories, or an empty string."""
    if column.distinct <= MAX_CATEGORIES and column.distinct * min_repeats <= column.filled:
        return ""
    if not column.is_plain:
        expected = f"plain numbers from {-MAX_RANGE:g} to {MAX_RANGE:g}"
        return f"values such as {column.example!r} can't be read as {expected}, and it has too many for a category"
    if column.distinct > MAX_CATEGORIES:
        return f"{column.distinct:,} different values; a category has at most {MAX_CATEGORIES:,}"
    return f"{column.distinct:,} different values in {column.filled:,} rows, like free text or an identifier"


def _is_number(column: ColumnContents) -> bool:
    """Return whether a column contains quantities that a feature can have."""
    return column.numbers is not None and column.is_plain and not has_codes(column)


def _feature_line(column: ColumnContents, owner: str, taken: set[str]) -> ProposedLine:
    """Return the line of a feature, and add its columns in the feature matrix to `taken`."""
    kind = "number" if _is_number(column) else "category"
    name = _feature_name(column.name, owner, kind, taken)
    taken |= matrix_names(name, kind)
    options: dict[str, str | bool | int | float | list[float]] = {} if name == column.name else {"column": column.name}
    options["type"] = kind
    unit = _UNITS.get(name_words(column.name)[-1], "") if name_words(column.name) else ""
    if kind == "number" and unit:
        options["unit"] = unit
    if owner == "restaurant":
        options["of"] = owner
    value: TomlValue = kind if len(options) == 1 else options
    missing = 1 - column.filled / len(column.cells)
    contents = (
        f"Numbers with a median of {column.median:,.6g}"
        if kind == "number"
        else f"{column.distinct:,} different values, such as {column.example!r}"
    )
    return ProposedLine("features", name, (value,), f"{contents}{f'; {missing:.1%} are missing' if missing else ''}.")


def _feature_name(column: str, owner: str, kind: str, taken: set[str]) -> str:
    """Return a valid name of a feature that isn't taken: the column's own, if possible."""
    words = re.sub(r"[^a-z0-9]+", "_", column.casefold()).strip("_")
    name = (words if words[:1].isalpha() else f"{owner}_{words}".strip("_"))[:50]
    candidates = [name, f"{owner}_{name}"[:55], *(f"{name}_{number}" for number in range(2, len(taken) + 3))]
    return next(option for option in candidates if not matrix_names(option, kind) & taken)
