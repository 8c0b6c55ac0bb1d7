"""Checks of bundles in a separate process, with limits on time and memory.

The graph of a bundle can run forever, need all memory, or crash ONNX Runtime. A separate process loads the bundle and
predicts its golden orders, so that only that process is lost. It ends when its parent ends, because it waits for the
end of its standard input. On Windows, only the time is limited.

`python -m preptime.bundle.isolated_check FOLDER SECONDS MEGABYTES` is the process. It prints one line of JSON.
"""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from preptime.bundle.bundle import Bundle, fetch_verified, read_fetched
from preptime.bundle.manifest import MANIFEST_FILE, Manifest, encode_manifest, refused_bundle_error
from preptime.bundle.store import DEFAULT_LIMITS, CheckLimits, Store
from preptime.errors import BundleVerificationError, OperationError, PreptimeError, StoreError, UsageError

_ERROR_TYPES: dict[str, type[PreptimeError]] = {
    error.__name__: error for error in (BundleVerificationError, UsageError, StoreError)
}
_MEMORY_HINT = "Use another bundle, or set PREPTIME_BUNDLE_LOAD_MEMORY_MB to a larger number."
OUT_OF_MEMORY_TEXTS = ("bad_alloc", "bad allocation", "Failed to allocate memory")
"""Parts of the messages of ONNX Runtime."""
_MAX_OUTPUT_BYTES = 65_536
_EXTRA_CPU_SECONDS = 5
"""The limit on processor time is a second safeguard, so it's later than the limit on time."""
_PARENT_ENDED = 3

_checked_manifests = set[str]()
"""Hashes of the manifests of bundles that passed a check, or that this process has written. A manifest has the hashes
of all files, so these bundles need no second process when this process loads them again."""


class CheckCancelledError(Exception):
    """The check was cancelled by `Cancellation.cancel`."""


class Cancellation:
    """Cancels a check from another thread, by killing its process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self.is_cancelled = False

    def cancel(self) -> None:
        """Cancel the running check, and every later one."""
        with self._lock:
            self.is_cancelled = True
            if self._process is not None:
                self._process.kill()

    def watch(self, process: subprocess.Popen[bytes] | None) -> None:
        """Kill this process on `cancel`. None: no process runs any more."""
        with self._lock:
            self._process = process
            if process is not None and self.is_cancelled:
                process.kill()

    def raise_if_cancelled(self) -> None:
        """Raise `CheckCancelledError` after `cancel`."""
        if self.is_cancelled:
            raise CheckCancelledError


class _CheckResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """The result of the process."""

    sha256: str = ""
    """Hash of the manifest of a bundle that passed every check."""
    error: str = ""
    """Otherwise: the class of the error, with its facts and hint."""
    facts: str = ""
    hint: str = ""


def load_checked(store: Store, bundle_id: str) -> Bundle:
    """Check a bundle of a store in a separate process, then load it in this one.

    A bundle that this process has already checked or written isn't checked again. Every load verifies the hashes of
    all files. Raises the errors of `check_bundle`.
    """
    sha256 = _stored_manifest_sha256(store.fetch(bundle_id))
    if sha256 not in _checked_manifests:
        sha256 = read_fetched(store, bundle_id, partial(check_folder, limits=store.check_limits))
        _checked_manifests.add(sha256)
    return fetch_verified(store, bundle_id, checked_sha256=sha256)


def load_stored(store: Store, bundle_id: str) -> Bundle:
    """Load a bundle like `load_checked`, but read the files in the store, even if a copy of them is cached."""
    store.update_cached_copy(bundle_id)
    return load_checked(store, bundle_id)


def load_written(store: Store, bundle_id: str) -> Bundle:
    """Load a bundle that this process has written, and whose graph it has run, with every check."""
    bundle = fetch_verified(store, bundle_id)
    _checked_manifests.add(manifest_sha256(bundle.manifest))
    return bundle


def _stored_manifest_sha256(folder: Path) -> str | None:
    """Return the hash of the manifest in a folder, or None if the folder has no manifest."""
    try:
        return hashlib.sha256((folder / MANIFEST_FILE).read_bytes()).hexdigest()
    except FileNotFoundError:
        return None


def check_bundle(store: Store, bundle_id: str) -> Manifest:
    """Check a bundle of a store in a separate process, with the limits of the store, and return its manifest.

    The files in the store are read, even if a copy of them is cached.

    Raises `UsageError` for an unknown bundle, `BundleVerificationError`, `StoreError`, or `OperationError` if the
    process can't run.
    """
    store.update_cached_copy(bundle_id)
    sha256 = check_folder(store.fetch(bundle_id), store.check_limits)
    manifest = store.read_manifest(bundle_id)
    if manifest_sha256(manifest) != sha256:
        raise refused_bundle_error(f"{bundle_id}/{MANIFEST_FILE}", f"SHA-256 {sha256}", manifest_sha256(manifest))
    return manifest


def manifest_sha256(manifest: Manifest) -> str:
    """Return the hash of the content of `manifest.json`."""
    return hashlib.sha256(encode_manifest(manifest)).hexdigest()


def check_folder(folder: Path, limits: CheckLimits = DEFAULT_LIMITS, cancellation: Cancellation | None = None) -> str:
    """Check the bundle in a folder in a separate process, and return the SHA-256 of its manifest.

    Raises the errors of `check_bundle`, or `CheckCancelledError`.
    """
    run = run_isolated("preptime.bundle.isolated_check", folder, limits, cancellation)
    return _read_result(folder.name, run, limits)


@dataclass(frozen=True, slots=True)
class IsolatedRun:
    """How a separate process ended."""

    last_line: bytes
    """Of its output: the result, if there is one."""
    exit_status: int
    timed_out: bool

    @property
    def signal_name(self) -> str:
        """The name of the signal that ended the process, or an empty text."""
        return _signal_name(-self.exit_status) if self.exit_status < 0 else ""


def run_isolated(
    module: str, folder: Path, limits: CheckLimits, cancellation: Cancellation | None = None
) -> IsolatedRun:
    """Run `python -m MODULE FOLDER SECONDS MEGABYTES`, and end it after the time limit.

    The module calls `serve_isolated`. Raises `CheckCancelledError`.
    """
    cancellation = cancellation or Cancellation()
    arguments = (str(folder.absolute()), str(limits.timeout_seconds), str(limits.memory_mb))
    # -P: a file in the working directory must not replace a module.
    command = [sys.executable, "-P", "-m", module, *arguments]
    timed_out = threading.Event()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:  # noqa: S603

        def stop() -> None:
            timed_out.set()
            process.kill()

        timer = threading.Timer(limits.timeout_seconds, stop)
        timer.daemon = True
        timer.start()
        cancellation.watch(process)
        try:
            output = process.stdout.read(_MAX_OUTPUT_BYTES) if process.stdout else b""
        finally:
            process.kill()
            process.wait()
            timer.cancel()
            cancellation.watch(None)
    cancellation.raise_if_cancelled()
    return IsolatedRun(output.rstrip(b"\n").rpartition(b"\n")[2], process.returncode, timed_out.is_set())


def serve_isolated(seconds: str, memory_mb: str, check: Callable[[], msgspec.Struct]) -> None:
    """Run a check in this process, which `run_isolated` started, print its result as JSON, and end the process."""
    threading.Thread(target=_exit_when_parent_ends, daemon=True).start()
    _limit_resources(float(seconds), int(memory_mb))
    result = check()
    os.write(1, b"\n" + msgspec.json.encode(result) + b"\n")
    os._exit(0)  # The parent doesn't wait until libraries have released their memory.


def _read_result(name: str, run: IsolatedRun, limits: CheckLimits) -> str:
    try:
        result = msgspec.json.decode(run.last_line, type=_CheckResult)
    except (msgspec.DecodeError, UnicodeDecodeError):
        result = _result_without_output(name, run, limits)
    if result.error == MemoryError.__name__:
        raise refused_bundle_error(
            name, f"a bundle that loads with {limits.memory_mb} MB of memory", "one that needs more", _MEMORY_HINT
        )
    if any(text in result.facts for text in OUT_OF_MEMORY_TEXTS):
        raise BundleVerificationError(result.facts, f"The limit is {limits.memory_mb} MB. {_MEMORY_HINT}")
    if result.error:
        raise _ERROR_TYPES.get(result.error, OperationError)(result.facts, result.hint)
    return result.sha256


def _result_without_output(name: str, run: IsolatedRun, limits: CheckLimits) -> _CheckResult:
    if run.timed_out:
        error = refused_bundle_error(
            name,
            f"a bundle that loads and predicts its golden orders within {limits.timeout_seconds:g} s",
            "no result",
            "Use another bundle, or set PREPTIME_BUNDLE_LOAD_TIMEOUT_SECONDS to a larger number.",
        )
    elif run.signal_name:
        error = refused_bundle_error(
            name,
            f"a bundle that loads with {limits.memory_mb} MB of memory",
            f"a process that ended with {run.signal_name} while it loaded the bundle",
        )
    else:
        return _CheckResult(
            error=OperationError.__name__,
            facts=f"{name} can't be checked: the process ended with status {run.exit_status} "
            f"({run.last_line.decode(errors='replace')[-300:]}).",
            hint="Check that this user can start processes, and that preptime is installed completely.",
        )
    return _CheckResult(error=type(error).__name__, facts=error.facts, hint=error.hint)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _run_check(folder: Path) -> _CheckResult:
    """Check the bundle in a folder, in this process."""
    try:
        bundle = Bundle.load(folder)
        bundle.warm_up()
        return _CheckResult(sha256=manifest_sha256(bundle.manifest))
    except PreptimeError as error:
        return _CheckResult(error=type(error).__name__, facts=error.facts, hint=error.hint)
    except MemoryError:
        return _CheckResult(error=MemoryError.__name__)
    except OSError as error:
        if error.errno == errno.ENOMEM:
            return _CheckResult(error=MemoryError.__name__)
        return _CheckResult(
            error=StoreError.__name__, facts=f"{folder}: {error}.", hint="Check that this account can read the store."
        )


def _limit_resources(seconds: float, memory_mb: int) -> None:
    if sys.platform == "win32":
        return
    import resource

    limits = [(resource.RLIMIT_CPU, int(seconds) + _EXTRA_CPU_SECONDS), (resource.RLIMIT_CORE, 0)]
    if sys.platform == "linux":  # macOS doesn't count mapped memory
        limits.append((resource.RLIMIT_DATA, memory_mb * 2**20))
    for limit, value in limits:
        _, hard = resource.getrlimit(limit)
        resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
    with suppress(OSError):  # In a container without memory, the kernel then ends this process, and not a worker.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _exit_when_parent_ends() -> None:
    while os.read(0, 1):
        pass
    os._exit(_PARENT_ENDED)


if __name__ == "__main__":
    _, checked_folder, time_limit, memory_limit = sys.argv
    serve_isolated(time_limit, memory_limit, lambda: _run_check(Path(checked_folder)))
