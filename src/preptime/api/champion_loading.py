"""Loading of a champion in a worker: a check in a separate process, and then the same bytes in the worker.

The workers of a server share the results of checks in the server's folder. One worker runs the check, and the others
wait for its result, so a server needs the time and the memory of one check.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import BinaryIO

import msgspec

from preptime.api.active_model import ActiveModel
from preptime.atomic_write import write_bytes
from preptime.bundle.bundle import fetch_verified
from preptime.bundle.champion_log import LogEntry
from preptime.bundle.isolated_check import Cancellation, check_folder
from preptime.bundle.manifest import MANIFEST_FILE
from preptime.bundle.store import DEFAULT_LIMITS, CheckLimits, Store
from preptime.errors import BundleVerificationError

FAILURE_REUSE_SECONDS = 30.0
"""How long workers use the failed check of another worker. A worker retries later than that."""

_CHECKING_LIBRARIES = ("numpy", "onnxruntime")
_LOCK_FILE = "bundle-check.lock"
_LOCK_POLL_SECONDS = 0.02


class FailedCheck(msgspec.Struct, frozen=True):
    """The error of a failed check."""

    facts: str
    hint: str


class SharedChecks:
    """Results of checks that the workers of a server share through files in a folder.

    A passed check is valid as long as the manifest has the same bytes, because the manifest has the hashes of all
    files, and every worker compares them. A failed check is valid for one log entry and `FAILURE_REUSE_SECONDS`.
    Both are valid only for the same code, libraries, and limits, because the folder can be older than the release.
    """

    def __init__(self, folder: Path | None, limits: CheckLimits = DEFAULT_LIMITS) -> None:
        """Without a `folder`, results aren't shared."""
        self._folder = folder
        self._limits = limits

    def check(self, bundle_folder: Path, champion_number: int, cancellation: Cancellation) -> str:
        """Return the hash of the manifest of a bundle that passed its check, or raise the errors of `check_folder`."""
        if self._folder is None:
            return check_folder(bundle_folder, self._limits, cancellation)
        sha256 = hashlib.sha256((bundle_folder / MANIFEST_FILE).read_bytes()).hexdigest()
        key = self._key(sha256)
        passed = self._folder / f"bundle-{key}.passed"
        failed = self._folder / f"bundle-{key}-{champion_number}.failed"
        if passed.exists():
            return sha256
        with self._exclusive(cancellation):
            if passed.exists():
                return sha256
            _raise_recent_failure(failed)
            try:
                checked_sha256 = check_folder(bundle_folder, self._limits, cancellation)
            except BundleVerificationError as error:
                _write_result(failed, msgspec.json.encode(FailedCheck(error.facts, error.hint)))
                raise
            _write_result(self._folder / f"bundle-{self._key(checked_sha256)}.passed", b"")
        return checked_sha256

    def _key(self, manifest_sha256: str) -> str:
        """Return a hash of everything that the result of a check depends on."""
        return hashlib.sha256(f"{manifest_sha256} {_code_sha256()} {self._limits}".encode()).hexdigest()

    @contextmanager
    def _exclusive(self, cancellation: Cancellation) -> Iterator[None]:
        """Wait for the lock of the folder. The system releases it when its process ends.

        On Windows, there's no lock: each worker runs the check.
        """
        if sys.platform == "win32" or self._folder is None:
            yield
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / _LOCK_FILE).open("ab") as file:
            while not _try_lock(file):
                cancellation.raise_if_cancelled()
                time.sleep(_LOCK_POLL_SECONDS)
            yield


class ChampionLoader:
    """Fetches, checks, loads, and warms up champions of a store."""

    def __init__(self, store: Store, checks: SharedChecks) -> None:
        self._store = store
        self._checks = checks

    def __call__(self, entry: LogEntry, cancellation: Cancellation) -> ActiveModel:
        """Return the bundle of a log entry as an active model.

        Raises `BundleVerificationError`, `UsageError`, `StoreError`, or `CheckCancelledError`.
        """
        try:
            sha256 = self._checks.check(self._store.fetch(entry.bundle), entry.number, cancellation)
        except BundleVerificationError:
            self._store.drop_cached_copy(entry.bundle)  # maybe only the cached copy is damaged
            raise
        bundle = fetch_verified(self._store, entry.bundle, checked_sha256=sha256)
        bundle.warm_up()
        return ActiveModel.from_bundle(bundle, entry, dt.datetime.now(dt.UTC).isoformat(timespec="seconds"))


@lru_cache(maxsize=1)
def _code_sha256() -> str:
    """Return a hash of the code of preptime, which a fork can change without a new version, and of its libraries."""
    digest = hashlib.sha256()
    for library in _CHECKING_LIBRARIES:
        with suppress(PackageNotFoundError):  # another distribution can provide it, for example onnxruntime-gpu
            digest.update(f"{library} {version(library)} ".encode())
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _try_lock(file: BinaryIO) -> bool:
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_result(path: Path, content: bytes) -> None:
    """Write a result, and delete the results of the same kind that no worker waits for any more."""
    for other in path.parent.glob(f"bundle-*{path.suffix}"):
        with suppress(OSError):  # another worker deleted it
            if time.time() - other.stat().st_mtime > FAILURE_REUSE_SECONDS:
                other.unlink()
    write_bytes(path, content)


def _raise_recent_failure(path: Path) -> None:
    try:
        age_seconds = time.time() - path.stat().st_mtime
        failure = msgspec.json.decode(path.read_bytes(), type=FailedCheck)
    except FileNotFoundError:
        return
    if 0 <= age_seconds < FAILURE_REUSE_SECONDS:
        raise BundleVerificationError(failure.facts, failure.hint)
