"""Checks of bundles in a separate process: limits on time and memory, cancellation, and the end of the parent."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from onnx import helper, load_model_from_string, numpy_helper

from preptime.bundle import isolated_check
from preptime.bundle.bundle import Bundle, fetch_verified
from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.isolated_check import (
    Cancellation,
    CheckCancelledError,
    check_bundle,
    check_folder,
    load_checked,
    load_stored,
    load_written,
    manifest_sha256,
)
from preptime.bundle.manifest import Manifest
from preptime.bundle.store import CheckLimits, Store
from preptime.errors import BundleVerificationError, OperationError, StoreError, UsageError
from tests.bundle.factories import (
    DAY,
    damage_remote_bundle,
    put_bundle,
    put_endless_bundle,
    remote_store,
    replace_files,
    some_model,
    write_manifest,
)
from tests.requirements import requires

WAIT_SECONDS = 120
"""A limit that only prevents tests from hanging."""


def huge_constant_model() -> bytes:
    """Return the graph of `some_model` with a constant of 100 GB, which exists only when the graph runs."""
    model = load_model_from_string(some_model())
    value = numpy_helper.from_array(np.array([0.0], np.float32))
    fill = helper.make_node("ConstantOfShape", ["size"], ["zeros"], value=value)
    total = helper.make_node("ReduceMax", ["zeros"], ["zero"], keepdims=0)
    add = helper.make_node("Add", ["features", "zero"], ["shifted"])
    model.graph.node[0].input[0] = "shifted"
    for node in (add, total, fill):
        model.graph.node.insert(0, node)
    # An input of the graph, so that ONNX Runtime doesn't compute the constant while it loads.
    shape = helper.make_node("Shape", ["features"], ["shape"])
    multiply = helper.make_node("Mul", ["rows", "gigabyte"], ["size"])
    rows = helper.make_node("Slice", ["shape", "start", "end"], ["rows"])
    for node in (multiply, rows, shape):
        model.graph.node.insert(0, node)
    for name, number in (("start", 0), ("end", 1), ("gigabyte", 2**30)):
        model.graph.initializer.append(numpy_helper.from_array(np.array([number]), name))
    content: bytes = model.SerializeToString()
    return content


def check_processes(parent: int) -> list[int]:
    """Return the processes of checks that `parent` has started."""
    listing = subprocess.run(
        ["ps", "-axww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(maxsplit=2) for line in listing.splitlines()]
    return [int(row[0]) for row in rows if int(row[1]) == parent and "isolated_check" in row[-1]]


def wait_for_check(parent: int) -> int:
    """Wait until a check runs, and return its process."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        for process_id in check_processes(parent):
            return process_id
        time.sleep(0.01)
    raise AssertionError("no check was started")


def is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


def test_check_bundle_returns_manifest_of_intact_bundle(store: Store) -> None:
    bundle_id = put_bundle(store)
    manifest = check_bundle(store, bundle_id)
    assert manifest == fetch_verified(store, bundle_id).manifest
    assert check_folder(store.fetch(bundle_id)) == manifest_sha256(manifest)
    assert os.name != "posix" or check_processes(os.getpid()) == []


def test_check_bundle_reports_the_damage_of_the_load(bundle_folder: Path, folder_store: Store) -> None:
    (bundle_folder / "model.onnx").write_bytes(b"")
    with pytest.raises(BundleVerificationError) as expected:
        Bundle.load(bundle_folder)
    with pytest.raises(BundleVerificationError) as actual:
        check_bundle(folder_store, bundle_folder.name)
    assert (actual.value.facts, actual.value.hint) == (expected.value.facts, expected.value.hint)


def test_check_bundle_of_unknown_bundle_is_usage_error(folder_store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no bundle"):
        check_bundle(folder_store, "2015-06-17-000000000000")
    with pytest.raises(UsageError, match="is not a bundle"):
        check_folder(tmp_path)


def test_check_bundle_that_cannot_be_read_is_store_error(bundle_folder: Path, folder_store: Store) -> None:
    requires(sys.platform == "linux", "only Linux has a file that no user can read from its start")
    (bundle_folder / "golden.json").unlink()
    (bundle_folder / "golden.json").symlink_to("/proc/self/mem")
    fields = json.loads((bundle_folder / "manifest.json").read_bytes())
    fields["files"]["golden.json"] = {"size_bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    write_manifest(bundle_folder, fields)
    with pytest.raises(StoreError, match="Input/output error"):
        check_bundle(folder_store, bundle_folder.name)


def test_load_of_endless_graph_ends_at_the_limit(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path), check_limits=CheckLimits(timeout_seconds=3))
    bundle_id = put_endless_bundle(store)
    with pytest.raises(BundleVerificationError) as error:
        load_checked(store, bundle_id)
    assert error.value.facts == (
        f"{bundle_id}: expected a bundle that loads and predicts its golden orders within 3 s, found no result."
    )
    assert "PREPTIME_BUNDLE_LOAD_TIMEOUT_SECONDS" in error.value.hint
    assert os.name != "posix" or check_processes(os.getpid()) == []


def test_bundle_is_checked_once_in_a_process(folder_store: Store) -> None:
    """A second check would fail, because no process ends within 0 s."""
    store = Store.open(folder_store.url, check_limits=CheckLimits(timeout_seconds=0))
    refused = pytest.raises(BundleVerificationError, match="within 0 s")
    trained, changed = put_bundle(store, shift=31.0), put_bundle(store, shift=32.0)
    with refused:
        load_checked(store, trained)
    expected = load_checked(folder_store, trained)
    assert load_checked(store, trained).manifest == expected.manifest
    assert load_written(store, changed).manifest == load_checked(store, changed).manifest
    replace_files(store.fetch(changed), {"model.onnx": some_model(33.0)})
    with refused:  # another manifest
        load_checked(store, changed)
    (store.fetch(trained) / "model.onnx").write_bytes(b"")
    with pytest.raises(BundleVerificationError, match=r"model\.onnx: expected"):
        load_checked(store, trained)


@pytest.mark.parametrize("content", [b"damaged", None], ids=["changed", "gone"])
def test_check_bundle_reads_the_store_despite_a_cached_copy(tmp_path: Path, content: bytes | None) -> None:
    store = remote_store(tmp_path)
    bundle_id = put_bundle(store)
    check_bundle(store, bundle_id)
    damage_remote_bundle(store, bundle_id, content)
    assert load_checked(store, bundle_id).manifest.id == bundle_id, "serving goes on with the cached copy"
    for read in (check_bundle, load_stored):
        with pytest.raises(BundleVerificationError, match=r"golden\.json: expected"):
            read(store, bundle_id)


def test_load_checked_replaces_a_damaged_cached_copy(tmp_path: Path) -> None:
    store = remote_store(tmp_path)
    bundle_id = put_bundle(store, shift=34.0)
    for _ in range(2):  # before and after the check of this process
        (store.fetch(bundle_id) / "golden.json").write_bytes(b"damaged")
        assert load_checked(store, bundle_id).manifest.id == bundle_id


def test_refused_remote_bundle_is_checked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote, folders = remote_store(tmp_path), list[Path]()

    def refuse(folder: Path, limits: CheckLimits) -> str:
        folders.append(folder)
        raise BundleVerificationError("refused", "")

    monkeypatch.setattr(isolated_check, "check_folder", refuse)
    with pytest.raises(BundleVerificationError, match="refused"):
        load_checked(remote, put_bundle(remote, shift=35.0))
    assert len(folders) == 1


def test_override_and_rollback_use_the_check(folder_store: Store) -> None:
    checked = list[str]()
    log = ChampionLog(folder_store)
    first, second = put_bundle(folder_store), put_bundle(folder_store, shift=1)

    def record_and_check(store: Store, bundle_id: str) -> Manifest:
        checked.append(bundle_id)
        return check_bundle(store, bundle_id)

    recording = ChampionLog(folder_store, check=record_and_check)
    for bundle_id in (first, second):
        recording.override(bundle_id, reason="test", by="test", at="now")
    recording.rollback(reason="test", by="test", at="now")
    assert checked == [first, second, first]
    current = log.current()
    assert current is not None
    assert current.bundle == first


def test_check_of_graph_without_memory_names_the_setting(bundle_folder: Path) -> None:
    requires(sys.platform == "linux", "memory is limited only on Linux")
    replace_files(bundle_folder, {"model.onnx": huge_constant_model()})
    with pytest.raises(BundleVerificationError) as error:
        check_folder(bundle_folder, CheckLimits(memory_mb=400))
    assert "model.onnx" in error.value.facts
    assert "The limit is 400 MB." in error.value.hint
    assert "PREPTIME_BUNDLE_LOAD_MEMORY_MB" in error.value.hint


def test_check_without_memory_for_libraries_names_the_setting(bundle_folder: Path) -> None:
    requires(sys.platform == "linux", "memory is limited only on Linux")
    with pytest.raises(BundleVerificationError, match="PREPTIME_BUNDLE_LOAD_MEMORY_MB"):
        check_folder(bundle_folder, CheckLimits(memory_mb=8))


def test_check_of_process_that_dies_reports_its_signal(tmp_path: Path) -> None:
    requires(os.name == "posix", "Windows has no signals")
    store = Store.open(str(tmp_path), check_limits=CheckLimits(timeout_seconds=WAIT_SECONDS))
    bundle_id = put_endless_bundle(store)
    killer = threading.Thread(target=lambda: os.kill(wait_for_check(os.getpid()), signal.SIGSEGV))
    killer.start()
    with pytest.raises(BundleVerificationError, match="a process that ended with SIGSEGV"):
        check_bundle(store, bundle_id)
    killer.join()


def test_check_process_that_cannot_start_is_no_damage(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", str(bundle_folder))  # no standard library there
    with pytest.raises(OperationError, match=r"can't be checked: the process ended with status"):
        check_folder(bundle_folder)


def test_cancel_ends_the_check_and_later_ones(folder_store: Store) -> None:
    requires(os.name == "posix", "Windows has no ps")
    folder = folder_store.fetch(put_endless_bundle(folder_store))
    cancellation = Cancellation()

    def cancel() -> None:
        wait_for_check(os.getpid())
        cancellation.cancel()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    for _ in range(2):
        with pytest.raises(CheckCancelledError):
            check_folder(folder, CheckLimits(timeout_seconds=WAIT_SECONDS), cancellation)
    canceller.join()
    assert os.name != "posix" or check_processes(os.getpid()) == []


def test_check_is_the_first_process_to_end_without_memory(folder_store: Store) -> None:
    requires(sys.platform == "linux", "only Linux has /proc")
    folder, cancellation = folder_store.fetch(put_endless_bundle(folder_store)), Cancellation()
    scores = list[str]()

    def read_score_and_cancel() -> None:
        path = Path(f"/proc/{wait_for_check(os.getpid())}/oom_score_adj")
        deadline = time.monotonic() + WAIT_SECONDS
        while (score := path.read_text(encoding="ascii").strip()) != "1000" and time.monotonic() < deadline:
            time.sleep(0.01)
        scores.append(score)
        cancellation.cancel()

    reader = threading.Thread(target=read_score_and_cancel)
    reader.start()
    with pytest.raises(CheckCancelledError):
        check_folder(folder, CheckLimits(timeout_seconds=WAIT_SECONDS), cancellation)
    reader.join()
    assert scores == ["1000"]


def test_check_ends_when_its_parent_is_killed(folder_store: Store) -> None:
    requires(os.name == "posix", "this system has no SIGKILL")
    folder = folder_store.fetch(put_endless_bundle(folder_store, DAY))
    code = (
        f"from pathlib import Path\nfrom preptime.bundle.isolated_check import *\ncheck_folder(Path({str(folder)!r}))"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as parent:
        check = wait_for_check(parent.pid)
        parent.kill()
    deadline = time.monotonic() + WAIT_SECONDS
    while is_running(check):
        assert time.monotonic() < deadline, "the check is still running"
        time.sleep(0.01)


def test_check_ignores_modules_in_the_working_directory(
    bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('wrong module')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert len(check_folder(bundle_folder)) == 64
