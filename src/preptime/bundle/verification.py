"""A folder is looked at before anything is built from it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from preptime.bundle.layout import check_layout
from preptime.bundle.manifest import GOLDEN, HISTORY, MANIFEST, MODEL, File, Manifest, decode, refused
from preptime.errors import UsageError


def inspect_folder(folder: Path, *, hashes: bool) -> Manifest:
    """The manifest of a folder that holds exactly the files it names, each of its size and, with `hashes`, its hash.

    The arrays it names are those of this format, with a file each.

    Raises `RefusedBundleError`, or `UsageError` when there is no bundle at all.
    """
    try:
        manifest = decode((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise UsageError(f"{folder} is not a bundle: it has no {MANIFEST}.", "Give the folder of one bundle.") from None
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()} - {MANIFEST}
    for name in sorted(found ^ manifest.files.keys()):
        here = name in found
        raise refused(name, "no such file" if here else "a file", "one" if here else "none")
    for name, expected in manifest.files.items():
        _check_file(folder, name, expected, hashes=hashes)
    check_layout(manifest.arrays, manifest.vocabularies)
    needed = {MODEL, GOLDEN} | {f"{HISTORY}/{name}.npy" for name in manifest.arrays}
    for name in sorted(needed - manifest.files.keys()):
        raise refused(name, "a file", "none")
    return manifest


def open_arrays(folder: Path, manifest: Manifest) -> dict[str, NDArray[np.generic]]:
    """The history's arrays, mapped from their files; each of the type and shape that the manifest names."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, expected in manifest.arrays.items():
        file = f"{HISTORY}/{name}.npy"
        try:
            # A mapping of nothing is an error on every system: an empty array is read.
            empty = 0 in expected.shape
            array: NDArray[np.generic] = np.load(folder / file, mmap_mode=None if empty else "r", allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise refused(file, "an array", f"none ({error})") from error
        if (array.dtype.str, array.shape) != (expected.dtype, expected.shape):
            raise refused(file, f"{expected.dtype}{list(expected.shape)}", f"{array.dtype.str}{list(array.shape)}")
        arrays[name] = array
    return arrays


def _check_file(folder: Path, name: str, expected: File, *, hashes: bool) -> None:
    path = folder / name
    size = path.stat().st_size
    if size != expected.size_bytes:
        raise refused(name, f"{expected.size_bytes} bytes", str(size))
    if hashes:
        found = _sha256(path)
        if found != expected.sha256:
            raise refused(name, f"SHA-256 {expected.sha256}", found)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
