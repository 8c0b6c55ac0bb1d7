"""The blocks of deploy/terraform as plain Python values."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.deploy.manifests import tool
from tests.requirements import ROOT

FOLDER = ROOT / "deploy" / "terraform"

Tree = dict[str, object]


@dataclass(frozen=True)
class Block:
    """A block, for example `resource "type" "name"`, with its body."""

    kind: str
    labels: tuple[str, ...]
    body: Tree

    def text(self, name: str) -> str:
        """Return the text of an argument, without quotes."""
        return str(self.body.get(name, ""))


@lru_cache
def blocks(folder: Path = FOLDER) -> tuple[Block, ...]:
    """Return the blocks of the .tf files directly in `folder`."""
    result = []
    for path in sorted(folder.glob("*.tf")):
        for kind, entries in parse_file(path).items():
            for entry in entries if isinstance(entries, list) else [entries]:
                result.extend(_blocks(kind, (), entry))
    return tuple(result)


@lru_cache
def parse_file(path: Path) -> Tree:
    """Return a file as plain values. Two packages with the parser's name differ in lists and quotes; both work."""
    with TemporaryDirectory() as folder:
        out = Path(folder) / "parsed.json"
        subprocess.run([tool("hcl2tojson"), path, out], check=True, capture_output=True)
        parsed: object = json.loads(out.read_text(encoding="utf-8"))
    tree = _plain(parsed)
    assert isinstance(tree, dict), path
    return tree


def blocks_of_kind(kind: str, folder: Path = FOLDER) -> dict[str, Block]:
    """Return the blocks of a kind, by their last label."""
    return {block.labels[-1]: block for block in blocks(folder) if block.kind == kind}


def modules() -> list[Path]:
    """Return the folders of the modules."""
    return sorted(path for path in (FOLDER / "modules").iterdir() if path.is_dir())


def text_of(folder: Path) -> str:
    """Return the text of the .tf files directly in `folder`."""
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.tf")))


def names_after(text: str, prefix: str) -> set[str]:
    """Return the names that follow a prefix such as `var.`."""
    return set(re.findall(rf"\b{re.escape(prefix)}([a-z_]+)", text))


_LABELS = {"resource": 2, "data": 2, "variable": 1, "output": 1, "module": 1, "provider": 1}


def _blocks(kind: str, labels: tuple[str, ...], entry: object) -> list[Block]:
    if not isinstance(entry, dict):
        return []
    if len(labels) == _LABELS.get(kind, 0):
        return [Block(kind, labels, entry)]
    return [block for label, inner in entry.items() for block in _blocks(kind, (*labels, label), inner)]


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {str(key).strip('"'): _plain(inner) for key, inner in value.items() if not str(key).startswith("__")}
    if isinstance(value, list):
        items = [_plain(item) for item in value]
        return items[0] if len(items) == 1 else items
    if isinstance(value, str):
        inner = value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
        return inner.replace('\\"', '"')
    return value
