"""Executes the example notebooks and stores their outputs: `python -m scripts.run_notebooks [FILE ...]`.

The tests execute them with the same functions, and compare the outputs with the stored ones (tests/examples).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
CELL_TIMEOUT_SECONDS = 600
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
"""What a stored notebook says about its kernel: nothing that depends on the machine."""


class ThisPython(KernelSpecManager):
    """Starts kernels with the interpreter that runs this script, whatever kernels the user has installed."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Return the kernel of this interpreter."""
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        encryption = {"supported_encryption": "curve"}
        return KernelSpec(argv=command, display_name=kernel_name, language="python", metadata=encryption)


class ThisPythonManager(AsyncKernelManager):
    """Manages a kernel of this interpreter, whose connections are encrypted."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(kernel_spec_manager=ThisPython(), transport_encryption="auto", **settings)


def read(path: Path) -> NotebookNode:
    """Return a stored notebook."""
    notebook: NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    return notebook


def execute(path: Path) -> NotebookNode:
    """Execute a notebook in a copy of its folder, and return it with its outputs.

    Settings and `.env` of the user have no effect. Raises `CellExecutionError` if a cell fails.
    """
    notebook = read(path)
    with tempfile.TemporaryDirectory(prefix="preptime-notebook-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary) / "examples"
        shutil.copytree(path.parent, folder, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        client = NotebookClient(
            notebook,
            kernel_manager_class=ThisPythonManager,
            resources={"metadata": {"path": str(folder)}},
            timeout=CELL_TIMEOUT_SECONDS,
            record_timing=False,
        )
        client.execute(env=_environment(Path(temporary)))
    return normalized(notebook)


def _environment(temporary: Path) -> dict[str, str]:
    """Return the environment of a kernel: that of this process, without settings of preptime and MLflow."""
    prefixes = ("PREPTIME_", "MLFLOW_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    return inherited | {"IPYTHONDIR": str(temporary / "ipython"), "PYTHONWARNINGS": "default"}


def normalized(notebook: NotebookNode) -> NotebookNode:
    """Remove what depends on the machine and the time of the execution."""
    notebook.metadata.clear()
    notebook.metadata.update(METADATA)
    for cell in notebook.cells:
        cell.metadata.clear()
    return notebook


def main(arguments: Sequence[str] | None = None) -> int:
    """Execute notebooks, and store their outputs."""
    parser = argparse.ArgumentParser(prog="run-notebooks", description="Execute the example notebooks.")
    parser.add_argument("notebooks", nargs="*", type=Path, default=NOTEBOOKS, help="default: all")
    for path in parser.parse_args(arguments).notebooks:
        nbformat.write(execute(path), path)  # type: ignore[no-untyped-call]
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
