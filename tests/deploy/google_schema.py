"""The schema of Google's Terraform provider, from the package `cdktn-provider-google` in `.venv-deploy`.

The package has generated JavaScript for each resource. It states the type of every argument and block, whether it's
required, optional, or computed, and whether a block can occur once only. This module reads it, so that the tests
need neither the provider nor a network.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.deploy.manifests import TOOLS
from tests.requirements import requires

TypeText = object
"""A type in Terraform's JSON form, for example "string" or ["map", "string"]."""

_FUNCTION = re.compile(r"^function (\w+)ToHclTerraform\(struct\) \{(.*?)^\}", re.DOTALL | re.MULTILINE)
_CLASS = re.compile(r"^class (\w+) extends cdktn\.(\w+) \{(.*?)^\}", re.DOTALL | re.MULTILINE)
_HCL_ATTRIBUTE = re.compile(
    r"^\s+['\"]?(\w+)['\"]?: \{\s*value: (.*?),\s*isBlock: (true|false),"
    r"\s*type: \"(\w+)\",\s*storageClassType: \"(\w+)\",\s*\}",
    re.DOTALL | re.MULTILINE,
)
_PROPERTY = re.compile(
    r"// (\w+) - computed: (\w+), optional: (\w+), required: (\w+)\n(.*?)(?=\n    // \w+ - computed|\n    // =====|\Z)",
    re.DOTALL,
)
_GETTERS: dict[str, TypeText] = {
    "getStringAttribute": "string",
    "getNumberAttribute": "number",
    "getBooleanAttribute": "bool",
    "getListAttribute": ["list", "string"],
    "getNumberListAttribute": ["list", "number"],
    "getStringMapAttribute": ["map", "string"],
    "getAnyMapAttribute": ["map", "string"],
    "getBooleanMapAttribute": ["map", "bool"],
    "getNumberMapAttribute": ["map", "number"],
}
_PRIMITIVES = {"string": "string", "number": "number", "boolean": "bool", "any": "string"}


@dataclass
class Attribute:
    """An argument or a computed value."""

    type: TypeText
    computed: bool = False
    optional: bool = False
    required: bool = False


@dataclass
class Block:
    """The contents of a resource or of a nested block."""

    attributes: dict[str, Attribute] = field(default_factory=dict)
    blocks: dict[str, NestedBlock] = field(default_factory=dict)


@dataclass
class NestedBlock:
    """A nested block, and how often it can occur. `max_items` 0 means any number."""

    nesting: str
    min_items: int
    max_items: int
    block: Block


@dataclass
class ProviderSchema:
    """The schema of the provider and of some of its resources and data sources."""

    version: str
    provider: Block
    resources: dict[str, Block] = field(default_factory=dict)
    data_sources: dict[str, Block] = field(default_factory=dict)

    def write(self, path: Path) -> Path:
        """Write the schema as JSON for the replacement provider (google_provider.py)."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")
        return path


def read_schema(resources: Iterable[str], data_sources: Iterable[str] = ()) -> ProviderSchema:
    """Return the schema of the provider and of the named types, for example `google_storage_bucket`."""
    folders = {"provider": "provider"}
    folders |= {_folder(name): name for name in resources}
    folders |= {f"data-{name.replace('_', '-')}": f"data.{name}" for name in data_sources}
    texts: dict[str, str] = {}
    for name, text in _read_files(folders):
        texts[name] = texts.get(name, "") + text
    assert set(texts) == set(folders.values()), f"the provider has no {set(folders.values()) - set(texts)}"
    version = re.search(r"providerVersion: '([\d.]+)'", texts["google_storage_bucket"])
    assert version is not None
    parsed = {name: _Source(text).root() for name, text in texts.items()}
    return ProviderSchema(
        version=version[1],
        provider=parsed.pop("provider"),
        resources={name: block for name, block in parsed.items() if not name.startswith("data.")},
        data_sources={name[5:]: block for name, block in parsed.items() if name.startswith("data.")},
    )


def _folder(name: str) -> str:
    return name.removeprefix("google_").replace("_", "-")


def _read_files(folders: dict[str, str]) -> Iterator[tuple[str, str]]:
    packages = sorted(TOOLS.parent.glob("lib/python3*/site-packages/cdktn_provider_google/_jsii/*.jsii.tgz"))
    requires(packages, "cdktn-provider-google is not installed; run: python dev.py setup deploy")
    with tarfile.open(packages[0]) as archive:
        for member in archive:
            # A large resource has further files.
            match = re.fullmatch(r"package/lib/([\w-]+)/(?:index|index-structs/structs\d+)\.js", member.name)
            if match and (name := folders.get(match[1])) and (content := archive.extractfile(member)):
                yield name, content.read().decode()


class _Source:
    """The generated code of one resource."""

    def __init__(self, text: str) -> None:
        self.functions = {match[1]: match[2] for match in _FUNCTION.finditer(text)}
        self.classes = {match[1]: match[3] for match in _CLASS.finditer(text)}
        bases = {match[1]: match[2] for match in _CLASS.finditer(text)}
        roots = {"TerraformResource", "TerraformProvider", "TerraformDataSource"}
        self.root_class = next(name for name, base in bases.items() if base in roots)

    def root(self) -> Block:
        """Return the block of the resource."""
        body = self.classes[self.root_class]
        attributes = re.search(r"synthesizeHclAttributes\(\) \{(.*?)\n    \}", body, re.DOTALL)
        assert attributes is not None
        return self.block(attributes[1], body)

    def block(self, hcl_text: str, class_body: str) -> Block:
        """Return a block. `hcl_text` lists its arguments, and the class lists these and its computed values."""
        arguments = {match[1]: match for match in _HCL_ATTRIBUTE.finditer(hcl_text)}
        result = Block()
        for match in _PROPERTY.finditer(class_body):
            name, computed, optional, required = match[1], *(flag == "true" for flag in match.groups()[1:4])
            argument = arguments.pop(name, None)
            struct = argument and self.struct_name(argument[2])
            if argument is None or (struct and argument[3] == "false"):
                type_text = self.getter_type(match[5])
            elif struct:
                is_single = re.search(r"= new [\w.]+OutputReference\(", match[5]) is not None
                result.blocks[name] = self.nested(struct, argument[4], required=required, is_single=is_single)
                continue
            else:
                type_text = _argument_type(argument[4], argument[5])
            result.attributes[name] = Attribute(type_text, computed, optional, required)
        assert not arguments, f"no properties for {set(arguments)}"
        return result

    def struct_name(self, value: str) -> str | None:
        """Return the name of the structure that an argument's value is converted from, if it's one."""
        names = re.findall(r"(\w+)ToHclTerraform", value)
        return next((name for name in names if name in self.functions), None)

    def nested(self, struct: str, kind: str, *, required: bool, is_single: bool) -> NestedBlock:
        """Return a nested block. The provider's own blocks have no classes."""
        reference = next((name for name in self.classes if name.lower() == f"{struct}OutputReference".lower()), None)
        if reference is None:
            inner = {
                match[1]: Attribute(_argument_type(match[4], match[5]), optional=True)
                for match in _HCL_ATTRIBUTE.finditer(self.functions[struct])
            }
            return NestedBlock("list", 0, 1, Block(inner))
        block = self.block(self.functions[struct], self.classes[reference])
        if kind == "struct":
            return NestedBlock("single", 0, 0, block)
        return NestedBlock(kind, int(required), int(is_single), block)

    def getter_type(self, body: str) -> TypeText:
        """Return the type of a property from its getter."""
        expression = re.search(r"get \w+\(\) \{\s*return ([^;]+);", body)
        for getter, type_text in _GETTERS.items():
            if expression and f".{getter}(" in expression[1]:
                is_set = "Fn.tolist" in expression[1]
                return ["set", type_text[1]] if is_set and isinstance(type_text, list) else type_text
        if match := re.search(r"= new cdktn\.(String|Boolean|Number|Any)(Map|List|MapList)\(this", body):
            inner = _PRIMITIVES[match[1].lower()]
            kinds: dict[str, TypeText] = {"Map": ["map", inner], "List": ["list", inner]}
            return kinds.get(match[2], ["list", ["map", inner]])
        match = re.search(r"= new (?:\w+\.)?(\w+)\(this, \"\w+\"(?:, (true|false))?\)", body)
        assert match is not None, body
        if match[1].endswith("Map"):
            return ["map", "string"]
        reference = re.sub("(List|OutputReference)$", "", match[1]) + "OutputReference"
        fields = {found[1]: self.getter_type(found[5]) for found in _PROPERTY.finditer(self.classes[reference])}
        return ["set" if match[2] == "true" else "list", ["object", fields]]


def _argument_type(kind: str, storage: str) -> TypeText:
    match kind:
        case "simple":
            return _PRIMITIVES.get(storage, "string")
        case "map":
            return ["map", _PRIMITIVES.get(storage.removesuffix("Map"), "string")]
        case _:
            return [kind, _PRIMITIVES.get(storage.removesuffix("List"), "string")]
