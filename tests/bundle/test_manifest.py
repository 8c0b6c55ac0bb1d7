"""A manifest reads back as it was written, or is refused."""

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
from tests.bundle.factories import DAY, sign, some_draft, some_files


def test_it_reads_back_as_written_and_its_id_is_its_dates_and_contents() -> None:
    manifest, files = some_files()
    assert decode_manifest(files[MANIFEST_FILE]) == manifest
    assert encode_manifest(manifest) == files[MANIFEST_FILE]
    assert manifest.id == compute_bundle_id(manifest)
    assert manifest.id.startswith("2015-06-17-")
    assert set(manifest.files) == set(files) - {MANIFEST_FILE}


def test_same_content_same_bytes_and_every_difference_another_id() -> None:
    assert some_files()[1] == some_files()[1]
    ids = {some_files()[0].id, some_files(shift=1.0)[0].id, some_files(DAY + dt.timedelta(days=1))[0].id}
    assert len(ids) == 3
    manifest = some_files()[0]
    other = msgspec.structs.replace(manifest, metrics={"scores": []})
    assert compute_bundle_id(other) != manifest.id


def test_the_order_of_a_dictionary_makes_no_other_bundle() -> None:
    manifest = some_files()[0]
    turned = msgspec.structs.replace(manifest, libraries=dict(reversed(manifest.libraries.items())))
    assert encode_manifest(turned) == encode_manifest(manifest)
    assert compute_bundle_id(turned) == manifest.id


def test_an_unknown_format_is_refused_before_anything_else_is_read() -> None:
    with pytest.raises(BundleVerificationError, match="expected format 1, found format 2") as refusal:
        decode_manifest(b'{"format": 2, "whatever": []}')
    assert "release" in refusal.value.hint


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"{}", b'{"format": "1"}', b'{"format": 1}', b'"\xff"', b"\xff\xfe"])
def test_what_is_no_manifest_is_refused(raw: bytes) -> None:
    with pytest.raises(BundleVerificationError, match=r"manifest\.json: expected"):
        decode_manifest(raw)


def edited(place: tuple[str | int, ...], value: object) -> bytes:
    fields = json.loads(some_files()[1][MANIFEST_FILE])
    inner = fields
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return json.dumps(fields, sort_keys=True, indent=1, ensure_ascii=False).encode() + b"\n"


@pytest.mark.parametrize(
    "place",
    [("mood",), ("window", "mood"), ("features", 0, "mood"), ("files", "model.onnx", "mood"), ("vocabularies", "mood")],
)
def test_a_field_of_the_future_in_this_format_is_refused_wherever_it_stands(place: tuple[str | int, ...]) -> None:
    with pytest.raises(BundleVerificationError):
        decode_manifest(edited(place, "good"))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("id",), "2015-06-17-000000000000"),
        (("data_fingerprint",), "sha256:4567"),
        (("metrics", "scores"), []),
        (("vocabularies", "city"), ["London"]),
        (("files", "model.onnx", "sha256"), "0" * 64),
    ],
)
def test_an_edited_field_no_longer_fits_the_id(place: tuple[str | int, ...], value: object) -> None:
    with pytest.raises(BundleVerificationError, match="the id of its content"):
        decode_manifest(edited(place, value))


@pytest.mark.parametrize("name", ["../outside.npy", "/etc/passwd", "history\\rows.npy", "", "Model.onnx", "a//b.npy"])
def test_a_file_name_that_could_leave_the_folder_is_refused(name: str) -> None:
    with pytest.raises(BundleVerificationError, match="is not a file name of a bundle"):
        decode_manifest(edited(("files", name), {"sha256": "0" * 64, "size_bytes": 1}))


def test_figures_without_a_value_are_null_and_read_back_the_same() -> None:
    metrics = to_json_object({"mae": float("nan"), "day": dt.date(2015, 6, 1), "n": 3, "share": 1.0})
    assert metrics == {"mae": None, "day": "2015-06-01", "n": 3, "share": 1.0}
    with pytest.raises(msgspec.ValidationError):
        to_json_object([1, 2])


def test_a_draft_that_contradicts_itself_is_refused() -> None:
    draft = some_draft()
    with pytest.raises(ValueError, match="a refresh names its parent"):
        msgspec.structs.replace(draft, kind="refresh")
    with pytest.raises(ValueError, match="a refresh names its parent"):
        msgspec.structs.replace(draft, parent="2015-06-16-000000000000")
    with pytest.raises(ValueError, match="must end before"):
        msgspec.structs.replace(draft, date=draft.window.last_day)


def test_a_signed_manifest_of_this_format_loads(bundle_folder: Path) -> None:
    """The control of the refusals above: the same way of editing, with nothing wrong, is accepted."""
    fields = json.loads((bundle_folder / MANIFEST_FILE).read_bytes())
    sign(bundle_folder, fields | {"git_revision": "0123abc"})
    assert Bundle.load(bundle_folder).manifest.git_revision == "0123abc"
    assert isinstance(Bundle.load(bundle_folder).manifest, Manifest)
