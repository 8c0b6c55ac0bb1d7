"""The Kubernetes manifests as `kubectl kustomize` renders them, and what checks them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.requirements import ROOT, requires

K8S = ROOT / "deploy" / "k8s"
TOOLS = ROOT / ".venv-deploy" / "bin"

Document = dict[str, object]
"""A mapping, read from YAML."""


def tool(name: str) -> str:
    """A tool of `.venv-deploy`."""
    requires((TOOLS / name).is_file(), f"no {name}: python dev.py setup deploy")
    return str(TOOLS / name)


def promtool() -> str:
    """Prometheus' checker of rules."""
    found = shutil.which("promtool")
    requires(found, "promtool is not installed (Debian's package prometheus)")
    return str(found)


def rendered(folder: Path) -> str:
    """What `kubectl apply -k` would send."""
    ended = subprocess.run([tool("kubectl"), "kustomize", folder], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def inside(document: object, name: str) -> Iterator[object]:
    """Every value under that key, at any depth."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key == name:
                yield value
            yield from inside(value, name)
    elif isinstance(document, list):
        for one in document:
            yield from inside(one, name)
