"""Figures of the source tree's shape: `python -m tests.layout [FOLDER]`."""

from __future__ import annotations

import ast
import math
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src"


def source_files(source: Path = SOURCE) -> list[Path]:
    """Every file of the package, including templates and SQL."""
    return [path for path in (source / "preptime").rglob("*") if path.is_file() and "__pycache__" not in path.parts]


@cache
def modules(source: Path = SOURCE) -> dict[str, Path]:
    """Dotted names of all modules except packages' `__init__`, with their files."""
    files = (path for path in source_files(source) if path.suffix == ".py" and path.name != "__init__.py")
    return {".".join(path.relative_to(source).with_suffix("").parts): path for path in files}


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _runtime_nodes(node: ast.AST) -> list[ast.AST]:
    """All nodes below, except those that only type checkers see."""
    nodes = []
    for child in ast.iter_child_nodes(node):
        if not _is_type_checking(child):
            nodes += [child, *_runtime_nodes(child)]
    return nodes


@cache
def imports(module: str, source: Path = SOURCE) -> frozenset[str]:
    """The package's own modules that a module imports, anywhere in it."""
    paths = modules(source)
    imported = set()
    for node in _runtime_nodes(ast.parse(paths[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            imported |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
    return frozenset((imported & set(paths)) - {module})


def import_closure(module: str, source: Path = SOURCE) -> set[str]:
    """A module and all modules of the package that it imports, directly or not, lazily or not."""
    reached, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += imports(name, source)
    return reached


def single_importers(source: Path = SOURCE) -> dict[str, str]:
    """Modules with exactly one importer, which is in the same folder, and that importer."""
    importers = defaultdict(set)
    for name in modules(source):
        for target in imports(name, source):
            importers[target].add(name)
    return {
        target: next(iter(names))
        for target, names in sorted(importers.items())
        if len(names) == 1 and next(iter(names)).rpartition(".")[0] == target.rpartition(".")[0]
    }


def file_lengths(source: Path = SOURCE) -> dict[str, int]:
    """Lines of each Python file."""
    return {
        path.relative_to(source).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in source_files(source)
        if path.suffix == ".py"
    }


def function_lengths(source: Path = SOURCE) -> dict[str, int]:
    """Lines of each function and method, without decorators and its docstring."""
    lengths = {}
    for name, path in modules(source).items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lengths[f"{name}:{node.lineno} {node.name}"] = _line_count(node) - _docstring_lines(node)
    return lengths


def _line_count(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return _line_count(node.body[0]) if ast.get_docstring(node) is not None else 0


def percentile(values: list[int], share: float) -> int:
    """The smallest value that at least `share` of the values don't exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def main(source: Path) -> None:
    """Print the figures of a source folder."""
    files, functions = list(file_lengths(source).values()), list(function_lengths(source).values())
    entry = "preptime.api.handler" if "preptime.api.handler" in modules(source) else "preptime.api.front"
    print(f"files under src/preptime: {len(source_files(source))}")
    print(f"modules imported by a prediction request ({entry}): {len(import_closure(entry, source))}")
    print(f"modules imported by training: {len(import_closure('preptime.training.train', source))}")
    print(f"modules whose only importer is in the same folder: {len(single_importers(source))}")
    print(f"lines per file: median {percentile(files, 0.5)}, p90 {percentile(files, 0.9)}, maximum {max(files)}")
    print(f"lines per function: median {percentile(functions, 0.5)}, maximum {max(functions)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE)
