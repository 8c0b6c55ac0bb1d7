"""What a bundle says of itself. The written form, field by field, is docs/bundle-format.md."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import date
from typing import Literal

import msgspec

from preptime.errors import RefusedBundleError
from preptime.features.directory import Vocabularies

FORMAT = 1
"""The format this code writes and reads. How to change it: docs/bundle-format.md, "Changing the format"."""

MANIFEST = "manifest.json"
MODEL = "model.onnx"
GOLDEN = "golden.json"
REPORT = "report.html"
EVALUATION = "evaluation.json"
TOLD = (REPORT, EVALUATION)
"""Files that tell of the training run. Loading only checks their hashes, a bundle may lack them, a refresh carries
them."""
HISTORY = "history"

Document = dict[str, object]
"""A JSON object whose shape belongs to a higher layer (`msgspec.convert(document, Type)` gives it back its type)."""

_FILE_NAME = re.compile(r"[a-z0-9_]+(/[a-z0-9_]+)*\.[a-z]+")
_ID_DIGITS = 12
_ID = re.compile(r"\d{4}-\d{2}-\d{2}-[0-9a-f]{12}")


class Head(msgspec.Struct):
    """All that is read of a document before its format is known."""

    format: int


class Feature(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One column of the feature matrix."""

    name: str
    unit: str


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The days a bundle learned from; both ends included."""

    first_day: date
    last_day: date
    fitted_through: date
    """The last day used for fitting or calibration. Only days after it can compare this bundle with another."""
    gate_days: int
    """How many days after `fitted_through` were held out for the comparison; the history reaches over them."""


class Array(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One array of the history, as in the header of its `.npy` file."""

    dtype: str
    shape: tuple[int, ...]


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One file of the bundle."""

    sha256: str
    size_bytes: int


class Draft(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What only the maker of a bundle knows; the rest of the manifest follows from the files."""

    kind: Literal["training", "refresh"]
    date: date
    """D: the bundle knows what happened before this morning."""
    parent: str | None = None
    """Of a refresh: the bundle whose models these are."""
    window: Window
    models: tuple[str, ...]
    """Output names of the graph, in order; `quantile` among them."""
    calibration: Document
    data_fingerprint: str
    dvc_revision: str | None = None
    git_revision: str | None = None
    metrics: Document
    libraries: dict[str, str]

    def __post_init__(self) -> None:
        if (self.kind == "refresh") != (self.parent is not None):
            raise ValueError("a refresh names its parent, a training has none")
        if not self.window.first_day <= self.window.last_day < self.date:
            raise ValueError("the training window must end before the bundle's date")


class Manifest(Draft, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything a bundle says of itself. No clock and no measured time: same content, same bytes, same id."""

    format: int = FORMAT
    id: str
    features: tuple[Feature, ...]
    vocabularies: Vocabularies
    arrays: dict[str, Array]
    """By the name of the array; its file is `history/<name>.npy`."""
    files: dict[str, File]
    """By path inside the bundle, `/` between folders; every file except the manifest."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.files:
            if _FILE_NAME.fullmatch(name) is None:
                raise ValueError(f"{name!r} is not a file name of a bundle")


def document(value: object) -> Document:
    """`value` (a Struct, a mapping) as the JSON object that reading it back would give: NaN becomes null, dates text.

    Raises `msgspec.ValidationError` when it is not an object.
    """
    return msgspec.json.decode(msgspec.json.encode(value), type=Document)


def is_bundle_id(name: str) -> bool:
    """Whether a folder of this name can be a bundle."""
    return _ID.fullmatch(name) is not None


def morning_of(bundle_id: str) -> date:
    """The date that stands in a bundle's id: the morning that trained or refreshed it."""
    return date.fromisoformat(bundle_id[: len("2015-06-24")])


def identify(manifest: Manifest) -> str:
    """The id that belongs to this content: the date and a hash over everything else in the manifest.

    The files' own hashes are in it, so the id stands for the whole bundle.
    """
    fields = _fields(manifest)
    del fields["id"]
    return f"{manifest.date.isoformat()}-{hashlib.sha256(_canonical(fields)).hexdigest()[:_ID_DIGITS]}"


def encode(manifest: Manifest) -> bytes:
    """`manifest.json`: sorted, indented, ending in a newline."""
    text = json.dumps(_fields(manifest), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def decode(raw: bytes) -> Manifest:
    """Read `manifest.json`. Raises `RefusedBundleError` for anything this code would not have written."""
    try:
        found = msgspec.json.decode(raw, type=Head).format
        if found != FORMAT:
            raise refused(MANIFEST, f"format {FORMAT}", f"format {found}", "Use the preptime release that made it.")
        manifest = msgspec.json.decode(raw, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise refused(MANIFEST, f"a manifest of format {FORMAT}", str(error)) from error
    if raw != encode(manifest):
        raise refused(MANIFEST, f"format {FORMAT} byte for byte as preptime writes it", "something edited or cut short")
    if manifest.id != identify(manifest):
        raise refused(MANIFEST, f"the id of its content, {identify(manifest)}", manifest.id)
    return manifest


def describe(files: Mapping[str, bytes]) -> dict[str, File]:
    """The manifest's entry for each file."""
    return {
        name: File(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
        for name, content in sorted(files.items())
    }


def refused(
    file: str, expected: str, found: str, hint: str = "Take another bundle, or make this one anew."
) -> RefusedBundleError:
    """The refusal, in the words every refusal uses: the file, what was expected, what was found."""
    return RefusedBundleError(f"{file}: expected {expected}, found {found}.", hint)


def _fields(manifest: Manifest) -> dict[str, object]:
    return msgspec.convert(msgspec.to_builtins(manifest), dict[str, object])


def _canonical(value: object) -> bytes:
    # The standard library's JSON on purpose: `repr` of floats has not changed since 3.1, and ids must not either.
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
