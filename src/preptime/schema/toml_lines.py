"""Lines of a TOML document, for messages: that of a key, and that of a syntax error."""

from __future__ import annotations

import re


def find_line(text: str, path: tuple[str, ...]) -> int:
    """Return the line of a key in a TOML document, counted from 1: its own, else that of its closest parent, else 1."""
    table: tuple[str, ...] = ()
    best_line, best_depth = 1, 0
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[([^\[\]]+)\]", line)
        if header:
            table = tuple(part.strip().strip("\"'") for part in header[1].split("."))
            key_path = table
        else:
            key = re.match(r"""\s*("[^"]*"|'[^']*'|[^=#\s]+)\s*=""", line)
            if key is None:
                continue
            key_path = (
                *table,
                *(part.strip("\"'") for part in ([key[1]] if key[1][0] in "\"'" else key[1].split("."))),
            )
        depth = len(key_path)
        if key_path == path[:depth] and depth > best_depth:
            best_line, best_depth = number, depth
    return best_line


def split_toml_error(message: str) -> tuple[str, int]:
    """Return the problem and the line of an error of `tomllib`. Python has attributes for them only since 3.14."""
    place = re.search(r" \(at line (\d+), column \d+\)$", message)
    return (message[: place.start()], int(place[1])) if place else (message, 1)
