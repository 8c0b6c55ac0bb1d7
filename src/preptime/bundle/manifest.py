"""What a bundle says of itself. The written form, field by field, is docs/bundle-format.md.

The arrays of a history in this format: which there are, of what type and shape. Others are not opened.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import date
from typing import Literal

import msgspec

from preptime.errors import BundleVerificationError
from preptime.features.restaurant_index import Vocabularies
from preptime.features.spec import HISTORY_FEATURES, TIME_SLOT_COUNT

BUNDLE_FORMAT = 1
"""The format this code writes and reads. How to change it: docs/bundle-format.md, "Changing the format"."""

MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.onnx"
GOLDEN_FILE = "golden.json"
REPORT_FILE = "report.html"
EVALUATION_FILE = "evaluation.json"
TRAINING_FILES = (REPORT_FILE, EVALUATION_FILE)
"""Files that tell of the training run. Loading only checks their hashes, a bundle may lack them, a refresh carries
them."""
HISTORY_FOLDER = "history"

JsonObject = dict[str, object]
"""A JSON object whose shape belongs to a higher layer (`msgspec.convert(document, Type)` gives it back its type)."""

_FILE_NAME_PATTERN = re.compile(r"[a-z0-9_]+(/[a-z0-9_]+)*\.[a-z]+")
_ID_HEX_DIGITS = 12
_ID_PATTERN = re.compile(r"\d{4}-\d{2}-\d{2}-[0-9a-f]{12}")


class FormatHeader(msgspec.Struct):
    """All that is read of a document before its format is known."""

    format: int


class FeatureInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One column of the feature matrix."""

    name: str
    unit: str


class TrainingWindow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The days a bundle learned from; both ends included."""

    first_day: date
    last_day: date
    fitted_through: date
    """The last day used for fitting or calibration. Only days after it can compare this bundle with another."""
    gate_days: int
    """How many days after `fitted_through` were held out for the comparison; the history reaches over them."""


class ArrayInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One array of the history, as in the header of its `.npy` file."""

    dtype: str
    shape: tuple[int, ...]


class FileInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One file of the bundle."""

    sha256: str
    size_bytes: int


class ManifestDraft(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What only the maker of a bundle knows; the rest of the manifest follows from the files."""

    kind: Literal["training", "refresh"]
    date: date
    """D: the bundle knows what happened before this morning."""
    parent: str | None = None
    """Of a refresh: the bundle whose models these are."""
    window: TrainingWindow
    models: tuple[str, ...]
    """Output names of the graph, in order; `quantile` among them."""
    calibration: JsonObject
    data_fingerprint: str
    dvc_revision: str | None = None
    git_revision: str | None = None
    metrics: JsonObject
    libraries: dict[str, str]

    def __post_init__(self) -> None:
        if (self.kind == "refresh") != (self.parent is not None):
            raise ValueError("a refresh names its parent, a training has none")
        if not self.window.first_day <= self.window.last_day < self.date:
            raise ValueError("the training window must end before the bundle's date")


class Manifest(ManifestDraft, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything a bundle says of itself. No clock and no measured time: same content, same bytes, same id."""

    format: int = BUNDLE_FORMAT
    id: str
    features: tuple[FeatureInfo, ...]
    vocabularies: Vocabularies
    arrays: dict[str, ArrayInfo]
    """By the name of the array; its file is `history/<name>.npy`."""
    files: dict[str, FileInfo]
    """By path inside the bundle, `/` between folders; every file except the manifest."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.files:
            if _FILE_NAME_PATTERN.fullmatch(name) is None:
                raise ValueError(f"{name!r} is not a file name of a bundle")


def to_json_object(value: object) -> JsonObject:
    """`value` (a Struct, a mapping) as the JSON object that reading it back would give: NaN becomes null, dates text.

    Raises `msgspec.ValidationError` when it is not an object.
    """
    return msgspec.json.decode(msgspec.json.encode(value), type=JsonObject)


def is_bundle_id(name: str) -> bool:
    """Whether a folder of this name can be a bundle."""
    return _ID_PATTERN.fullmatch(name) is not None


def bundle_date(bundle_id: str) -> date:
    """The date that stands in a bundle's id: the morning that trained or refreshed it."""
    return date.fromisoformat(bundle_id[: len("2015-06-24")])


def compute_bundle_id(manifest: Manifest) -> str:
    """The id that belongs to this content: the date and a hash over everything else in the manifest.

    The files' own hashes are in it, so the id stands for the whole bundle.
    """
    fields = _manifest_fields(manifest)
    del fields["id"]
    return f"{manifest.date.isoformat()}-{hashlib.sha256(_canonical_json(fields)).hexdigest()[:_ID_HEX_DIGITS]}"


def encode_manifest(manifest: Manifest) -> bytes:
    """`manifest.json`: sorted, indented, ending in a newline."""
    text = json.dumps(_manifest_fields(manifest), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def decode_manifest(raw: bytes) -> Manifest:
    """Read `manifest.json`. Raises `BundleVerificationError` for anything this code would not have written."""
    try:
        manifest_format = msgspec.json.decode(raw, type=FormatHeader).format
        if manifest_format != BUNDLE_FORMAT:
            raise refused_bundle_error(
                MANIFEST_FILE,
                f"format {BUNDLE_FORMAT}",
                f"format {manifest_format}",
                "Use the preptime release that made it.",
            )
        manifest = msgspec.json.decode(raw, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise refused_bundle_error(MANIFEST_FILE, f"a manifest of format {BUNDLE_FORMAT}", str(error)) from error
    if raw != encode_manifest(manifest):
        raise refused_bundle_error(
            MANIFEST_FILE,
            f"format {BUNDLE_FORMAT} byte for byte as preptime writes it",
            "something edited or cut short",
        )
    if manifest.id != compute_bundle_id(manifest):
        raise refused_bundle_error(MANIFEST_FILE, f"the id of its content, {compute_bundle_id(manifest)}", manifest.id)
    return manifest


def describe_files(files: Mapping[str, bytes]) -> dict[str, FileInfo]:
    """The manifest's entry for each file."""
    return {
        name: FileInfo(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
        for name, content in sorted(files.items())
    }


def refused_bundle_error(
    file: str, expected: str, actual: str, hint: str = "Take another bundle, or make this one anew."
) -> BundleVerificationError:
    """The refusal, in the words every refusal uses: the file, what was expected, what was found."""
    return BundleVerificationError(f"{file}: expected {expected}, found {actual}.", hint)


def _manifest_fields(manifest: Manifest) -> dict[str, object]:
    return msgspec.convert(msgspec.to_builtins(manifest), dict[str, object])


def _canonical_json(value: object) -> bytes:
    # The standard library's JSON on purpose: `repr` of floats has not changed since 3.1, and ids must not either.
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def expected_arrays(restaurant_count: int, vocabularies: Vocabularies) -> dict[str, ArrayInfo]:
    """By name; little-endian. Subjects are the restaurants, then every (city, food) with one more of each: unknown."""
    row_count = restaurant_count + (len(vocabularies.city) + 1) * (len(vocabularies.type_of_food) + 1)
    return {
        "restaurant_id": ArrayInfo(dtype="<i8", shape=(restaurant_count,)),
        "country": ArrayInfo(dtype="<i4", shape=(restaurant_count,)),
        "city": ArrayInfo(dtype="<i4", shape=(restaurant_count,)),
        "type_of_food": ArrayInfo(dtype="<i4", shape=(restaurant_count,)),
        "time_zone": ArrayInfo(dtype="<i4", shape=(restaurant_count,)),
        "rows": ArrayInfo(dtype="<f4", shape=(row_count, len(HISTORY_FEATURES))),
        "slots": ArrayInfo(dtype="<f4", shape=(row_count, TIME_SLOT_COUNT)),
        "fallback_level": ArrayInfo(dtype="|i1", shape=(row_count,)),
        "global_median_seconds": ArrayInfo(dtype="<f4", shape=(1,)),
    }


def check_arrays(arrays: dict[str, ArrayInfo], vocabularies: Vocabularies) -> None:
    """Raise `BundleVerificationError` unless these are the arrays of this format, for however many restaurants."""
    restaurant_count = (
        arrays["restaurant_id"].shape[0] if "restaurant_id" in arrays and arrays["restaurant_id"].shape else 0
    )
    expected = expected_arrays(restaurant_count, vocabularies)
    for name in sorted(arrays.keys() | expected.keys()):
        if arrays.get(name) != expected.get(name):
            raise refused_bundle_error(
                f"{HISTORY_FOLDER}/{name}.npy", _describe_array(expected.get(name)), _describe_array(arrays.get(name))
            )


def _describe_array(array: ArrayInfo | None) -> str:
    return "no such array" if array is None else f"{array.dtype}{list(array.shape)}"
