"""Generates the reference pages: the Python API from `preptime.__all__`, the HTTP API from its OpenAPI document."""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from typing import Any, get_args, get_type_hints

import preptime
from preptime import client, errors

PYTHON_INTRODUCTION = """\
# Python reference

`import preptime` offers these names. A library is loaded when a function that needs it is called.
"""
HTTP_INTRODUCTION = """\
# HTTP reference

These are the endpoints of a server with the built-in schema. The page [API](../api.md) explains keys, errors, and
retries. A running server has an OpenAPI document with the fields of its own schema at `/openapi.json`, and interactive
documentation at `/docs`. The document of the built-in schema is [openapi.json](openapi.json).
"""
PUBLIC_MODULES = ("preptime.python_api.", "preptime.client.", "preptime.domain.prediction_records", "preptime.errors")
"""Modules whose classes the reference describes. Classes of other modules are internal, and stay text."""
_FUNCTION = "\n```{{eval-rst}}\n.. autofunction:: {name}\n```\n"
_CLASS = "\n```{{eval-rst}}\n.. autoclass:: {name}\n   :members:\n   :undoc-members:{more}\n```\n"
_RAISED = re.compile(r"^ {4,}(\w+Error): ", flags=re.MULTILINE)


def python_reference() -> str:
    """Return the page with every public name, and with the types and errors that their docstrings and hints name."""
    values = {name: getattr(preptime, name) for name in sorted(preptime.__all__, key=str.lower)}
    classes = {name: value for name, value in values.items() if inspect.isclass(value)}
    public_errors = {name: value for name, value in classes.items() if issubclass(value, Exception)}
    functions = values.keys() - classes.keys()
    named = referenced_classes(values.values())
    lines = [PYTHON_INTRODUCTION, "## Functions\n"]
    lines += [f"### {name}\n{_FUNCTION.format(name=f'preptime.{name}')}" for name in values if name in functions]
    lines.append("## Classes\n")
    lines += [_class_section(value, f"preptime.{name}") for name, value in classes.items() if name not in public_errors]
    lines.append("## Types\n\nObjects that the functions return or accept. You don't create them yourself.\n")
    lines += [_class_section(value) for value in named if not issubclass(value, Exception)]
    lines.append("## Errors\n\nAll errors are subclasses of `preptime.PreptimeError`.\n")
    lines += [_class_section(value, f"preptime.{name}") for name, value in public_errors.items()]
    lines += [_class_section(value) for value in named if issubclass(value, Exception)]
    return "\n".join(lines)


def _class_section(value: type, public_name: str = "") -> str:
    name = public_name or f"{value.__module__}.{value.__qualname__}"
    more = "\n   :show-inheritance:" if any(is_own_class(base) for base in value.__bases__) else ""
    return f"### {value.__name__}\n{_CLASS.format(name=name, more=more)}"


def referenced_classes(values: Iterable[Any]) -> list[type]:
    """Return the classes for users that public values refer to: in hints, as errors, as bases, and in members."""
    public = list(values)
    waiting, found = list(public), dict[type, None]()
    while waiting:
        value = waiting.pop(0)
        bases = value.__bases__ if inspect.isclass(value) else ()
        for referenced in (*_hinted_classes(value), *_raised_classes(value), *bases):
            if referenced not in found and referenced not in public and is_own_class(referenced):
                found[referenced] = None
                waiting.append(referenced)
    return sorted(found, key=lambda value: value.__name__.lower())


def is_own_class(value: object) -> bool:
    """Return whether a value is a class for users of the Python API."""
    return (
        inspect.isclass(value)
        and value.__module__.startswith(PUBLIC_MODULES)
        and not value.__name__.startswith("_")
        and not getattr(value, "_is_protocol", False)
    )


def _members(value: Any) -> Iterator[Any]:
    """Yield a value, or a class and its public functions and properties."""
    yield value
    if inspect.isclass(value):
        for name, member in vars(value).items():
            if name == "__init__" or not name.startswith("_"):
                yield member.fget if isinstance(member, property) else inspect.unwrap(getattr(value, name))


def _hinted_classes(value: Any) -> Iterator[type]:
    for member in _members(value):
        if inspect.isclass(member) or inspect.isfunction(member):
            # A type alias of another module can contain names that only that module has.
            names = _names_of_the_api() | _names_in(member.__module__)
            for hint in get_type_hints(member, localns=names).values():
                yield from _classes_in(hint)


def _names_of_the_api() -> dict[str, Any]:
    """Return all names in the loaded modules of the Python API."""
    modules = [name for name in sys.modules if name.startswith("preptime.python_api.")]
    return {name: value for module in modules for name, value in _names_in(module).items()}


def _names_in(module: str) -> dict[str, Any]:
    return vars(import_module(module)) | _names_for_type_checkers(module)


@cache
def _names_for_type_checkers(module: str) -> dict[str, Any]:
    """Return what a module imports only for type checkers."""
    blocks = [node for node in ast.parse(inspect.getsource(import_module(module))).body if isinstance(node, ast.If)]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom) and node.module]
    return {
        alias.asname or alias.name: getattr(import_module(node.module or ""), alias.name)
        for node in imports
        for alias in node.names
    }


def _classes_in(hint: Any) -> Iterator[type]:
    if inspect.isclass(hint):
        yield hint
    for argument in get_args(hint):
        yield from _classes_in(argument)


def _raised_classes(value: Any) -> Iterator[type]:
    """Yield the errors of the sections `Raises`. They are in the module of the function or in `preptime.errors`."""
    for member in _members(value):
        module = inspect.getmodule(member)
        for name in _RAISED.findall(inspect.getdoc(member) or ""):
            error = getattr(errors, name, None) or getattr(client, name, None) or getattr(module, name, None)
            if error is not None:
                yield error


def openapi_document() -> dict[str, Any]:
    """Return the OpenAPI document of a server with the default settings and the built-in schema."""
    from preptime.api.openapi import build_openapi
    from preptime.settings import Settings

    return build_openapi(Settings(), ())


def http_reference(document: dict[str, Any]) -> str:
    """Return the page with every endpoint of an OpenAPI document, and the fields of every object that they use."""
    operations = [
        (f"{method.upper()} {path}", operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    lines = [HTTP_INTRODUCTION, "## Endpoints\n"]
    for title, operation in operations:
        lines += _operation_section(title, operation)
    lines.append("## Objects\n")
    for name, schema in document["components"]["schemas"].items():
        lines += _object_section(name, schema)
    return "\n".join(lines)


def _operation_section(title: str, operation: dict[str, Any]) -> Iterator[str]:
    key = "Requires an API key." if operation.get("security") else "Requires no API key."
    yield f"### {title}\n\n{operation['summary']}. {key}\n"
    if "requestBody" in operation:
        yield f"The body is {_content_type(operation['requestBody'])}.\n"
        yield from _examples("request", operation["requestBody"])
    yield "| Status | Response | Content |\n|---|---|---|"
    for status, response in operation["responses"].items():
        yield f"| {status} | {_cell(response['description'])} | {_content_type(response)} |"
    yield ""
    yield from _examples("response", operation["responses"].get("200", {}))


def _content_type(body: dict[str, Any]) -> str:
    """Return the type of a body, in words."""
    return " or ".join(f"{_type_name(content.get('schema', {}))}" for content in body.get("content", {}).values())


def _examples(kind: str, body: dict[str, Any]) -> Iterator[str]:
    """Yield the first example of a JSON body."""
    content = body.get("content", {}).get("application/json", {})
    values = [example["value"] for example in content.get("examples", {}).values()] or [content.get("example")]
    if values[0] is not None:
        yield f"Example of a {kind}:\n\n```json\n{json.dumps(values[0], indent=2, ensure_ascii=False)}\n```\n"


def _object_section(name: str, schema: dict[str, Any]) -> Iterator[str]:
    description = inspect.cleandoc(schema.get("description", "")).partition("\n\nExample:")[0]
    yield f"### {name}\n\n{description}\n"
    fields = schema.get("properties", {})
    if not fields:
        return
    yield "| Field | Type | Required | Description |\n|---|---|---|---|"
    for field, field_schema in fields.items():
        required = "yes" if field in schema.get("required", ()) else "no"
        yield f"| `{field}` | {_type_name(field_schema)} | {required} | {_cell(field_schema.get('description', ''))} |"
    yield ""


def _type_name(schema: dict[str, Any]) -> str:
    """Return the type of a field, with a link to the object."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type_name(choice) for choice in schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"array of {_type_name(schema['items'])}" if schema.get("items") else "array"
    return str(schema.get("title") or schema.get("type", "any"))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
