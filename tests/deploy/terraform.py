"""deploy/terraform, read: every file as one tree of plain Python values."""

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
    """One block: `resource "type" "name"`, `variable "name"`, with what stands in it."""

    kind: str
    labels: tuple[str, ...]
    body: Tree

    def text(self, name: str) -> str:
        """An argument as it is written, without quotes around it."""
        return str(self.body.get(name, ""))


@lru_cache
def blocks(folder: Path = FOLDER) -> tuple[Block, ...]:
    """The blocks of the .tf files directly in `folder`."""
    found = []
    for path in sorted(folder.glob("*.tf")):
        for kind, entries in parsed(path).items():
            for entry in entries if isinstance(entries, list) else [entries]:
                found.extend(_blocks(kind, (), entry))
    return tuple(found)


@lru_cache
def parsed(path: Path) -> Tree:
    """A file as plain values. Two packages share the parser's name and differ in lists and quotes: neither is kept."""
    with TemporaryDirectory() as folder:
        out = Path(folder) / "parsed.json"
        subprocess.run([tool("hcl2tojson"), path, out], check=True, capture_output=True)
        read: object = json.loads(out.read_text(encoding="utf-8"))
    tree = _plain(read)
    assert isinstance(tree, dict), path
    return tree


def of_kind(kind: str, folder: Path = FOLDER) -> dict[str, Block]:
    """Blocks of this kind by their last label."""
    return {block.labels[-1]: block for block in blocks(folder) if block.kind == kind}


def modules() -> list[Path]:
    """The folders of the modules."""
    return sorted(path for path in (FOLDER / "modules").iterdir() if path.is_dir())


def text_of(folder: Path) -> str:
    """The .tf files directly in `folder`, one after the other."""
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.tf")))


def names_in(text: str, before: str) -> set[str]:
    """What is referred to after `before` (`var.`, `local.`)."""
    return set(re.findall(rf"\b{re.escape(before)}([a-z_]+)", text))


_LABELS = {"resource": 2, "data": 2, "variable": 1, "output": 1, "module": 1, "provider": 1}


def _blocks(kind: str, labels: tuple[str, ...], entry: object) -> list[Block]:
    if not isinstance(entry, dict):
        return []
    if len(labels) == _LABELS.get(kind, 0):
        return [Block(kind, labels, entry)]
    return [block for label, inner in entry.items() for block in _blocks(kind, (*labels, label), inner)]


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {str(key).strip('"'): _plain(one) for key, one in value.items() if not str(key).startswith("__")}
    if isinstance(value, list):
        found = [_plain(one) for one in value]
        return found[0] if len(found) == 1 else found
    if isinstance(value, str):
        inner = value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
        return inner.replace('\\"', '"')
    return value
