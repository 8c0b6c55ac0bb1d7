"""The data dictionary: the one declaration of every column of orders and restaurants.

Readers, checks and the generated table in `docs/data-dictionary.md` all take names, ranges and meaning from here.

Names of columns: those a table adds to a file's own, and what is said when one is missing.
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
OUTCOME_COLUMNS = ("order_ready_at", TARGET)
"""What is not known yet when an order is acknowledged."""
"""What is predicted."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its meaning and what a cell of it may hold."""

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
        """What a cell should hold, in the words of an error message."""
        if self.data_type == "timestamp":
            return f"a time between 2000 and 2099 such as {self.example}"
        if self.data_type == "text":
            return "text"
        if self.data_type == "category":
            return "a name of the restaurants file, or its position in the sorted names"
        noun = "a whole number" if self.data_type == "integer" else "a number"
        return f"{noun} {self.range_text}".strip()

    @property
    def range_text(self) -> str:
        """The declared range for people, or nothing."""
        if self.minimum is None or self.maximum is None:
            return ""
        if self.maximum >= _INT64_MAX:
            return f"from {self.minimum:,.10g}"
        return f"from {self.minimum:,.10g} to {self.maximum:,.10g}"


_INT64_MAX = 2**63 - 1
"""Of 64 bits: where a range ends there, it ends for machines alone."""
_ALL_USE_CASES: frozenset[UseCase] = frozenset({"scoring", "training"})

# The ranges are wide on purpose: they keep out what cannot be an order (a value in pence, a telephone number, a time
# in milliseconds), not what is rare. The largest seen in 32,394 real orders: 711 pounds, 38 items, 255,499 s.
ORDERS_DICTIONARY: tuple[Column, ...] = (
    Column(
        "order_acknowledged_at",
        "timestamp",
        "The restaurant acknowledged the order: the moment a prediction is asked for. A time with an offset other than "
        "UTC, or without any, is the restaurant's wall clock; UTC (`Z`, `+00:00`), epoch and database instants are "
        "converted to the restaurant's time zone",
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
        "Which restaurant",
        "1326",
        minimum=0,
        maximum=2**63 - 1,
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
        "The food was ready. Training needs this or `prep_time_seconds`; with both they must agree to a second",
        "2015-06-01 14:12:09.474896+01:00",
    ),
    Column(
        TARGET,
        "integer",
        "Ready minus acknowledged, whole seconds rounded down: the target",
        "820",
        unit="seconds",
        minimum=0,
        maximum=31_536_000,
    ),
    Column("order_id", "text", "Identifies the order; carried through, and tells duplicates apart", "A-10017"),
    Column("country", "category", "Country of the restaurant; else taken from the restaurants file", "UK"),
    Column("city", "category", "City of the restaurant; else taken from the restaurants file", "London"),
    Column("type_of_food", "category", "What it cooks; else taken from the restaurants file", "italian"),
    Column(
        "open_orders",
        "integer",
        "Orders open in that kitchen when this one was acknowledged. Reserved: checked and carried through, "
        "not yet read by a model",
        "2",
        unit="orders",
        minimum=0,
        maximum=10_000,
    ),
)

RESTAURANTS_DICTIONARY: tuple[Column, ...] = (
    Column(
        "restaurant_id",
        "integer",
        "Identifies the restaurant; each once",
        "1326",
        minimum=0,
        maximum=2**63 - 1,
        required_for=_ALL_USE_CASES,
    ),
    Column("country", "text", "Country, by name or ISO code; decides the time zone", "UK", required_for=_ALL_USE_CASES),
    Column("city", "text", "City", "London", required_for=_ALL_USE_CASES),
    Column("type_of_food", "text", "What it cooks", "italian", required_for=_ALL_USE_CASES),
    Column(
        "time_zone",
        "text",
        "IANA time zone; wins over the country's, and is needed where a country is not known or has several",
        "Europe/London",
    ),
)

DATA_DICTIONARY: dict[str, tuple[Column, ...]] = {"orders": ORDERS_DICTIONARY, "restaurants": RESTAURANTS_DICTIONARY}


def order_column(name: str) -> Column:
    """The declaration of one column of orders. Raises `KeyError` for a name that is not declared."""
    return {column.name: column for column in ORDERS_DICTIONARY}[name]


def required_columns(columns: tuple[Column, ...], use_case: UseCase) -> tuple[str, ...]:
    """The names that a table must have for `use_case`, in declared order."""
    return tuple(column.name for column in columns if use_case in column.required_for)


def render_markdown() -> str:
    """The dictionary as the page `docs/data-dictionary.md`."""
    lines = [
        "# Data dictionary",
        "",
        "<!-- Generated from src/preptime/domain/data_dictionary.py. Edit that file instead. -->",
        "",
        "Columns that are not listed are carried through to the output as they are.",
    ]
    for table, columns in DATA_DICTIONARY.items():
        lines += ["", f"## {table}", "", "| column | type | unit | range | required for | meaning | example |"]
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


ROW_COLUMN = "_row"
"""Row number in its file, from 1, the header not counted."""
FILE_COLUMN = "_file"
"""Name of the file that the row stands in."""
SURPLUS_COLUMN = "_surplus"
"""In a csv: the first cell beyond the header's columns, or null. Only there when a line has one."""
READER_COLUMNS = (ROW_COLUMN, FILE_COLUMN, SURPLUS_COLUMN)


def require_columns(columns: Sequence[str], required_names: Iterable[str], description: str) -> None:
    """Raises `DataError` when one of `names` is not among `columns`, naming the closest match."""
    missing = [name for name in required_names if name not in columns]
    if not missing:
        return
    data_columns = [column for column in columns if column not in READER_COLUMNS]
    matches_by_name = {name: difflib.get_close_matches(name, data_columns, n=1, cutoff=0.6) for name in missing}
    suggestions = "; ".join(
        f"{suggestions[0]!r} is the closest to {name}" for name, suggestions in matches_by_name.items() if suggestions
    )
    column_list = ", ".join(repr(column) for column in data_columns[:20]) + (", …" if len(data_columns) > 20 else "")
    plural = "s" if len(missing) > 1 else ""
    verb = "are" if plural else "is"
    raise DataError(
        f"The column{plural} {', '.join(missing)} {verb} missing from {description}, which has {column_list}.",
        f"Rename or add {'them' if plural else 'it'}{': ' + suggestions if suggestions else ''}.",
    )
