"""Count files and imports of the `preptime` package, from its source alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE_FOLDER = Path(__file__).resolve().parent.parent / "src"
PACKAGE = "preptime"


def import_closure(module: str) -> set[str]:
    """Return the modules of this project that an import of `module` can reach, `module` included.

    Imports inside functions count, imports under `if TYPE_CHECKING:` don't. A package counts when its `__init__.py`
    holds imports of its own. Raises `ValueError` for a module that isn't part of the project.
    """
    if _source_path(module) is None:
        raise ValueError(f"{module} isn't a module of {PACKAGE}.")
    reached: set[str] = set()
    remaining = [module]
    while remaining:
        current = remaining.pop()
        if current not in reached:
            reached.add(current)
            remaining.extend(imported_modules(current))
    return {name for name in reached if not _is_package(name) or imported_modules(name)}


def imported_modules(module: str) -> set[str]:
    """Return the modules of this project that the source of `module` imports, with the packages that contain them."""
    path = _source_path(module)
    if path is None:
        raise ValueError(f"{module} isn't a module of {PACKAGE}.")
    imported: set[str] = set()
    for node in _runtime_nodes(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute_module(module, node)
            imported.update((base, *(f"{base}.{alias.name}" for alias in node.names)))
    packages = {name.rpartition(".")[0] for name in imported}
    return {name for name in imported | packages if name and name != module and _source_path(name) is not None}


def _runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield every node except those under `if TYPE_CHECKING:`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for statement in node.orelse:
                yield statement
                yield from _runtime_nodes(statement)
            continue
        yield node
        yield from _runtime_nodes(node)


def _absolute_module(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    base = parts[: len(parts) - node.level + _is_package(module)]
    return ".".join((*base, node.module) if node.module else base)


def _is_package(module: str) -> bool:
    path = _source_path(module)
    return path is not None and path.name == "__init__.py"


def _source_path(module: str) -> Path | None:
    if module.partition(".")[0] != PACKAGE:
        return None
    base = SOURCE_FOLDER.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None
