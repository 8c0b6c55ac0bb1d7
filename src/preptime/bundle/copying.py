"""Copies of a store: for a backup, to restore one, and to move bundles to another environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from preptime.bundle.bundle import read_fetched, read_verified_file
from preptime.bundle.manifest import MANIFEST_FILE, encode_manifest
from preptime.bundle.store import Store
from preptime.errors import BundleVerificationError, StoreError, UsageError
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
    after an interruption. A promotion during the copy is part of the next one. An entry that was missing in the source
    at an earlier copy is copied too.

    Raises:
        UsageError: The source doesn't exist: it has no bundles and no champion log.
        BundleVerificationError: A bundle of the source is damaged. Nothing of it is copied.
        StoreError: The target has another champion log, or a store can't be used.
    """
    log_files = source.log_file_names()
    source_bundles = source.bundle_ids()
    if not source_bundles and not log_files:
        raise UsageError(
            f"There is no store at {source.url}: it has no bundles and no champion log.",
            "Correct its address (--store).",
        )
    new_log_files = _missing_log_files(source, target, log_files)
    bundles = [bundle for bundle in source_bundles if not target.has_bundle(bundle)]
    for number, bundle in enumerate(bundles, 1):
        target.write_bundle_files(bundle, _read_bundle(source, bundle))
        progress("Copying bundles", number / len(bundles))
    for name in new_log_files:
        if not target.create_log(name, source.read_log(name)):
            raise _different_log(target, name)
    return CopyResult(tuple(bundles), tuple(new_log_files))


def _missing_log_files(source: Store, target: Store, log_files: list[str]) -> list[str]:
    """Return the log files to copy. Raises `StoreError` if the target has other entries, or later ones."""
    existing, last = target.log_file_names(), max(log_files, default="")
    for name in existing:
        # An earlier entry that the source lost is still in its copy.
        is_copied = source.read_log(name) == target.read_log(name) if name in log_files else name < last
        if not is_copied:
            raise _different_log(target, name)
    return [name for name in log_files if name not in existing]


def _different_log(target: Store, name: str) -> StoreError:
    return StoreError(
        f"{target.url} has another champion log: {name} isn't the one of the source.",
        "Copy to an empty store, or to an earlier copy of the same store.",
    )


def _read_bundle(source: Store, bundle: str) -> dict[str, bytes]:
    """Return the files of a bundle with its manifest. Raises `BundleVerificationError` if one is damaged."""
    manifest = source.read_manifest(bundle)

    def read(folder: Path) -> dict[str, bytes]:
        try:
            files = {name: read_verified_file(folder, name, expected) for name, expected in manifest.files.items()}
        except BundleVerificationError as error:
            raise BundleVerificationError(f"{bundle}/{error.facts}", error.hint) from error
        return files | {MANIFEST_FILE: encode_manifest(manifest)}

    return read_fetched(source, bundle, read)
