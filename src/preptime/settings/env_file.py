"""`.env` files: `NAME=value` lines. Nothing is interpolated and nothing is run."""

from __future__ import annotations

import re
from pathlib import Path

from preptime.errors import UsageError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_COMMENT = re.compile(r"(?:^|\s)#")


def read_env_file(path: Path) -> dict[str, str]:
    """Names and values: blank lines and `#` comments are passed over, `export` and quotes around a value dropped.

    A `#` begins a comment only after a blank. Raises `UsageError` with the number of a line that is none of these; the
    line itself is not repeated, since it may hold a secret.
    """
    found: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}.", "Write it in UTF-8.") from error
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        found.update([_name_and_value(text, f"{path}, line {number}")])
    return found


def _name_and_value(text: str, place: str) -> tuple[str, str]:
    name, separator, rest = text.removeprefix("export ").partition("=")
    name, value = name.strip(), rest.strip()
    if not separator or not _NAME.fullmatch(name):
        raise UsageError(f"{place}: expected NAME=value.", "Comments begin with #.")
    if value[:1] in {"'", '"'}:
        inner, closing, after = value[1:].partition(value[0])
        if not closing or (after.strip() and not after.lstrip().startswith("#")):
            raise UsageError(f"{place}: {name}'s quotes do not close where its value ends.", "Quote the whole value.")
        return name, inner
    return name, _COMMENT.split(value, maxsplit=1)[0].strip()
