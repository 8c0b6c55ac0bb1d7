"""The declarations of settings: names, types, ranges, and how they are read and shown.

A field of a `msgspec.Struct` declares a setting by its type, its default, and `Meta(description=...)`. `Meta.extra` can
have other `names`, whether the value is a `secret`, and what is `expected`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import msgspec
from msgspec import inspect, structs

from preptime.errors import UsageError
from preptime.redaction import HIDDEN, has_secret, redact_address, remember_secret, remember_secrets

PREFIX = "PREPTIME_"
FOLDER_PATTERN = "^(?!.*://)"


class SettingSpec(msgspec.Struct, frozen=True):
    """The declaration of one setting."""

    field: str
    names: tuple[str, ...]
    """Environment variables that set it. If several are set, the first one counts."""
    default: str
    description: str
    expected: str
    secret: bool
    is_folder: bool = False
    """Whether it's a folder on this machine."""
    is_integer: bool = False
    minimum: int | None = None
    maximum: int | None = None
    """Range of an integer."""
    choices: tuple[str, ...] = ()
    """All values, if there are only a few."""
    struct: type[msgspec.Struct] = msgspec.Struct
    """The class that declares it."""

    def convert(self, name: str, value: str) -> object:
        """Return the text `value` of the variable `name` as the field's type. The error doesn't repeat a secret."""
        if not (self.is_folder and has_secret(value)):
            with suppress(msgspec.ValidationError):
                return getattr(msgspec.convert({self.field: value}, self.struct, strict=False), self.field)
        value_text = "another value" if self.secret else repr(redact_address(value))
        raise UsageError(f"{name}: expected {self.expected}, found {value_text}.", "See docs/settings.md.")

    def redact(self, value: str) -> str:
        """Return `set` for a secret, and another value without the secrets in it."""
        redacted = HIDDEN if self.secret else redact_address(value)
        return "set" if redacted == HIDDEN else redacted

    def remember_secrets(self, value: str) -> None:
        """Hide the secrets in a value of this setting from every message and log of this process."""
        if self.secret and "://" not in value and not has_secret(value):
            remember_secret(value)
        else:
            remember_secrets(value)


class _SettingExtra(msgspec.Struct, frozen=True):
    """The part of a declaration that isn't in the type."""

    names: tuple[str, ...] = ()
    secret: bool = False
    expected: str = ""
    """The expected value, if the type doesn't describe it."""


def iter_specs(struct: type[msgspec.Struct]) -> Iterator[SettingSpec]:
    """Yield the settings that a class declares, in the order of its fields."""
    for field in structs.fields(struct):
        field_type = inspect.type_info(field.type)
        extra: dict[str, object] = {}
        schema: dict[str, object] = {}
        while isinstance(field_type, inspect.Metadata | inspect.UnionType):
            if isinstance(field_type, inspect.UnionType):  # a type or None
                field_type = field_type.types[0]
            else:
                extra, schema = extra | (field_type.extra or {}), schema | (field_type.extra_json_schema or {})
                field_type = field_type.type
        setting_extra = msgspec.convert(extra, _SettingExtra)
        yield SettingSpec(
            field=field.name,
            names=setting_extra.names or (PREFIX + field.name.upper(),),
            default=_default_text(field.default),
            description=str(schema["description"]),
            expected=setting_extra.expected or _describe_type(field_type),
            secret=setting_extra.secret,
            is_folder=isinstance(field_type, inspect.StrType) and field_type.pattern == FOLDER_PATTERN,
            is_integer=isinstance(field_type, inspect.IntType),
            minimum=field_type.ge if isinstance(field_type, inspect.IntType) else None,
            maximum=field_type.le if isinstance(field_type, inspect.IntType) else None,
            choices=tuple(map(str, field_type.values)) if isinstance(field_type, inspect.LiteralType) else (),
            struct=struct,
        )


def _default_text(default: object) -> str:
    """Return a default as a value that a variable can have."""
    if default is None:
        return ""
    return str(default).lower() if isinstance(default, bool) else str(default)


def _describe_type(field_type: inspect.Type) -> str:
    match field_type:
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return f"a whole number {_describe_range(field_type.ge, field_type.le)}"
        case inspect.FloatType():
            return f"a number {_describe_range(field_type.ge, field_type.le)}"
        case inspect.LiteralType():
            return "one of " + ", ".join(str(value) for value in field_type.values)
        case inspect.StrType() if field_type.pattern:
            return "a folder, not a URL" if field_type.pattern == FOLDER_PATTERN else "a path that starts with /"
    return "text"


def _describe_range(minimum: float | None, maximum: float | None) -> str:
    return f"from {minimum}" + ("" if maximum is None else f" to {maximum}")
