"""deploy/terraform against the schema of Google's provider, without terraform: names, required arguments, and types.

python-hcl2 parses the files. This check knows neither references nor values of expressions. With terraform, the tests
in test_terraform_plan.py check both.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.deploy.google_schema import Attribute, Block, ProviderSchema
from tests.deploy.terraform import blocks

META_ARGUMENTS = {"count", "depends_on", "for_each", "lifecycle", "provider"}


def iter_errors(folder: Path, schema: ProviderSchema) -> Iterator[str]:
    """Yield the errors in the .tf files directly in `folder`."""
    kinds = {"resource": schema.resources, "data": schema.data_sources}
    for found in blocks(folder):
        if found.kind in kinds:
            address = ".".join(found.labels)
            known = kinds[found.kind].get(found.labels[0])
            if known is None:
                yield f"{address}: unknown type"
            else:
                body = {name: value for name, value in found.body.items() if name not in META_ARGUMENTS}
                yield from _body_errors(address, known, body)


def _body_errors(where: str, known: Block, body: dict[str, object]) -> Iterator[str]:
    body = _with_dynamic_blocks(body)
    for name, value in body.items():
        if name in known.blocks:
            nested = known.blocks[name]
            inner_bodies = [inner for inner in _as_list(value) if isinstance(inner, dict)]
            if nested.max_items and len(inner_bodies) > nested.max_items:
                yield f"{where}.{name}: {len(inner_bodies)} blocks, at most {nested.max_items}"
            for inner in inner_bodies:
                yield from _body_errors(f"{where}.{name}", nested.block, inner)
        elif name not in known.attributes:
            yield f"{where}: unknown name {name}"
        elif not _fits(known.attributes[name], value):
            yield f"{where}.{name}: {value!r} isn't {known.attributes[name].type}"
    required = {name for name, attribute in known.attributes.items() if attribute.required}
    required |= {name for name, nested in known.blocks.items() if nested.min_items}
    yield from (f"{where}: {name} is missing" for name in sorted(required - set(body)))


def _with_dynamic_blocks(body: dict[str, object]) -> dict[str, object]:
    """Return the body with the blocks that `dynamic` creates, one for each."""
    result = {name: value for name, value in body.items() if name != "dynamic"}
    for entry in _as_list(body.get("dynamic", [])):
        for name, dynamic in entry.items() if isinstance(entry, dict) else ():
            result[name] = [*_as_list(result.get(name, [])), *_as_list(dynamic["content"])]
    return result


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _fits(attribute: Attribute, value: object) -> bool:
    """Return whether a literal has the type of the attribute. Expressions always fit."""
    if isinstance(value, str) and "${" in value:
        return True
    match attribute.type:
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "bool":
            return isinstance(value, bool)
        case "string":
            return isinstance(value, str | int | float)
        case ["map", _]:
            return isinstance(value, dict)
        case _:  # The parser's lists of one element are that element (terraform.py).
            return not isinstance(value, bool)
