"""Writes hyperparameters to a schema file. Everything else in it stays, comments included."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from preptime.atomic_write import atomic_path
from preptime.errors import OperationError, UsageError
from preptime.schema.keys import CLASS_OPTION
from preptime.schema.toml_file import parse_schema

NOTE_START = "preptime tune:"
"""Start of the comment behind the header of a section that a search wrote."""


def write_parameters(
    path: Path,
    name: str,
    parameters: Mapping[str, int | float | str | bool],
    note: str = "",
    *,
    base: Path | None = None,
) -> None:
    """Write hyperparameters to `[models.NAME]` in a schema file, where training reads them.

    Args:
        path: The file. If it's missing, it's created, and the rest of the schema is the built-in one.
        name: The model's name.
        parameters: The hyperparameters. Others that the section has stay.
        note: Where they come from, as a comment.
        base: The file whose content a new file starts with.

    Raises:
        UsageError: The file isn't a valid schema.
        OperationError: The file has a form that can't be edited.
    """
    source = path if path.exists() or base is None else base
    text = source.read_bytes().decode("utf-8-sig") if source.exists() else ""
    line_feeds = text.replace("\r\n", "\n")
    edited = set_parameters(line_feeds, name, parameters, note, str(path))
    with atomic_path(path) as temporary:
        temporary.write_text(edited, encoding="utf-8", newline="\r\n" if "\r\n" in text else "\n")


def set_parameters(
    text: str, name: str, parameters: Mapping[str, int | float | str | bool], note: str = "", file: str = "schema.toml"
) -> str:
    r"""Return the text of a schema file with hyperparameters of a model.

    Raises the same errors as `write_parameters`, with the name of the file.

    Example:
        >>> print(set_parameters("[models]\nmine = 'mine.py:Mine' # ours", "quantile", {"depth": 5}, "14 days"))
        [models]
        mine = 'mine.py:Mine' # ours
        <BLANKLINE>
        [models.quantile] # preptime tune: 14 days
        depth = 5
        <BLANKLINE>
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    before = parse_schema(text, file) if text.strip() else None
    try:
        document = tomlkit.parse(text if text.endswith("\n") else f"{text}\n" if text else "")
        _edit(document, name, parameters, note)
        edited = tomlkit.dumps(document)
        after = parse_schema(edited, file)
    except (TOMLKitError, UsageError) as error:
        raise _not_editable(file, name, parameters) from error
    expected = dict(before.models[name].parameters if before and name in before.models else {}) | dict(parameters)
    others = {other: settings for other, settings in (before.models if before else {}).items() if other != name}
    is_same = before is None or (before == after and others == {k: v for k, v in after.models.items() if k != name})
    if not is_same or after.models[name].parameters != expected:
        raise _not_editable(file, name, parameters)
    return edited


def _edit(document: object, name: str, parameters: Mapping[str, int | float | str | bool], note: str) -> None:
    """Change a document of tomlkit."""
    from tomlkit import TOMLDocument, item, nl, table
    from tomlkit.items import Table

    if not isinstance(document, TOMLDocument):
        raise TypeError(document)
    models = document.get("models")
    if models is None:
        if len(document.body) > 0:
            document.add(nl())
        models = table(is_super_table=True)
        document["models"] = models
    section = models.get(name)
    if section is None or isinstance(section, str):
        options = table()
        if section is not None:
            options[CLASS_OPTION] = section
        models[name] = options
    for key, value in parameters.items():
        models[name][key] = item(value)
    section = models[name]
    if note and isinstance(section, Table) and _is_own(section.trivia.comment):
        section.comment(f"{NOTE_START} {note}")


def _is_own(comment: str) -> bool:
    """Return whether a comment is missing, or is of an earlier search."""
    return not comment or comment.removeprefix("#").strip().startswith(NOTE_START)


def _not_editable(file: str, name: str, parameters: Mapping[str, int | float | str | bool]) -> OperationError:
    lines = "; ".join(f"{key} = {value!r}" for key, value in parameters.items())
    return OperationError(f"[models.{name}] couldn't be added to {file}.", f"Add these lines to it: {lines}.")
