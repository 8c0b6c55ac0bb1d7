"""The example notebooks run, and their stored outputs are current (`python -m scripts.run_notebooks`)."""

from __future__ import annotations

import json
import re
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from nbformat import NotebookNode

from scripts.run_notebooks import METADATA, NOTEBOOKS, ROOT, execute, read
from tests.test_prose import BANNED, MAX_SENTENCE_WORDS

MAX_BYTES = 60_000
UPDATE = "Run: python -m scripts.run_notebooks"

notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])


def output_types(notebook: NotebookNode) -> dict[str, list[str]]:
    """Return the types of each cell's outputs. Numbers differ between processors, so they aren't compared."""
    return {
        cell.id: [f"{output.output_type} {sorted(output.get('data', ()))}" for output in cell.outputs]
        for cell in notebook.cells
        if cell.cell_type == "code"
    }


def texts(notebook: NotebookNode, cell_type: str) -> Iterator[str]:
    return (cell.source for cell in notebook.cells if cell.cell_type == cell_type)


def outputs(notebook: NotebookNode) -> Iterator[NotebookNode]:
    return (output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs)


@notebooks
def test_notebook_runs_and_has_current_outputs(path: Path) -> None:
    """Each cell of a fresh run has outputs of the stored types, and the same number. No cell writes a warning."""
    stored, fresh = read(path), execute(path)
    assert output_types(fresh) == output_types(stored), UPDATE
    assert [output for output in outputs(fresh) if output.get("name") == "stderr"] == []
    numbers = [cell.execution_count for cell in stored.cells if cell.cell_type == "code"]
    assert numbers == list(range(1, len(numbers) + 1)), UPDATE


@notebooks
def test_stored_notebook_depends_on_no_machine(path: Path) -> None:
    content = path.read_text(encoding="utf-8")
    assert len(content.encode()) <= MAX_BYTES
    assert json.loads(content)["metadata"] == METADATA, UPDATE
    assert all(cell.metadata == {} for cell in read(path).cells), UPDATE
    own = {str(ROOT), str(Path.home()), tempfile.gettempdir(), socket.gethostname()}
    assert [text for text in own if len(text) > 3 and text in content] == []
    assert re.findall(r"(?:/tmp|/home|/root|/Users|[A-Z]:\\)[/\\]", content) == []


@notebooks
def test_stored_outputs_need_no_internet(path: Path) -> None:
    """The pages of the site load nothing from other servers, so a chart is stored as a picture."""
    found = [output for output in outputs(read(path)) if re.search(r"<script|<link|src=", str(output.get("data", {})))]
    assert found == []


@notebooks
def test_notebook_follows_the_style(path: Path) -> None:
    for text in texts(read(path), "markdown"):
        prose = re.sub(r"`[^`]*`|\]\([^)]*\)", "`", text)
        assert [pattern for pattern in BANNED if re.search(rf"\b(?:{pattern})\b", prose, re.IGNORECASE)] == []
        sentences = re.split(r"(?<=[.!?:])\s+", prose)
        assert [sentence for sentence in sentences if len(sentence.split()) > MAX_SENTENCE_WORDS] == []


def test_examples_are_listed() -> None:
    """Each notebook is in the list of examples and in that of the documentation."""
    for page in ("examples/README.md", "docs/README.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert [path.name for path in NOTEBOOKS if f"{path.name})" not in text] == [], page
