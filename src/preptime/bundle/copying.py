"""Copies of a store: for a backup, to restore one, and to move bundles to another environment."""

from __future__ import annotations

from dataclasses import dataclass

from preptime.bundle.bundle import read_verified_file
from preptime.bundle.manifest import MANIFEST_FILE
from preptime.bundle.store import Store
from preptime.errors import BundleVerificationError, StoreError
from preptime.progress import ProgressCallback, no_progress


@dataclass(frozen=True)
class CopyResult:
    """What was copied. The rest was in the target already."""

    bundles: tuple[str, ...]
    log_files: tuple[str, ...]
    """Files of the champion log."""


def copy_store(source: Store, target: Store, *, progress: ProgressCallback = no_progress) -> CopyResult:
    """Copy the bundles and the champion log that the target doesn't have.

    The log is copied last and in its order, so that the target is always a valid earlier store. A second copy continues
    after an interruption. A promotion during the copy is part of the next one.

    Raises:
        BundleVerificationError: A bundle of the source is damaged. Nothing of it is copied.
        StoreError: The target has another champion log, or a store can't be used.
    """
    log_files = source.log_file_names()
    new_log_files = _missing_log_files(source, target, log_files)
    bundles = [bundle for bundle in source.bundle_ids() if not target.has_bundle(bundle)]
    for number, bundle in enumerate(bundles, 1):
        target.write_bundle_files(bundle, _read_bundle(source, bundle))
        progress("Copying bundles", number / len(bundles))
    for name in new_log_files:
        if not target.create_log(name, source.read_log(name)):
            raise _different_log(target, name)
    return CopyResult(tuple(bundles), tuple(new_log_files))


def _missing_log_files(source: Store, target: Store, log_files: list[str]) -> list[str]:
    existing = target.log_file_names()
    common = len(existing)
    if existing != log_files[:common]:
        raise _different_log(target, next(name for name in existing if name not in log_files[:common]))
    for name in existing:
        if source.read_log(name) != target.read_log(name):
            raise _different_log(target, name)
    return log_files[common:]


def _different_log(target: Store, name: str) -> StoreError:
    return StoreError(
        f"{target.url} has another champion log: {name} isn't the one of the source.",
        "Copy to an empty store, or to an earlier copy of the same store.",
    )


def _read_bundle(source: Store, bundle: str) -> dict[str, bytes]:
    """Return the files of a bundle with its manifest. Raises `BundleVerificationError` if one is damaged."""
    folder, manifest = source.fetch(bundle), source.read_manifest(bundle)
    try:
        files = {name: read_verified_file(folder, name, expected) for name, expected in manifest.files.items()}
    except BundleVerificationError as error:
        raise BundleVerificationError(f"{bundle}/{error.facts}", error.hint) from error
    return files | {MANIFEST_FILE: (folder / MANIFEST_FILE).read_bytes()}
