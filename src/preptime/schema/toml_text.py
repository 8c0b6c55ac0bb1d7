"""Writes a schema as TOML: a finished one, and the lines that inference proposes with their comments."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from preptime.domain.data_dictionary import TARGET
from preptime.schema.keys import CLASS_OPTION, SECTIONS
from preptime.schema.schema import PREP_TIME, CustomFeature, ModelSettings, OrderColumn, Schema
from preptime.schema.toml_file import OPEN_LINE

TomlScalar = str | bool | int | float | list[float] | list[str]
TomlValue = TomlScalar | Mapping[str, TomlScalar]
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_COMMENT_WIDTH = 110


@dataclass(frozen=True, slots=True)
class ProposedLine:
    """A line of a proposed schema, and why it's proposed."""

    section: str
    key: str
    readings: tuple[TomlValue, ...]
    """The value; several, if more than one reading of the data is possible; or none, if the data doesn't have it."""
    comment: str
    is_required: bool = True
    """Whether the schema can't be used before one of several readings is chosen."""
    is_confirmed: bool = True
    """Whether a single reading can be used. A candidate that only the contents suggest can't."""

    @property
    def is_open(self) -> bool:
        """Whether the value isn't decided."""
        return len(self.readings) != 1 or not self.is_confirmed

    @property
    def candidates(self) -> list[str]:
        """The line as TOML, once for each reading. Without any, the value is a placeholder."""
        if not self.readings:
            return [f'{_key_text(self.key)} = "Area/City"']
        return [f"{_key_text(self.key)} = {toml_value(value)}" for value in self.readings]


def proposal_to_toml(lines: Iterable[ProposedLine], title: str, unused: Mapping[str, str]) -> str:
    """Return proposed lines as TOML, with comments. Lines with several readings are commented out.

    A required line with several readings starts with `#? `. `parse_schema` refuses a schema with such a line.
    """
    proposed = list(lines)
    parts = [_comment(title)]
    for section in SECTIONS:
        of_section = [line for line in proposed if line.section == section]
        if of_section:
            parts += ["", f"[{section}]", *(text for line in of_section for text in _line_texts(line))]
    if unused:
        parts += ["", _comment("Unused columns:")]
        parts += [_comment(f"- {_one_line(name)}: {reason}") for name, reason in unused.items()]
    return "\n".join(parts) + "\n"


def schema_to_toml(schema: Schema) -> str:
    """Return a schema as TOML. `preptime.schema.toml_file.parse_schema` reads the same schema from it.

    Example:
        >>> print(schema_to_toml(Schema(orders={"restaurant_id": OrderColumn(column="store")})))
        [orders]
        restaurant_id = "store"
        <BLANKLINE>
    """
    sections: dict[str, Mapping[str, TomlValue]] = {
        "source": _options(schema.source),
        "target": _options(schema.target),
        "orders": {_order_key(name): _order_column(column) for name, column in schema.orders.items()},
        "restaurants": _restaurants(schema),
        "features": {feature.name: _feature(feature) for feature in schema.features},
        "ratios": {ratio.name: [ratio.dividend, ratio.divisor] for ratio in schema.ratios},
        "models": {name: _model(settings) for name, settings in schema.models.items()},
    }
    blocks = [
        "\n".join([f"[{name}]", *(f"{_key_text(key)} = {toml_value(value)}" for key, value in table.items())])
        for name, table in sections.items()
        if table
    ]
    return "\n\n".join(blocks) + "\n"


def toml_value(value: TomlValue) -> str:
    """Return a value as TOML: text in quotation marks, a list, or an inline table."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {toml_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    return repr(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def _line_texts(line: ProposedLine) -> list[str]:
    if not line.is_open:
        return [_comment(line.comment), *line.candidates]
    start = OPEN_LINE if line.is_required else "# "
    return [_comment(line.comment), *(f"{start}{candidate}" for candidate in line.candidates)]


def _comment(text: str) -> str:
    wrapped = textwrap.wrap(_one_line(text), _COMMENT_WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join(f"# {line}" for line in wrapped)


def _one_line(text: str) -> str:
    """Return text without line feeds and other control characters, which a comment can't have."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def _key_text(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else toml_value(key)


def _order_key(name: str) -> str:
    return PREP_TIME if name == TARGET else name


def _options(part: msgspec.Struct) -> dict[str, TomlScalar]:
    """Return the options of a part that differ from their defaults."""
    options: dict[str, TomlScalar] = msgspec.to_builtins(part)
    return {
        name: [float(bound) for bound in value] if isinstance(value, list | tuple) else value
        for name, value in options.items()
    }


def _order_column(column: OrderColumn) -> TomlValue:
    options = _options(column)
    return column.column if len(options) == 1 else options


def _restaurants(schema: Schema) -> dict[str, TomlValue]:
    restaurants = schema.restaurants
    constants = {"country": restaurants.country, "time_zone": restaurants.time_zone}
    table: dict[str, TomlValue] = {
        name: {"column": column} if name in constants else column for name, column in restaurants.columns.items()
    }
    return table | {name: value for name, value in constants.items() if value}


def _feature(feature: CustomFeature) -> TomlValue:
    options = {name: value for name, value in _options(feature).items() if name != "name"}
    if feature.column == feature.name:
        del options["column"]
    return feature.type if len(options) == 1 else options


def _model(settings: ModelSettings) -> TomlValue:
    if not settings.parameters:
        return settings.source
    return ({CLASS_OPTION: settings.source} if settings.source else {}) | settings.parameters
