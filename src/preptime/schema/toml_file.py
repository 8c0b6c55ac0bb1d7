"""Reads a schema from a TOML file. Every error names the file and the line.

`preptime.schema.keys` declares the keys. The generated page docs/schema.md explains them.
"""

from __future__ import annotations

import difflib
import itertools
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from preptime.domain.cells import THOUSANDS_MARKS
from preptime.domain.data_dictionary import BUILT_IN_ORIGIN, OUTCOME_COLUMNS, TARGET
from preptime.domain.time_zones import load_time_zone, resolve_time_zone
from preptime.domain.timestamps import check_pattern
from preptime.errors import DataError, UsageError
from preptime.schema.keys import (
    CLASS_OPTION,
    COLUMN_OPTIONS,
    FEATURE_OPTIONS,
    HYPERPARAMETERS,
    RESERVED_FEATURE_NAMES,
    SECTIONS,
    expected_number,
    expected_value,
    find_line,
    is_model_name,
    matrix_names,
    split_toml_error,
)
from preptime.schema.schema import (
    DURATION_UNITS,
    MAX_RANGE,
    MONEY_UNITS,
    OPTIONAL_MODEL_COLUMNS,
    ORDER_NAMES,
    PREP_TIME,
    RESTAURANT_NAMES,
    TAKE_HOME_SCHEMA,
    CustomFeature,
    ModelSettings,
    OrderColumn,
    Ratio,
    RestaurantColumns,
    Schema,
    SourceDialect,
    Target,
)

SCHEMA_FILE = "schema.toml"
"""The file that is used if it's in the current folder and no other file is given."""

OPEN_LINE = "#? "
"""The start of a line that `preptime schema infer` left open. A schema with such a line can't be used."""

_CONSTANT_NAMES = ("country", "time_zone")
"""In `[restaurants]`, a text for one of these is the value of all restaurants. A table with `column` is a column."""
_MIN_SIMILARITY = 0.7
_FEATURE_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")
_CURRENCY = re.compile(r"[A-Z]{3}")
_TARGET_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_MODEL_CLASS = re.compile(r".+\.py:[A-Za-z_][A-Za-z0-9_]*")


def read_schema(path: Path) -> Schema:
    """Return the schema in a TOML file.

    Raises `UsageError`, with the line, for TOML that isn't valid, an unknown key, a value of the wrong type, or a
    contradiction.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise UsageError(
            f"There is no schema file {path}.", f"Create it: preptime schema infer ORDERS --out {path}."
        ) from error
    return parse_schema(decode_schema(content, str(path)), str(path))


def decode_schema(content: bytes, name: str) -> str:
    """Return the text of a schema file. Raises `UsageError` if it isn't UTF-8."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"The schema file {name} isn't UTF-8.", "Save it as UTF-8.") from error


def find_schema(path: str = "") -> tuple[Schema, str]:
    """Return the schema in use and where it comes from, in words.

    It's the file at `path`, else `schema.toml` in the current folder, else the built-in schema of the take-home files.
    Raises `UsageError` as `read_schema`.
    """
    if path:
        return read_schema(Path(path)), path
    if Path(SCHEMA_FILE).is_file():
        return read_schema(Path(SCHEMA_FILE)), SCHEMA_FILE
    return TAKE_HOME_SCHEMA, BUILT_IN_ORIGIN


def assumed_origin(schema: Schema) -> str:
    """Return where a schema is from if the caller doesn't know."""
    return BUILT_IN_ORIGIN if schema.has_take_home_orders else SCHEMA_FILE


def parse_schema(text: str, name: str = SCHEMA_FILE) -> Schema:
    """Return the schema in a TOML document. `name` is the name of the file for messages. Raises `UsageError`.

    Example:
        >>> schema = parse_schema('''
        ... [orders]
        ... order_acknowledged_at = { column = "created_at", time_zone = "UTC" }
        ... restaurant_id = "store_id"
        ... prep_time = { column = "prep_min", unit = "min" }
        ... ''')
        >>> schema.column("prep_time_seconds").number_format.multiplier
        60
    """
    try:
        # Without a line feed at the end, an error in the last line has no line number.
        document = tomllib.loads(text + "\n")
    except tomllib.TOMLDecodeError as error:
        problem, line = split_toml_error(str(error))
        raise UsageError(f"{name}, line {line}: the TOML isn't valid: {problem}.", "Fix this line.") from error
    _check_decisions(name, text)
    return _Reader(name, text).read(document)


def _check_decisions(name: str, text: str) -> None:
    """Raise `UsageError` if `preptime schema infer` left a line open, because two readings are possible."""
    lines = text.splitlines()
    first = next((number for number, line in enumerate(lines) if line.startswith(OPEN_LINE)), None)
    if first is None:
        return
    key = lines[first].removeprefix(OPEN_LINE).partition("=")[0].strip()
    of_key = itertools.takewhile(lambda line: line.startswith(f"{OPEN_LINE}{key} ="), lines[first:])
    readings = [line.removeprefix(OPEN_LINE).strip() for line in of_key]
    raise UsageError(
        f"{name}, line {first + 1}: {key} isn't decided.",
        f"Replace the lines that start with {OPEN_LINE.strip()} by the right one of: {'; or: '.join(readings)}",
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads one document. Errors have the line of the key that they are about."""

    name: str
    text: str

    def read(self, document: Mapping[str, object]) -> Schema:
        self._check_keys(document, SECTIONS, ())
        schema = Schema(
            orders=self._read_orders(document) if "orders" in document else TAKE_HOME_SCHEMA.orders,
            restaurants=self._read_restaurants(self._table(document, ("restaurants",))),
            features=self._read_features(self._table(document, ("features",))),
            ratios=self._read_ratios(self._table(document, ("ratios",)), self._table(document, ("features",))),
            source=self._read_source(self._table(document, ("source",))),
            target=self._read_target(self._table(document, ("target",))),
            models=self._read_models(self._table(document, ("models",))),
        )
        self._check_contradictions(schema)
        return schema

    def _read_orders(self, document: Mapping[str, object]) -> dict[str, OrderColumn]:
        table = self._table(document, ("orders",))
        keys = [PREP_TIME if name == TARGET else name for name in ORDER_NAMES]
        self._check_keys(table, keys, ("orders",))
        read = {}
        for key in keys:
            if key in table:
                read[TARGET if key == PREP_TIME else key] = self._read_column(table[key], ("orders", key))
        for key in ("order_acknowledged_at", "restaurant_id"):
            if key not in read:
                self._fail(("orders",), f"the key {key} is missing", f'Add a line such as {key} = "column".')
        return read

    def _read_column(self, value: object, path: tuple[str, ...]) -> OrderColumn:
        options = value if isinstance(value, Mapping) else {"column": value}
        self._check_options(options, COLUMN_OPTIONS[path[-1]], path)
        if "column" not in options:
            self._fail(path, "the option column is missing", 'Name the column: { column = "…" }.')
        unit = str(options.get("unit", ""))
        units = DURATION_UNITS if path[-1] == PREP_TIME else MONEY_UNITS
        if unit and unit not in units:
            self._fail(path, f"the unit {unit!r} is unknown; expected {', '.join(units)}", "Use one of these units.")
        currency = str(options.get("currency", ""))
        if currency and not _CURRENCY.fullmatch(currency):
            self._fail(path, f"{currency!r} isn't an ISO 4217 code such as USD", "Use three capital letters.")
        self._check_time_zone(str(options.get("time_zone", "")), path)
        problem = check_pattern(str(options["format"])) if "format" in options else None
        if problem is not None:
            self._fail((*path, "format"), problem, "Change the format.")
        return OrderColumn(
            column=str(options["column"]),
            format=str(options.get("format", "")),
            time_zone=str(options.get("time_zone", "")),
            unit=unit,
            currency=currency,
            range=self._read_range(options.get("range"), path),
        )

    def _read_restaurants(self, table: Mapping[str, object]) -> RestaurantColumns:
        self._check_keys(table, RESTAURANT_NAMES, ("restaurants",))
        columns: dict[str, str] = {}
        constants: dict[str, str] = {}
        for key, value in table.items():
            path = ("restaurants", key)
            if isinstance(value, Mapping):
                self._check_options(value, ("column",), path)
                columns[key] = str(value.get("column", key))
            elif not isinstance(value, str):
                self._fail(path, f"{value!r} isn't text", "Write it in quotation marks.")
            else:
                (constants if key in _CONSTANT_NAMES else columns)[key] = value
        self._check_time_zone(constants.get("time_zone", ""), ("restaurants", "time_zone"))
        if "country" in constants and "time_zone" not in {*constants, *columns}:
            try:
                resolve_time_zone(constants["country"], None)
            except DataError as error:
                self._fail(("restaurants", "country"), error.facts.rstrip("."), 'Add time_zone = "…" to [restaurants].')
        return RestaurantColumns(columns=columns, **constants)

    def _read_features(self, table: Mapping[str, object]) -> tuple[CustomFeature, ...]:
        return tuple(self._read_feature(name, value) for name, value in table.items())

    def _read_feature(self, name: str, value: object) -> CustomFeature:
        path = ("features", name)
        if not _FEATURE_NAME.fullmatch(name):
            self._fail(
                path,
                f"{name!r} isn't the name of a feature",
                f'Use lower-case letters, digits, and underscores, and name the column: {{ column = "{name}", … }}.',
            )
        if name in RESERVED_FEATURE_NAMES:
            self._fail(path, f"{name} is the name of a canonical column or a base feature", "Use another name.")
        options = value if isinstance(value, Mapping) else {"type": value}
        self._check_options(options, FEATURE_OPTIONS, path)
        kind, owner = str(options.get("type")), str(options.get("of", "order"))
        if kind not in {"number", "category"}:
            self._fail(
                path, f"the type is {options.get('type')!r}; expected number or category", 'Set type = "number".'
            )
        if owner not in {"order", "restaurant"}:
            self._fail(path, f"of is {owner!r}; expected order or restaurant", 'Set of = "order".')
        if kind == "category" and ("range" in options or "unit" in options):
            self._fail(path, "a category has no unit and no range", "Remove them, or use the type number.")
        return CustomFeature(
            name=name,
            column=str(options.get("column", name)),
            type="number" if kind == "number" else "category",
            of="order" if owner == "order" else "restaurant",
            unit=str(options.get("unit", "")),
            range=self._read_range(options.get("range"), path),
            required=bool(options.get("required", False)),
            title=str(options.get("title", "")),
        )

    def _read_ratios(self, table: Mapping[str, object], features: Mapping[str, object]) -> tuple[Ratio, ...]:
        numbers = {"order_value", "number_of_items"} | {
            name
            for name, value in features.items()
            if value == "number" or (isinstance(value, Mapping) and value.get("type") == "number")
        }
        ratios = []
        for name, value in table.items():
            path = ("ratios", name)
            if not _FEATURE_NAME.fullmatch(name) or name in RESERVED_FEATURE_NAMES or name in features:
                self._fail(path, f"{name!r} can't be the name of a ratio", "Use another name of lower-case letters.")
            if not isinstance(value, list) or len(value) != 2 or not all(isinstance(operand, str) for operand in value):
                self._fail(path, f"{name} is {value!r}; expected two names of numbers", f'Write {name} = ["a", "b"].')
            for operand in value:
                if operand not in numbers:
                    self._fail(
                        path,
                        f"{operand!r} isn't a number of [features], order_value, or number_of_items",
                        'Add it to [features] with the type "number".',
                    )
            ratios.append(Ratio(name=name, dividend=value[0], divisor=value[1]))
        return tuple(ratios)

    def _read_source(self, table: Mapping[str, object]) -> SourceDialect:
        self._check_options(table, SECTIONS["source"], ("source",))
        dialect = SourceDialect(**{key: str(value) for key, value in table.items()})
        if dialect.decimal not in {".", ","}:
            self._fail(
                ("source", "decimal"), f"the decimal mark is {dialect.decimal!r}; expected . or ,", "Set one of them."
            )
        if dialect.thousands not in THOUSANDS_MARKS:
            expected = " ".join(map(repr, THOUSANDS_MARKS[1:]))
            self._fail(
                ("source", "thousands"),
                f"the mark for thousands is {dialect.thousands!r}; expected one of {expected}",
                "Set one of them.",
            )
        if dialect.thousands == dialect.decimal:
            self._fail(
                ("source", "thousands"), "the decimal mark and the mark for thousands are the same", "Change one."
            )
        if len(dialect.delimiter.encode()) > 1 or (dialect.delimiter and dialect.delimiter in '"\r\n'):
            self._fail(
                ("source", "delimiter"), f"{dialect.delimiter!r} can't separate cells", "Use one ASCII character."
            )
        return dialect

    def _read_target(self, table: Mapping[str, object]) -> Target:
        self._check_options(table, SECTIONS["target"], ("target",))
        target = Target(**{key: str(value) for key, value in table.items()})
        if not _TARGET_NAME.fullmatch(target.name):
            self._fail(("target", "name"), f"{target.name!r} isn't a name", "Use lower-case letters and underscores.")
        if target.unit not in DURATION_UNITS:
            self._fail(
                ("target", "unit"),
                f"the unit {target.unit!r} is unknown; expected {', '.join(DURATION_UNITS)}",
                "Use one.",
            )
        return target

    def _read_models(self, table: Mapping[str, object]) -> dict[str, ModelSettings]:
        return {name: self._read_model(name, value) for name, value in table.items()}

    def _read_model(self, name: str, value: object) -> ModelSettings:
        path = ("models", name)
        options = value if isinstance(value, Mapping) else {CLASS_OPTION: value}
        source = options.get(CLASS_OPTION, "")
        is_class = isinstance(source, str) and _MODEL_CLASS.fullmatch(source)
        if not is_model_name(name):
            self._fail(path, f"{name!r} can't be the name of a model", "Use another name of lower-case letters.")
        if CLASS_OPTION in options and not is_class:
            self._fail(
                path, f"the class is {source!r}; expected a file and a class", 'Write it as "my_models.py:MyModel".'
            )
        if not source:
            self._check_keys({name: value}, HYPERPARAMETERS, ("models",))
        elif name in HYPERPARAMETERS and name != "quantile":
            self._fail(
                path, f"{name} is a model of the catalogue, which a class can't replace", "Use another name for it."
            )
        values = {str(key): item for key, item in options.items() if key != CLASS_OPTION}
        if not source:
            self._check_keys(values, HYPERPARAMETERS[name], path)
        parameters: dict[str, int | float | str | bool] = {}
        for key, item in values.items():
            expected = expected_number(None if source else HYPERPARAMETERS[name][key], item)
            if expected is not None or not isinstance(item, int | float | str):
                self._fail((*path, key), f"{key} is {item!r}; expected {expected}", f"Write {key} as {expected}.")
            parameters[key] = item
        return ModelSettings(str(source), parameters, self.name)

    def _check_contradictions(self, schema: Schema) -> None:
        """Fail for a column with two meanings, and for a feature that is known only later."""
        keys: dict[str, str] = {}
        for name, mapping in schema.orders.items():
            key = PREP_TIME if name == TARGET else name
            if mapping.column in keys:
                self._fail(
                    ("orders", key),
                    f"the column {mapping.column!r} already is {keys[mapping.column]}",
                    "Remove one of the two lines.",
                )
            keys[mapping.column] = key
        outcomes = {schema.orders[name].column: name for name in OUTCOME_COLUMNS if name in schema.orders}
        used: dict[tuple[str, str], str] = {}
        taken: dict[str, str] = {}
        for feature in schema.features:
            path = ("features", feature.name)
            for name in sorted(matrix_names(feature.name, feature.type)):
                if name in taken or name in RESERVED_FEATURE_NAMES:
                    owner = f"the feature {taken[name]}" if name in taken else "preptime"
                    self._fail(path, f"its column {name} in the feature matrix is one of {owner}", "Use another name.")
                taken[name] = feature.name
            if feature.of == "order" and feature.column in outcomes:
                self._fail(
                    path,
                    f"the column {feature.column!r} is known only after the order is {schema.target.event}",
                    "Remove this line.",
                )
            if (feature.of, feature.column) in used:
                other = used[feature.of, feature.column]
                self._fail(path, f"the column {feature.column!r} already is the feature {other}", "Remove one of them.")
            used[feature.of, feature.column] = feature.name
        self._check_ratios(schema, taken)

    def _check_ratios(self, schema: Schema, taken: Mapping[str, str]) -> None:
        """Fail for a ratio of numbers that orders don't have, and for one with the name of another column."""
        numbers = {feature.name for feature in schema.order_features if feature.type == "number"}
        known = numbers | {name for name in OPTIONAL_MODEL_COLUMNS if schema.has(name)}
        for ratio in schema.ratios:
            path = ("ratios", ratio.name)
            missing = next((operand for operand in (ratio.dividend, ratio.divisor) if operand not in known), None)
            if missing is not None:
                self._fail(path, f"orders don't have the number {missing}", "Add it to [orders], or to [features].")
            if ratio.dividend == ratio.divisor:
                self._fail(path, "both numbers are the same", "Name two numbers.")
            if ratio.name in taken:
                self._fail(path, f"{ratio.name} is a column of the feature {taken[ratio.name]}", "Use another name.")

    def _read_range(self, value: object, path: tuple[str, ...]) -> tuple[float, float] | None:
        if value is None:
            return None
        if not isinstance(value, list) or len(value) != 2 or not all(type(bound) in {int, float} for bound in value):
            self._fail(path, f"the range is {value!r}; expected two numbers", "Write it as range = [0, 100].")
        low, high = float(value[0]), float(value[1])
        if not low < high:
            self._fail(path, f"the range [{low:g}, {high:g}] is empty", "Write the smaller number first.")
        if low < -MAX_RANGE or high > MAX_RANGE:
            problem = f"the range [{low:g}, {high:g}] isn't within [{-MAX_RANGE:g}, {MAX_RANGE:g}]"
            self._fail(path, problem, "Use smaller bounds.")
        return low, high

    def _check_time_zone(self, name: str, path: tuple[str, ...]) -> None:
        if name:
            try:
                load_time_zone(name)
            except DataError as error:
                self._fail(path, error.facts.rstrip("."), "Use an IANA name such as America/Los_Angeles.")

    def _table(self, document: Mapping[str, object], path: tuple[str, ...]) -> Mapping[str, object]:
        value = document.get(path[-1], {})
        if not isinstance(value, Mapping):
            self._fail(path, f"{path[-1]} isn't a table", f"Write [{path[-1]}] on a line of its own.")
        return value

    def _check_keys(self, table: Mapping[str, object], known: Collection[str], path: tuple[str, ...]) -> None:
        for key in table:
            if key not in known:
                similar = difflib.get_close_matches(key, known, 1, _MIN_SIMILARITY)
                suggestion = f"Did you mean {similar[0]}?" if similar else f"Known keys: {', '.join(known)}."
                place = f"in [{'.'.join(path)}]" if path else "at the top level"
                self._fail((*path, key), f"the key {key!r} {place} is unknown", suggestion)

    def _check_options(self, table: Mapping[str, object], known: Collection[str], path: tuple[str, ...]) -> None:
        """Fail for an unknown option, and for a value of the wrong type."""
        self._check_keys(table, known, path)
        for key, value in table.items():
            expected, is_valid = expected_value(key, value)
            if not is_valid:
                self._fail((*path, key), f"{key} is {value!r}; expected {expected}", f"Write {key} as {expected}.")

    def _fail(self, path: tuple[str, ...], problem: str, hint: str) -> NoReturn:
        line = find_line(self.text, path)
        raise UsageError(f"{self.name}, line {line}: {problem}.", hint)
