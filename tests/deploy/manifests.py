"""The Kubernetes manifests as `kubectl kustomize` renders them, and the tools that check them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.requirements import ROOT, requires

K8S = ROOT / "deploy" / "k8s"
TOOLS = ROOT / ".venv-deploy" / "bin"

Document = dict[str, object]
"""A mapping from YAML."""


def tool(name: str) -> str:
    """Return the path of a tool in `.venv-deploy`."""
    requires((TOOLS / name).is_file(), f"{name} is not installed; run: python dev.py setup deploy")
    return str(TOOLS / name)


def promtool() -> str:
    """Return the path of Prometheus' rule checker."""
    program = shutil.which("promtool")
    requires(program, "promtool is not installed (Debian package: prometheus)")
    return str(program)


def render(folder: Path) -> str:
    """Return the documents that `kubectl apply -k` sends."""
    completed = subprocess.run([tool("kubectl"), "kustomize", folder], capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


def iter_values(document: object, name: str) -> Iterator[object]:
    """Yield every value under the key `name`, at any depth."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key == name:
                yield value
            yield from iter_values(value, name)
    elif isinstance(document, list):
        for item in document:
            yield from iter_values(item, name)
