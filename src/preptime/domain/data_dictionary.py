"""The data dictionary: every column of orders and restaurants, declared once.

Readers, checks, the API, and the generated page `docs/data-dictionary.md` take names, ranges, and meanings from here.
The columns that readers add to a file's own are declared here too.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from preptime.domain.restaurant_ids import EXPECTED_ID
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
"""In a CSV file, the text that can't be split into the header's columns, after its line number, or null.

For example, `line 3: 7` if the cell `7` is beyond the columns. Present only if a line is malformed."""
READER_COLUMNS = (ROW_COLUMN, FILE_COLUMN, SURPLUS_COLUMN)
"""The columns that readers add to a file's own."""

BUILT_IN_ORIGIN = "the built-in schema of the take-home files"
"""Where a schema comes from if there is no file."""

_BUILT_IN_NAMES = {"order_value": "order_value_gbp"}
"""The names in the files of the built-in schema that aren't the canonical ones."""
_MAX_NAME_CHARACTERS = 60
"""Longer column names are cut in messages."""
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
    """In the built-in schema. Another schema can leave some columns out."""

    @property
    def built_in_name(self) -> str:
        """The column's name in the files of the built-in schema."""
        return _BUILT_IN_NAMES.get(self.name, self.name)

    @property
    def expected_text(self) -> str:
        """The expected content of a cell, for error messages."""
        if self.data_type == "timestamp":
            return f"a time between 2000 and 2099 such as {self.example}"
        if self.data_type == "text":
            return EXPECTED_ID if self.name == "restaurant_id" else "text"
        if self.data_type == "category":
            return "a name from the restaurants file, or its index in the sorted names"
        noun = "a whole number" if self.data_type == "integer" else "a number"
        return f"{noun} {self.range_text}".strip()

    def with_range(self, minimum: float, maximum: float) -> Column:
        """Return the same column with another range."""
        return replace(self, minimum=minimum, maximum=maximum)

    @property
    def range_text(self) -> str:
        """The declared range, such as `from 1 to 10,000`; empty if the column has none."""
        if self.minimum is None or self.maximum is None:
            return ""
        return f"from {self.minimum:,.10g} to {self.maximum:,.10g}"


# The ranges are wide on purpose. They exclude what can't be an order (a value in pence, a telephone number, a time in
# milliseconds), not what is rare. The largest values in 32,394 real orders are 711 pounds, 38 items, and 255,499 s.
ORDERS_DICTIONARY: tuple[Column, ...] = (
    Column(
        "order_acknowledged_at",
        "timestamp",
        "When the restaurant acknowledged the order, which is when a prediction is requested. A time with an offset "
        "(also `Z`), an epoch, and a database timestamp are instants, and are converted to the restaurant's time zone. "
        "A time without an offset is local time at the restaurant, unless the schema has its `time_zone`",
        "2015-06-01 12:28:28.952789+01:00",
        required_for=_ALL_USE_CASES,
    ),
    Column(
        "order_value",
        "number",
        "Value of the order",
        "21.40",
        unit="currency units",
        minimum=0,
        maximum=100_000,
        required_for=_ALL_USE_CASES,
    ),
    Column(
        "restaurant_id",
        "text",
        "Identifier of the restaurant: text or an integer. The spelling matters, so `007` and `7` are different",
        "1326",
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
        "Number of open orders in the kitchen when this order was acknowledged. Checked and copied to the output. No "
        "model reads this column: the live model counts the open orders of the same table, or reads `kitchen` in a "
        "request",
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
        "text",
        "Identifier of the restaurant, unique in the file: text or an integer, up to 200 characters",
        "1326",
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


def require_columns(
    columns: Sequence[str],
    required: Mapping[str, str] | Iterable[str],
    description: str,
    *,
    origin: str = BUILT_IN_ORIGIN,
) -> None:
    """Check that a data source has all required columns.

    Args:
        columns: The columns of the data source.
        required: The company's column for each canonical name, or canonical names alone.
        description: The data source, such as `the orders`.
        origin: Where the schema is from: `BUILT_IN_ORIGIN`, the path of a `.toml` file, or text such as
            `the schema of BUNDLE`.

    Raises:
        DataError: It names each missing column, existing columns with almost the same name, and what to do.
    """
    sources = {**required} if isinstance(required, Mapping) else {name: name for name in required}
    missing = {name: source for name, source in sources.items() if source not in columns}
    if not missing:
        return
    data_columns = [column for column in columns if column not in READER_COLUMNS]
    names = ", ".join(_column_text(name, source) for name, source in missing.items())
    shown_columns = ", ".join(repr(_cut(column)) for column in data_columns[:20])
    subject, verb = ("column", "is") if len(missing) == 1 else ("columns", "are")
    facts = (
        f"The {subject} {names} {verb} missing from {description}. Existing columns: {shown_columns}"
        f"{', …' if len(data_columns) > 20 else ''}."
    )
    if len(missing) > 1 and 2 * len(missing) > len(sources):
        facts += f" The columns seem to follow another schema than the one in use ({origin})."
    similar = {name: find_similar_column(source, data_columns) for name, source in missing.items()}
    raise DataError(facts, _missing_columns_hint(missing, similar, origin))


def _missing_columns_hint(missing: Mapping[str, str], similar: Mapping[str, str | None], origin: str) -> str:
    pronoun = "it" if len(missing) == 1 else "them"
    if origin.endswith(".toml"):
        lines = "; ".join(f'{name} = "{_cut(similar[name] or "…")}"' for name in missing)
        return f"In {origin}, name the existing columns: {lines}. Or add {pronoun} to the data."
    closest = "; ".join(
        f"{_cut(column)!r} is the closest to {_cut(missing[name])}"
        for name, column in similar.items()
        if column is not None
    )
    action = f"Rename or add {pronoun}{': ' + closest if closest else ''}."
    if origin == BUILT_IN_ORIGIN:
        return f"{action} Or map the existing columns: preptime schema infer ORDERS --out schema.toml."
    return f"{action} Or use a bundle that was trained on the existing columns."


def _column_text(name: str, source: str) -> str:
    """Return a company's column with its canonical name."""
    return name if name == source else f"{_cut(source)!r} ({name})"


def _cut(name: str) -> str:
    return name[:_MAX_NAME_CHARACTERS]


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


_PAGE_HEADER = "| Column | Built-in name | Type | Unit | Range | Required for | Meaning | Example |"


def render_markdown() -> str:
    """Return the page `docs/data-dictionary.md`."""
    lines = [
        "# Data dictionary",
        "",
        "<!-- Generated from src/preptime/domain/data_dictionary.py. Edit that file instead. -->",
        "",
        "Files of the built-in schema have the built-in names, and need the required columns. A [schema](schema.md) of",
        "your own maps your columns to the names in the first column. It can leave out `order_value`,",
        "`number_of_items`, and all columns of restaurants except `restaurant_id`. Then they aren't required, but",
        "restaurants need a country or a time zone.",
        "",
        "Columns that aren't listed here are copied to the output unchanged.",
    ]
    for table, columns in DATA_DICTIONARY.items():
        lines += ["", f"## {table}", "", _PAGE_HEADER, "|---|---|---|---|---|---|---|---|"]
        for column in columns:
            required_for = ", ".join(sorted(column.required_for)) or "optional"
            cells = (
                f"`{column.name}`",
                f"`{column.built_in_name}`",
                column.data_type,
                column.unit,
                column.range_text,
                required_for,
                column.description,
            )
            lines.append("| " + " | ".join(cells) + f" | `{column.example}` |")
    return "\n".join(lines) + "\n"
