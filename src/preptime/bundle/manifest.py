"""The manifest of a bundle: its fields, its id, and the files and arrays of the format.

docs/bundle-format.md describes every field.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from typing import Literal

import msgspec

from preptime.domain.time_zones import load_time_zone
from preptime.errors import BundleVerificationError, DataError, PreptimeError
from preptime.features.feature_set import FeatureSet
from preptime.features.restaurant_index import Vocabularies
from preptime.features.restaurant_names import NAME_BYTES, NAME_ENDS
from preptime.features.spec import HISTORY_FEATURES, TIME_SLOT_COUNT
from preptime.schema.schema import TAKE_HOME_SCHEMA, Schema

BUNDLE_FORMAT = 2
"""The format that this code writes and reads. To change it, see docs/bundle-format.md, "Changing the format"."""

MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.onnx"
QUANTILE_FILE = "quantile.onnx"
LIVE_FILE = "live.onnx"
GRAPH_FILES = (MODEL_FILE, QUANTILE_FILE, LIVE_FILE)
"""The graphs (`preptime.bundle.graph`). The live graph is optional."""
EXPLANATIONS_FILE = "explanations.msgpack"
MODEL_FILES = (*GRAPH_FILES, EXPLANATIONS_FILE)
"""The files of the models, which a refresh keeps. The explanations (`preptime.bundle.explanations_file`) are optional.
"""
GOLDEN_FILE = "golden.json"
REPORT_FILE = "report.html"
EVALUATION_FILE = "evaluation.json"
TRAINING_FILES = (REPORT_FILE, EVALUATION_FILE)
"""Optional files that describe the training run. Loading only checks their hashes. A refresh copies its parent's."""
HISTORY_FOLDER = "history"

JsonObject = dict[str, object]
"""A JSON object whose fields a higher layer defines. To restore its type, call `msgspec.convert(document, Type)`."""

_FILE_NAME_PATTERN = re.compile(r"[a-z0-9_]+(/[a-z0-9_]+)*\.[a-z]+")
_ID_HEX_DIGITS = 12
_MAX_SHOWN_ERROR = 300
"""Characters of a library's error message in ours."""
_ID_PATTERN = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9a-f]{12}")


class FormatHeader(msgspec.Struct):
    """The only field that is read before the format of a document is known."""

    format: int


class FeatureInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One column of the feature matrix."""

    name: str
    unit: str


class TrainingSample(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which orders of a corpus the models were fitted and evaluated on. Their history has all orders."""

    orders: int
    """Orders in the sample."""
    of_orders: int
    """Orders in the window that the sample is of."""


class TrainingWindow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The days of the training data, first and last included."""

    first_day: date
    last_day: date
    fitted_through: date
    """The last day used for fitting or calibration. Only later days can compare this bundle with another."""
    gated_from: date | None = None
    """The first and last day of the gate. Models fitted on the days before each of them predicted its orders. None if
    the bundle was trained without the gate."""
    gated_through: date | None = None
    sample: TrainingSample | msgspec.UnsetType = msgspec.UNSET
    """The sample of a corpus. It's omitted for a training on all orders."""


class ArrayInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The type and shape of one array of the history, as in the header of its `.npy` file."""

    dtype: str
    shape: tuple[int, ...]


class FileInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One file of the bundle."""

    sha256: str
    size_bytes: int


class ModelDetails(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is recorded about a model. A bundle never contains code."""

    hyperparameters: dict[str, int | float | str | bool] = {}
    source: str = ""
    """For a custom model: its file, and its class if it has one. Empty for a model of the catalogue."""
    sha256: str = ""
    """For a custom model: the hash of its file."""
    fitted_through: date | None = None
    """For an offered graph: the last day that it was fitted on, as the user states it."""

    def __str__(self) -> str:
        """Return the source for people."""
        return f"{self.source}, fitted through {self.fitted_through}" if self.fitted_through else self.source


class ManifestDraft(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The fields that the caller of `write_bundle` provides. The other fields follow from the files."""

    kind: Literal["training", "refresh"]
    date: date
    """As-of date of the history."""
    parent: str | None = None
    """For a refresh, the bundle whose models it uses."""
    schema: Schema = TAKE_HOME_SCHEMA
    """The schema of the orders that the models were fitted on. Requests and files to score have this schema."""
    window: TrainingWindow
    models: tuple[str, ...]
    """Output names of the graph, in order. `quantile` is one of them."""
    model_details: dict[str, ModelDetails] = {}
    """Hyperparameters by model, and where custom models are from."""
    weak_models: tuple[str, ...] = ()
    """The point models whose error on the gate's days isn't lower than that of the global median."""
    calibration: JsonObject
    live_calibration: JsonObject | None = None
    """The calibration of the live model. None if the bundle has no live model."""
    data_fingerprint: str
    dvc_revision: str | None = None
    git_revision: str | None = None
    metrics: JsonObject
    libraries: dict[str, str]

    @property
    def custom_models(self) -> str:
        """The custom models with their sources for people, or an empty text."""
        return "; ".join(f"{name}: {details}" for name, details in self.model_details.items() if details.source)

    def __post_init__(self) -> None:
        if (self.kind == "refresh") != (self.parent is not None):
            raise ValueError("a refresh needs a parent, and a training can't have one")
        window = self.window
        if not window.first_day <= window.last_day < self.date:
            raise ValueError("the training window must end before the bundle's date")
        if not window.first_day <= window.fitted_through <= window.last_day:
            raise ValueError("fitted_through must be in the training window")
        if (window.gated_from is None) != (window.gated_through is None):
            raise ValueError("gated_from and gated_through must both have a value, or neither of them")
        if len(set(self.models)) < len(self.models):
            raise ValueError("models must be different from each other")
        if not set(self.weak_models) <= set(self.models):
            raise ValueError("weak_models must be models of the bundle")
        if not self.model_details.keys() <= set(self.models):
            raise ValueError("model_details must be about models of the bundle")
        if self.schema.models:
            raise ValueError("the schema of a bundle has no models")


class Manifest(ManifestDraft, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The manifest. It contains no time of day and no duration, so the same content gives the same bytes and id."""

    format: int = BUNDLE_FORMAT
    id: str
    features: tuple[FeatureInfo, ...]
    vocabularies: Vocabularies
    arrays: dict[str, ArrayInfo]
    """By name. The file of an array is `history/<name>.npy`."""
    files: dict[str, FileInfo]
    """Every file except the manifest, by path in the bundle with `/` between folders."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.files:
            if _FILE_NAME_PATTERN.fullmatch(name) is None:
                raise ValueError(f"{name!r} is not a valid file name in a bundle")


def to_json_object(value: object) -> JsonObject:
    """Return a Struct or a mapping as a JSON object: NaN becomes None, and dates become text.

    Raises `msgspec.ValidationError` if the value isn't an object in JSON.
    """
    return msgspec.json.decode(msgspec.json.encode(value), type=JsonObject)


def is_bundle_id(name: str) -> bool:
    """Return whether the name has the form of a bundle id."""
    return _ID_PATTERN.fullmatch(name) is not None


def bundle_date(bundle_id: str) -> date:
    """Return the as-of date in a bundle id."""
    return date.fromisoformat(bundle_id[: len("2015-06-24")])


def compute_bundle_id(manifest: Manifest) -> str:
    """Return the id of the manifest: its date and a hash of all fields except `id`, which include the files' hashes."""
    fields = _manifest_fields(manifest)
    del fields["id"]
    return f"{manifest.date.isoformat()}-{hashlib.sha256(_canonical_json(fields)).hexdigest()[:_ID_HEX_DIGITS]}"


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the content of `manifest.json`: keys sorted, indented, with a final newline."""
    text = json.dumps(_manifest_fields(manifest), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def decode_manifest(raw: bytes) -> Manifest:
    """Return the decoded `manifest.json`.

    Raises `BundleVerificationError` for another format, and for bytes that this code wouldn't write.
    """
    with damage_reported(MANIFEST_FILE, f"a manifest of format {BUNDLE_FORMAT}"):
        manifest_format = msgspec.json.decode(raw, type=FormatHeader).format
        if manifest_format != BUNDLE_FORMAT:
            raise refused_bundle_error(
                MANIFEST_FILE,
                f"format {BUNDLE_FORMAT}",
                f"format {manifest_format}",
                "To create a new champion with this release, run `preptime train` with an empty store.",
            )
        manifest = msgspec.json.decode(raw, type=Manifest)
        written = encode_manifest(manifest)
    if raw != written:
        raise refused_bundle_error(
            MANIFEST_FILE,
            f"the bytes that preptime writes for format {BUNDLE_FORMAT}",
            "an edited or truncated file",
        )
    if manifest.id != compute_bundle_id(manifest):
        raise refused_bundle_error(MANIFEST_FILE, f"the id of its content, {compute_bundle_id(manifest)}", manifest.id)
    return manifest


def describe_files(files: Mapping[str, bytes]) -> dict[str, FileInfo]:
    """Return the manifest's entry for each file, by name."""
    return {
        name: FileInfo(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
        for name, content in sorted(files.items())
    }


def expected_arrays(
    restaurant_count: int, vocabularies: Vocabularies, features: FeatureSet, names: tuple[int, int] = (0, 0)
) -> dict[str, ArrayInfo]:
    """Return the arrays of a history by name, all little-endian.

    `names` is the number of restaurants whose ID is text, and the number of bytes of these IDs. Rows are the
    restaurants, then every (city, food) group, with one more city and food for unknown ones.
    """
    row_columns = len(HISTORY_FEATURES) + 2 * len(features.restaurant_numbers)
    restaurant_categories = sum(feature.of == "restaurant" for feature in features.categories)
    row_count = restaurant_count + (len(vocabularies.city) + 1) * (len(vocabularies.type_of_food) + 1)
    arrays = {
        "restaurant_id": ArrayInfo(dtype="<i8", shape=(restaurant_count,)),
        "country": ArrayInfo(dtype="<i4", shape=(restaurant_count,)),
        "city": ArrayInfo(dtype="<i4", shape=(restaurant_count,)),
        "type_of_food": ArrayInfo(dtype="<i4", shape=(restaurant_count,)),
        "time_zone": ArrayInfo(dtype="<i4", shape=(restaurant_count,)),
        "rows": ArrayInfo(dtype="<f4", shape=(row_count, row_columns)),
        "slots": ArrayInfo(dtype="<f4", shape=(row_count, TIME_SLOT_COUNT)),
        "fallback_level": ArrayInfo(dtype="|i1", shape=(row_count,)),
        "global_median_seconds": ArrayInfo(dtype="<f4", shape=(1,)),
    }
    if names[0]:
        arrays[NAME_ENDS] = ArrayInfo(dtype="<i8", shape=names[:1])
        arrays[NAME_BYTES] = ArrayInfo(dtype="|u1", shape=names[1:])
    if restaurant_categories:
        arrays["restaurant_categories"] = ArrayInfo(dtype="<i4", shape=(restaurant_count, restaurant_categories))
    if features.categories:
        cells = ArrayInfo(dtype="<f4", shape=(vocabularies.category_cells,))
        arrays |= {"category_means": cells, "category_orders": cells}
    return arrays


def check_arrays(arrays: dict[str, ArrayInfo], vocabularies: Vocabularies, features: FeatureSet) -> None:
    """Raise `BundleVerificationError` unless these are the arrays of this format, for any number of restaurants."""
    names = _length(arrays, NAME_ENDS), _length(arrays, NAME_BYTES)
    expected = expected_arrays(_length(arrays, "restaurant_id"), vocabularies, features, names)
    for name in sorted(arrays.keys() | expected.keys()):
        if arrays.get(name) != expected.get(name):
            raise refused_bundle_error(
                f"{HISTORY_FOLDER}/{name}.npy", _describe_array(expected.get(name)), _describe_array(arrays.get(name))
            )


def _length(arrays: dict[str, ArrayInfo], name: str) -> int:
    return arrays[name].shape[0] if name in arrays and arrays[name].shape else 0


def named_vocabularies(vocabularies: Vocabularies, features: FeatureSet) -> dict[str, tuple[str, ...]]:
    """Return the vocabularies by the name of their category. Custom categories have the names of the schema."""
    named = {name: getattr(vocabularies, name) for name in ("country", "city", "type_of_food", "time_zone")}
    custom = zip(features.categories, vocabularies.custom, strict=True)
    return named | {feature.name: names for feature, names in custom}


def check_vocabularies(vocabularies: Vocabularies, features: FeatureSet) -> None:
    """Raise `BundleVerificationError` unless each vocabulary is sorted, and this machine knows its time zones."""
    if len(vocabularies.custom) != len(features.categories):
        raise refused_bundle_error(
            MANIFEST_FILE, f"{len(features.categories)} custom vocabularies", str(len(vocabularies.custom))
        )
    for category, names in named_vocabularies(vocabularies, features).items():
        if list(names) != sorted(set(names)):
            raise refused_bundle_error(
                MANIFEST_FILE, f"a sorted vocabulary of {category} without duplicates", "another order"
            )
    for name in vocabularies.time_zone:
        try:
            load_time_zone(name)
        except DataError as error:
            raise refused_bundle_error(
                MANIFEST_FILE, "time zones that this machine knows", repr(name), "Update tzdata, or use another bundle."
            ) from error


@contextmanager
def damage_reported(file: str, expected: str) -> Iterator[None]:
    """Report every error of the block, which reads bytes that may be damaged, as damage of `file`.

    Errors of preptime, of the file system, and a lack of memory stay as they are.
    """
    try:
        yield
    except (PreptimeError, OSError, MemoryError):
        raise
    except Exception as error:
        raise refused_bundle_error(file, expected, f"an error ({_describe_error(error)})") from error


def _describe_error(error: Exception) -> str:
    text = " ".join(str(error).split())
    shown = text if len(text) <= _MAX_SHOWN_ERROR else f"{text[:_MAX_SHOWN_ERROR]}…"
    return shown or type(error).__name__


def refused_bundle_error(
    file: str, expected: str, actual: str, hint: str = "Use another bundle, or train this one again."
) -> BundleVerificationError:
    """Return the error for a bundle that fails verification: the file, the expected value, and the actual value."""
    return BundleVerificationError(f"{file}: expected {expected}, found {actual}.", hint)


def _manifest_fields(manifest: Manifest) -> dict[str, object]:
    return msgspec.convert(msgspec.to_builtins(manifest), dict[str, object])


def _canonical_json(value: object) -> bytes:
    # Ids must never change. The standard library writes floats with `repr`, which hasn't changed since Python 3.1.
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _describe_array(array: ArrayInfo | None) -> str:
    return "no array" if array is None else f"{array.dtype}{list(array.shape)}"
