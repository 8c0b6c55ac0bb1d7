"""Encoding, decoding, and verifying manifests."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import msgspec
import pytest

from preptime.bundle.bundle import Bundle
from preptime.bundle.manifest import (
    MANIFEST_FILE,
    Manifest,
    compute_bundle_id,
    decode_manifest,
    encode_manifest,
    to_json_object,
)
from preptime.errors import BundleVerificationError
from tests.bundle.factories import DAY, some_draft, some_files, write_manifest


def test_manifest_round_trip_keeps_fields_and_id() -> None:
    manifest, files = some_files()
    assert decode_manifest(files[MANIFEST_FILE]) == manifest
    assert encode_manifest(manifest) == files[MANIFEST_FILE]
    assert manifest.id == compute_bundle_id(manifest)
    assert manifest.id.startswith("2015-06-17-")
    assert set(manifest.files) == set(files) - {MANIFEST_FILE}


def test_bundle_id_changes_with_any_content() -> None:
    assert some_files()[1] == some_files()[1]
    ids = {some_files()[0].id, some_files(shift=1.0)[0].id, some_files(DAY + dt.timedelta(days=1))[0].id}
    assert len(ids) == 3
    manifest = some_files()[0]
    other = msgspec.structs.replace(manifest, metrics={"scores": []})
    assert compute_bundle_id(other) != manifest.id


def test_bundle_id_is_independent_of_dictionary_order() -> None:
    manifest = some_files()[0]
    reordered = msgspec.structs.replace(manifest, libraries=dict(reversed(manifest.libraries.items())))
    assert encode_manifest(reordered) == encode_manifest(manifest)
    assert compute_bundle_id(reordered) == manifest.id


def test_decode_manifest_with_unknown_format_raises_first() -> None:
    with pytest.raises(BundleVerificationError, match="expected format 2, found format 1") as error:
        decode_manifest(b'{"format": 1, "whatever": []}')
    assert "preptime train" in error.value.hint


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"{}", b'{"format": "2"}', b'{"format": 2}', b'"\xff"', b"\xff\xfe"])
def test_decode_manifest_with_invalid_content_raises(raw: bytes) -> None:
    with pytest.raises(BundleVerificationError, match=r"manifest\.json: expected"):
        decode_manifest(raw)


def edited_manifest(path: tuple[str | int, ...], value: object) -> bytes:
    fields = json.loads(some_files()[1][MANIFEST_FILE])
    inner = fields
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return json.dumps(fields, sort_keys=True, indent=1, ensure_ascii=False).encode() + b"\n"


@pytest.mark.parametrize(
    "path",
    [
        ("unknown_field",),
        ("window", "unknown_field"),
        ("features", 0, "unknown_field"),
        ("files", "model.onnx", "unknown_field"),
        ("vocabularies", "unknown_field"),
    ],
)
def test_decode_manifest_with_unknown_field_raises(path: tuple[str | int, ...]) -> None:
    with pytest.raises(BundleVerificationError):
        decode_manifest(edited_manifest(path, "good"))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("id",), "2015-06-17-000000000000"),
        (("data_fingerprint",), "sha256:4567"),
        (("metrics", "scores"), []),
        (("vocabularies", "city"), ["London"]),
        (("files", "model.onnx", "sha256"), "0" * 64),
    ],
)
def test_decode_manifest_with_edited_field_raises(path: tuple[str | int, ...], value: object) -> None:
    with pytest.raises(BundleVerificationError, match="the id of its content"):
        decode_manifest(edited_manifest(path, value))


@pytest.mark.parametrize("name", ["../outside.npy", "/etc/passwd", "history\\rows.npy", "", "Model.onnx", "a//b.npy"])
def test_decode_manifest_with_unsafe_file_name_raises(name: str) -> None:
    with pytest.raises(BundleVerificationError, match="is not a valid file name in a bundle"):
        decode_manifest(edited_manifest(("files", name), {"sha256": "0" * 64, "size_bytes": 1}))


def test_to_json_object_converts_nan_and_dates() -> None:
    metrics = to_json_object({"mae": float("nan"), "day": dt.date(2015, 6, 1), "n": 3, "share": 1.0})
    assert metrics == {"mae": None, "day": "2015-06-01", "n": 3, "share": 1.0}
    with pytest.raises(msgspec.ValidationError):
        to_json_object([1, 2])


def test_manifest_draft_with_contradiction_raises() -> None:
    draft = some_draft()
    with pytest.raises(ValueError, match="a refresh needs a parent"):
        msgspec.structs.replace(draft, kind="refresh")
    with pytest.raises(ValueError, match="a refresh needs a parent"):
        msgspec.structs.replace(draft, parent="2015-06-16-000000000000")
    with pytest.raises(ValueError, match="must end before"):
        msgspec.structs.replace(draft, date=draft.window.last_day)


def test_bundle_load_with_consistently_edited_manifest_works(bundle_folder: Path) -> None:
    """The control of the tests above: the same way of editing, without an error, is accepted."""
    fields = json.loads((bundle_folder / MANIFEST_FILE).read_bytes())
    write_manifest(bundle_folder, fields | {"git_revision": "0123abc"})
    assert Bundle.load(bundle_folder).manifest.git_revision == "0123abc"
    assert isinstance(Bundle.load(bundle_folder).manifest, Manifest)
