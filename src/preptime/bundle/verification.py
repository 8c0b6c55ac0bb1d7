"""A folder is looked at before anything is built from it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from preptime.bundle.layout import check_arrays
from preptime.bundle.manifest import (
    GOLDEN_FILE,
    HISTORY_FOLDER,
    MANIFEST_FILE,
    MODEL_FILE,
    FileInfo,
    Manifest,
    decode_manifest,
    refused_bundle_error,
)
from preptime.errors import UsageError


def verify_folder(folder: Path, *, hashes: bool) -> Manifest:
    """The manifest of a folder that holds exactly the files it names, each of its size and, with `hashes`, its hash.

    The arrays it names are those of this format, with a file each.

    Raises `BundleVerificationError`, or `UsageError` when there is no bundle at all.
    """
    try:
        manifest = decode_manifest((folder / MANIFEST_FILE).read_bytes())
    except FileNotFoundError:
        raise UsageError(
            f"{folder} is not a bundle: it has no {MANIFEST_FILE}.", "Give the folder of one bundle."
        ) from None
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()} - {MANIFEST_FILE}
    for name in sorted(present ^ manifest.files.keys()):
        is_present = name in present
        raise refused_bundle_error(name, "no such file" if is_present else "a file", "one" if is_present else "none")
    for name, expected in manifest.files.items():
        _check_file(folder, name, expected, hashes=hashes)
    check_arrays(manifest.arrays, manifest.vocabularies)
    required = {MODEL_FILE, GOLDEN_FILE} | {f"{HISTORY_FOLDER}/{name}.npy" for name in manifest.arrays}
    for name in sorted(required - manifest.files.keys()):
        raise refused_bundle_error(name, "a file", "none")
    return manifest


def open_arrays(folder: Path, manifest: Manifest) -> dict[str, NDArray[np.generic]]:
    """The history's arrays, mapped from their files; each of the type and shape that the manifest names."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, expected in manifest.arrays.items():
        file = f"{HISTORY_FOLDER}/{name}.npy"
        try:
            # A mapping of nothing is an error on every system: an empty array is read.
            empty = 0 in expected.shape
            array: NDArray[np.generic] = np.load(folder / file, mmap_mode=None if empty else "r", allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise refused_bundle_error(file, "an array", f"none ({error})") from error
        if (array.dtype.str, array.shape) != (expected.dtype, expected.shape):
            raise refused_bundle_error(
                file, f"{expected.dtype}{list(expected.shape)}", f"{array.dtype.str}{list(array.shape)}"
            )
        arrays[name] = array
    return arrays


def _check_file(folder: Path, name: str, expected: FileInfo, *, hashes: bool) -> None:
    path = folder / name
    size = path.stat().st_size
    if size != expected.size_bytes:
        raise refused_bundle_error(name, f"{expected.size_bytes} bytes", str(size))
    if hashes:
        actual = _sha256(path)
        if actual != expected.sha256:
            raise refused_bundle_error(name, f"SHA-256 {expected.sha256}", actual)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
