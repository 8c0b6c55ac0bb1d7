"""Write the pages under docs/ that are generated from code; with --check say which are not current (exit 1).

A page that states what code declares is written by that code, so that the two cannot disagree.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from preptime.domain import dictionary, verdict

DOCS = Path(__file__).resolve().parent.parent / "docs"

PAGES: dict[str, Callable[[], str]] = {
    "data-dictionary.md": dictionary.markdown,
    "row-verdicts.md": verdict.markdown,
}


def main(arguments: list[str]) -> int:
    """Write the pages that differ, or only name them."""
    stale = [name for name, page in PAGES.items() if _read(DOCS / name) != page()]
    if arguments == ["--check"]:
        for name in stale:
            sys.stderr.write(f"docs/{name} is not what the code says: run `make docs`.\n")
        return 1 if stale else 0
    for name in stale:
        (DOCS / name).write_text(PAGES[name](), encoding="utf-8", newline="\n")
        sys.stdout.write(f"docs/{name} written\n")
    return 0


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
