"""`.env` files: `NAME=value` lines. Nothing is interpolated and nothing is run."""

from __future__ import annotations

import re
from pathlib import Path

from preptime.errors import UsageError

_NAME_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_COMMENT_PATTERN = re.compile(r"(?:^|\s)#")


def read_env_file(path: Path) -> dict[str, str]:
    """Names and values: blank lines and `#` comments are passed over, `export` and quotes around a value dropped.

    A `#` begins a comment only after a blank. Raises `UsageError` with the number of a line that is none of these; the
    line itself is not repeated, since it may hold a secret.
    """
    values: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}.", "Write it in UTF-8.") from error
    for number, line in enumerate(lines, start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        values.update([_parse_line(stripped, f"{path}, line {number}")])
    return values


def _parse_line(line: str, location: str) -> tuple[str, str]:
    name, separator, raw_value = line.removeprefix("export ").partition("=")
    name, value = name.strip(), raw_value.strip()
    if not separator or not _NAME_PATTERN.fullmatch(name):
        raise UsageError(f"{location}: expected NAME=value.", "Comments begin with #.")
    if value[:1] in {"'", '"'}:
        quoted_value, closing_quote, remainder = value[1:].partition(value[0])
        if not closing_quote or (remainder.strip() and not remainder.lstrip().startswith("#")):
            raise UsageError(
                f"{location}: {name}'s quotes do not close where its value ends.", "Quote the whole value."
            )
        return name, quoted_value
    return name, _COMMENT_PATTERN.split(value, maxsplit=1)[0].strip()
