"""The data dictionary: every column of orders and restaurants, declared once.

Readers, checks, the API, and the generated page `docs/data-dictionary.md` take names, ranges, and meanings from here.
The columns that readers add to a file's own are declared here too.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from preptime.errors import DataError

UseCase = Literal["scoring", "training"]
ColumnType = Literal["timestamp", "integer", "number", "text", "category"]

TARGET = "prep_time_seconds"
"""The column that models predict."""
OUTCOME_COLUMNS = ("order_ready_at", TARGET)
"""The columns that aren't known yet when an order is acknowledged."""

ROW_COLUMN = "_row"
"""The row number in its file, counted from 1 without the header."""
FILE_COLUMN = "_file"
"""The file that contains the row."""
SURPLUS_COLUMN = "_surplus"
"""In a CSV file, the first cell beyond the header's columns, or null. Present only if a line has such a cell."""
READER_COLUMNS = (ROW_COLUMN, FILE_COLUMN, SURPLUS_COLUMN)
"""The columns that readers add to a file's own."""

_MAX_NAME_CHARACTERS = 60
"""Longer column names are cut in messages."""
_INT64_MAX = 2**63 - 1
"""The maximum of a column without a limit of its own. Messages omit it, because it means nothing to a reader."""
_ALL_USE_CASES: frozenset[UseCase] = frozenset({"scoring", "training"})


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its meaning and the values that its cells can have."""

    name: str
    data_type: ColumnType
    description: str
    example: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    required_for: frozenset[UseCase] = frozenset()

    @property
    def expected_text(self) -> str:
        """The expected content of a cell, for error messages."""
        if self.data_type == "timestamp":
            return f"a time between 2000 and 2099 such as {self.example}"
        if self.data_type == "text":
            return "text"
        if self.data_type == "category":
            return "a name from the restaurants file, or its index in the sorted names"
        noun = "a whole number" if self.data_type == "integer" else "a number"
        return f"{noun} {self.range_text}".strip()

    @property
    def range_text(self) -> str:
        """The declared range, such as `from 1 to 10,000`; empty if the column has none."""
        if self.minimum is None or self.maximum is None:
            return ""
        start = f"from {self.minimum:,.10g}"
        return start if self.maximum >= _INT64_MAX else f"{start} to {self.maximum:,.10g}"


# The ranges are wide on purpose. They exclude what can't be an order (a value in pence, a telephone number, a time in
# milliseconds), not what is rare. The largest values in 32,394 real orders are 711 pounds, 38 items, and 255,499 s.
ORDERS_DICTIONARY: tuple[Column, ...] = (
    Column(
        "order_acknowledged_at",
        "timestamp",
        "When the restaurant acknowledged the order, which is when a prediction is requested. A time with an offset "
        "other than UTC, or without an offset, is local time at the restaurant. UTC times (`Z`, `+00:00`), epochs, and "
        "database timestamps are converted to the restaurant's time zone",
        "2015-06-01 12:28:28.952789+01:00",
        required_for=_ALL_USE_CASES,
    ),
    Column(
        "order_value_gbp",
        "number",
        "Value of the order",
        "21.40",
        unit="pounds sterling",
        minimum=0,
        maximum=100_000,
        required_for=_ALL_USE_CASES,
    ),
    Column(
        "restaurant_id",
        "integer",
        "Restaurant that received the order",
        "1326",
        minimum=0,
        maximum=_INT64_MAX,
        required_for=_ALL_USE_CASES,
    ),
    Column(
        "number_of_items",
        "integer",
        "Number of items in the order",
        "3",
        unit="items",
        minimum=1,
        maximum=10_000,
        required_for=_ALL_USE_CASES,
    ),
    Column(
        "order_ready_at",
        "timestamp",
        "When the food was ready. Training needs this column or `prep_time_seconds`. If both are present, they must "
        "agree within one second",
        "2015-06-01 14:12:09.474896+01:00",
    ),
    Column(
        TARGET,
        "integer",
        "The target: ready time minus acknowledgement time, in whole seconds rounded down",
        "820",
        unit="seconds",
        minimum=0,
        maximum=31_536_000,
    ),
    Column("order_id", "text", "Order identifier, copied to the output and used to find duplicates", "A-10017"),
    Column("country", "category", "Country of the restaurant. By default, the one in the restaurants file", "UK"),
    Column("city", "category", "City of the restaurant. By default, the one in the restaurants file", "London"),
    Column(
        "type_of_food",
        "category",
        "Type of food of the restaurant. By default, the one in the restaurants file",
        "italian",
    ),
    Column(
        "open_orders",
        "integer",
        "Number of open orders in the kitchen when this order was acknowledged. Reserved: checked and copied to the "
        "output, but not used by any model yet",
        "2",
        unit="orders",
        minimum=0,
        maximum=10_000,
    ),
)

MIN_NAME_SIMILARITY = 0.83
"""A similar name is suggested from this ratio. Different columns in public files reach 0.80 (`Restaurant_latitude` and
`restaurant_id`). Misspelled names are above 0.84 (`acknowledged_at` and `order_acknowledged_at`)."""

REQUEST_COLUMNS = tuple(column.name for column in ORDERS_DICTIONARY if column.name not in OUTCOME_COLUMNS)
"""The columns of orders that a request to predict can have, in declared order."""

RESTAURANTS_DICTIONARY: tuple[Column, ...] = (
    Column(
        "restaurant_id",
        "integer",
        "Restaurant identifier, unique in the file",
        "1326",
        minimum=0,
        maximum=_INT64_MAX,
        required_for=_ALL_USE_CASES,
    ),
    Column(
        "country",
        "text",
        "Country name or ISO code. It determines the time zone",
        "UK",
        required_for=_ALL_USE_CASES,
    ),
    Column("city", "text", "City", "London", required_for=_ALL_USE_CASES),
    Column("type_of_food", "text", "Type of food", "italian", required_for=_ALL_USE_CASES),
    Column(
        "time_zone",
        "text",
        "IANA time zone. It overrides the country's time zone, and is required if the country is unknown or has "
        "several time zones",
        "Europe/London",
    ),
)

DATA_DICTIONARY: dict[str, tuple[Column, ...]] = {"orders": ORDERS_DICTIONARY, "restaurants": RESTAURANTS_DICTIONARY}


def order_column(name: str) -> Column:
    """Return the declaration of a column of orders. Raises `KeyError` for an undeclared name."""
    return {column.name: column for column in ORDERS_DICTIONARY}[name]


def required_columns(columns: tuple[Column, ...], use_case: UseCase) -> tuple[str, ...]:
    """Return the names of the columns that `use_case` requires, in declared order."""
    return tuple(column.name for column in columns if use_case in column.required_for)


def require_columns(columns: Sequence[str], required_names: Iterable[str], description: str) -> None:
    """Check that a data source has all required columns.

    Raises `DataError` that names each missing column, existing columns with almost the same name, and what to do.
    """
    expected = tuple(required_names)
    missing = [name for name in expected if name not in columns]
    if not missing:
        return
    data_columns = [column for column in columns if column not in READER_COLUMNS]
    similar_columns = {name: find_similar_column(name, data_columns) for name in missing}
    suggestions = "; ".join(
        f"{column[:_MAX_NAME_CHARACTERS]!r} is the closest to {name}"
        for name, column in similar_columns.items()
        if column is not None
    )
    shown_columns = ", ".join(repr(column[:_MAX_NAME_CHARACTERS]) for column in data_columns[:20])
    column_list = shown_columns + (", …" if len(data_columns) > 20 else "")
    if len(missing) > 1:
        subject, pronoun = f"The columns {', '.join(missing)} are", "them"
    else:
        subject, pronoun = f"The column {missing[0]} is", "it"
    raise DataError(
        f"{subject} missing from {description}. Existing columns: {column_list}.",
        f"Rename or add {pronoun}{': ' + suggestions if suggestions else ''}. Columns can't be mapped to other names "
        f"yet, so the file needs these names: {', '.join(expected)}.",
    )


def find_similar_column(name: str, columns: Iterable[str]) -> str | None:
    """Return the column whose name is almost `name`, regardless of case and punctuation, or None.

    Example:
        >>> find_similar_column("restaurant_id", ["city", "Restaurant ID", "restaurant_name"])
        'Restaurant ID'
    """
    letters = _letters_and_digits(name)
    similarity = {
        column: difflib.SequenceMatcher(None, letters, _letters_and_digits(column)).ratio() for column in columns
    }
    closest = max(similarity, key=lambda column: similarity[column], default=None)
    return None if closest is None or similarity[closest] < MIN_NAME_SIMILARITY else closest


def _letters_and_digits(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def render_markdown() -> str:
    """Return the page `docs/data-dictionary.md`."""
    lines = [
        "# Data dictionary",
        "",
        "<!-- Generated from src/preptime/domain/data_dictionary.py. Edit that file instead. -->",
        "",
        "Columns that aren't listed here are copied to the output unchanged.",
    ]
    for table, columns in DATA_DICTIONARY.items():
        lines += ["", f"## {table}", "", "| Column | Type | Unit | Range | Required for | Meaning | Example |"]
        lines += ["|---|---|---|---|---|---|---|"]
        for column in columns:
            required_for = ", ".join(sorted(column.required_for)) or "optional"
            cells = (
                f"`{column.name}`",
                column.data_type,
                column.unit,
                column.range_text,
                required_for,
                column.description,
            )
            lines.append("| " + " | ".join(cells) + f" | `{column.example}` |")
    return "\n".join(lines) + "\n"
