"""Imports between the modules of the `preptime` package, from its source alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE_FOLDER = Path(__file__).resolve().parent.parent / "src"
PACKAGE = "preptime"


def import_closure(module: str) -> set[str]:
    """Return the modules of this project that an import of `module` and calls of its functions can load.

    The result includes `module` itself, but no package. Imports inside functions count. Imports under
    `if TYPE_CHECKING:` don't, and neither do lazy imports of a package that's only loaded as the parent of a module.
    Raises `ValueError` if the project has no such module.
    """
    if _source_path(module) is None:
        raise ValueError(f"The project has no module {module}.")
    reached: set[str] = set()
    remaining = [module]
    while remaining:
        current = remaining.pop()
        if current in reached:
            continue
        reached.add(current)
        remaining.extend(imported_modules(current))
        for package in _parent_packages(current):
            remaining.extend(imported_modules(package, lazy=False))
    return {name for name in reached if not _is_package(name)}


def imported_modules(module: str, *, lazy: bool = True) -> set[str]:
    """Return the modules and packages of this project that a module imports, with or without imports in functions."""
    path = _source_path(module)
    if path is None:
        raise ValueError(f"The project has no module {module}.")
    imported: set[str] = set()
    for node in _runtime_nodes(ast.parse(path.read_text(encoding="utf-8")), lazy):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute_name(module, node)
            imported.update((base, *(f"{base}.{alias.name}" for alias in node.names)))
    return {name for name in imported if name != module and _source_path(name) is not None}


def _runtime_nodes(tree: ast.AST, lazy: bool) -> Iterator[ast.AST]:
    """Yield every node except those under `if TYPE_CHECKING:`, and except function bodies unless `lazy`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not lazy:
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            for statement in node.orelse:
                yield statement
                yield from _runtime_nodes(statement, lazy)
            continue
        yield node
        yield from _runtime_nodes(node, lazy)


def _absolute_name(module: str, node: ast.ImportFrom) -> str:
    """Return the absolute name of the module in a `from … import`."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    base = parts[: len(parts) - node.level + _is_package(module)]
    return ".".join((*base, node.module) if node.module else base)


def _parent_packages(module: str) -> Iterator[str]:
    while module := module.rpartition(".")[0]:
        yield module


def _is_package(module: str) -> bool:
    path = _source_path(module)
    return path is not None and path.name == "__init__.py"


def _source_path(module: str) -> Path | None:
    if module.partition(".")[0] != PACKAGE:
        return None
    base = SOURCE_FOLDER.joinpath(*module.split("."))
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)
