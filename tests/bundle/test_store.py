"""Reading and writing bundles in a store, in a folder and at an fsspec URL."""

from __future__ import annotations

import datetime as dt
import errno
import os
import secrets
import shutil
from pathlib import Path
from typing import Literal

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from preptime.bundle.backends import local
from preptime.bundle.backends.objects import FsspecBackend, open_fsspec_backend
from preptime.bundle.bundle import Bundle, fetch_verified
from preptime.bundle.manifest import MANIFEST_FILE
from preptime.bundle.store import MAX_CACHED_BUNDLES, Store
from preptime.errors import BundleVerificationError, StoreError, UsageError
from tests.bundle.factories import DAY, put_bundle, remote_store, some_files

FAR_FUTURE = 1e12


def test_empty_store_reads_create_nothing(tmp_path: Path, store: Store) -> None:
    assert store.bundle_ids() == []
    assert store.log_file_names() == []
    assert not store.has_bundle("2015-06-17-000000000000")
    assert not (tmp_path / "models").exists()


def test_full_disk_is_named_as_the_cause(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for backend in (local.LocalBackend, FsspecBackend):
        monkeypatch.setattr(backend, "write_folder", write)
    with pytest.raises(StoreError, match="No space left on device") as error:
        put_bundle(store)
    assert error.value.hint == "Free up disk space, or use a store on another disk."


def test_bundle_ids_are_sorted_by_date(store: Store) -> None:
    later = put_bundle(store, DAY + dt.timedelta(days=20))
    earlier = put_bundle(store)
    assert store.bundle_ids() == [earlier, later]
    assert store.has_bundle(earlier)
    assert store.read_manifest(later).date == DAY + dt.timedelta(days=20)
    assert Bundle.load(store.fetch(later)).manifest.id == later


def test_fetch_twice_returns_same_folder(store: Store) -> None:
    bundle_id = put_bundle(store)
    assert store.fetch(bundle_id) == store.fetch(bundle_id)


def test_delete_removes_bundle_until_written_again(store: Store) -> None:
    bundle_id = put_bundle(store)
    store.delete(bundle_id)
    assert store.bundle_ids() == []
    assert store.remove_abandoned(FAR_FUTURE) == []
    put_bundle(store)
    assert store.bundle_ids() == [bundle_id]


@pytest.mark.parametrize("bundle_id", ["2015-06-17-000000000000", "../elsewhere", "", "champion"])
def test_store_with_unknown_bundle_raises_with_its_id(store: Store, bundle_id: str) -> None:
    for method in (store.fetch, store.read_manifest, store.delete):
        with pytest.raises(UsageError, match=f"has no bundle '{bundle_id}'"):
            method(bundle_id)


def test_store_ignores_other_files(folder_store: Store, tmp_path: Path) -> None:
    bundle_id = put_bundle(folder_store)
    bundles = tmp_path / "models" / "bundles"
    (bundles / "README.txt").write_text("mine", encoding="utf-8")
    (bundles / "2015-06-18-000000000000").write_text("a file", encoding="utf-8")
    (bundles / "notes").mkdir()
    assert folder_store.bundle_ids() == [bundle_id]
    assert folder_store.remove_abandoned(FAR_FUTURE) == []
    assert {path.name for path in bundles.iterdir()} == {
        bundle_id,
        "README.txt",
        "2015-06-18-000000000000",
        "notes",
    }


@pytest.mark.parametrize("name", ["golden.json", "history/rows.npy"])
def test_missing_file_is_damage(store: Store, name: str) -> None:
    manifest, files = some_files()
    store.write_bundle_files(
        manifest.id, {other: file_content for other, file_content in files.items() if other != name}
    )
    refused = pytest.raises(BundleVerificationError, match=f"{manifest.id}/{name}: expected a file, found no file")
    with refused:
        store.read_file(manifest, name)
    with refused:
        fetch_verified(store, manifest.id)
    store.delete(manifest.id)
    with pytest.raises(UsageError, match=f"has no bundle '{manifest.id}'"):
        store.read_file(manifest, name)


def test_bundle_deleted_before_its_manifest_is_read_is_unknown(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle_id = put_bundle(store)
    has_bundle, is_deleted = store.has_bundle, list[bool]()

    def delete_after_first_look(bundle_id: str) -> bool:
        found = has_bundle(bundle_id)
        if found and not is_deleted:
            is_deleted.append(True)
            store.delete(bundle_id)
        return found

    monkeypatch.setattr(store, "has_bundle", delete_after_first_look)
    with pytest.raises(UsageError, match=f"has no bundle '{bundle_id}'"):
        store.read_manifest(bundle_id)


def test_write_replaces_folder_without_manifest(folder_store: Store, bundle_folder: Path) -> None:
    """An interrupted copy of a store leaves one."""
    (bundle_folder / MANIFEST_FILE).unlink()
    (bundle_folder / "golden.json").write_bytes(b"half")
    assert folder_store.bundle_ids() == []
    assert put_bundle(folder_store) == bundle_folder.name
    assert fetch_verified(folder_store, bundle_folder.name).manifest.id == bundle_folder.name
    assert [path.name for path in bundle_folder.parent.iterdir()] == [bundle_folder.name]


def test_write_to_deleted_temporary_folder_publishes_nothing(
    folder_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, files = some_files()
    write = local._write

    def write_and_delete_first(path: Path, content: bytes) -> None:
        write(path, content)
        if path.name == next(iter(files)):
            shutil.rmtree(path.parent)

    monkeypatch.setattr(local, "_write", write_and_delete_first)
    with pytest.raises(StoreError, match="No such file"):
        folder_store.write_bundle_files(manifest.id, files)
    assert list((Path(folder_store.url) / "bundles").iterdir()) == []


def test_open_file_url_is_a_folder(tmp_path: Path) -> None:
    bundle_id = put_bundle(Store.open((tmp_path / "a store").as_uri()))
    assert Store.open(str(tmp_path / "a store")).bundle_ids() == [bundle_id]


@pytest.mark.parametrize("scheme", ["file", "local"])
@pytest.mark.parametrize("rest", ["models", "models/daily", ""])
def test_open_file_url_with_two_slashes_raises(
    scheme: str, rest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a URL must not mean the current folder."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError) as error:
        Store.open(f"{scheme}://{rest}")
    assert error.value.facts == f"{scheme}://{rest} names no absolute folder."
    assert error.value.hint == f"Use the path {Path(rest)}, or {(tmp_path / rest).as_uri()}."


def test_open_file_url_of_this_machine_is_a_folder(tmp_path: Path) -> None:
    bundle_id = put_bundle(Store.open(str(tmp_path / "models")))
    url = (tmp_path / "models").as_uri().replace("file://", "file://localhost")
    assert Store.open(url).bundle_ids() == [bundle_id]


@pytest.mark.parametrize("url", ["nowhere://x", "dir://x", "x://models", "zip://x"])
def test_open_unusable_url_raises(url: str) -> None:
    with pytest.raises(StoreError, match=f"^{url}") as error:
        Store.open(url)
    assert error.value.hint == "Use a folder or a gs:// URL."


def test_open_driver_error_of_any_class_is_a_store_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(url: str) -> None:
        raise RuntimeError(f"no region for {url}")

    monkeypatch.setattr("fsspec.core.url_to_fs", fail)
    with pytest.raises(StoreError, match="no region for"):
        Store.open("s3://bucket")


def test_unusable_folder_raises_store_error(tmp_path: Path) -> None:
    (tmp_path / "models").write_bytes(b"a file, not a folder")
    store = Store.open(str(tmp_path / "models"))
    with pytest.raises(StoreError, match="models"):
        put_bundle(store)
    with pytest.raises(StoreError, match="models"):
        store.bundle_ids()


def test_fetch_with_damaged_download_raises_and_caches_nothing(tmp_path: Path) -> None:
    root = secrets.token_hex(4)
    store = Store.open(f"memory://{root}", cache=tmp_path / "cache")
    bundle_id = put_bundle(store)
    path = f"/{root}/bundles/{bundle_id}/model.onnx"
    fs = MemoryFileSystem()
    whole = fs.cat_file(path)
    fs.pipe_file(path, whole[:-1])
    with pytest.raises(BundleVerificationError, match=r"model\.onnx: expected SHA-256"):
        store.fetch(bundle_id)
    fs.pipe_file(path, whole)
    assert fetch_verified(store, bundle_id).manifest.id == bundle_id


def test_fetch_verified_replaces_damaged_cached_copy(tmp_path: Path) -> None:
    store = remote_store(tmp_path)
    bundle_id = put_bundle(store)
    damaged = [
        ("model.onnx", b"damaged"),
        ("history/rows.npy", None),
        (MANIFEST_FILE, b"{}"),
        (MANIFEST_FILE, None),
        (".DS_Store", b""),
    ]
    for name, content in damaged:
        path = store.fetch(bundle_id) / name
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        assert fetch_verified(store, bundle_id).manifest.id == bundle_id


def test_update_cached_copy_changes_only_other_copies(tmp_path: Path, folder_store: Store) -> None:
    store = remote_store(tmp_path)
    bundle_id = put_bundle(store)
    assert store.update_cached_copy(bundle_id)
    assert not store.update_cached_copy(bundle_id)
    (store.fetch(bundle_id) / "model.onnx").write_bytes(b"damaged")
    assert store.update_cached_copy(bundle_id)
    assert not folder_store.update_cached_copy(put_bundle(folder_store))


def test_unusable_cache_is_reported_with_its_folder(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file, not a folder")
    store = remote_store(tmp_path)
    with pytest.raises(StoreError) as error:
        store.fetch(put_bundle(store))
    assert error.value.facts.startswith(f"{tmp_path / 'cache'}: ")
    assert "XDG_CACHE_HOME" in error.value.hint


def test_fetch_keeps_only_latest_cached_copies(tmp_path: Path) -> None:
    """The latest copies stay, independent of their dates, so a rollback to them downloads nothing."""
    store = remote_store(tmp_path)
    fetched = [put_bundle(store, DAY - dt.timedelta(days=back)) for back in range(MAX_CACHED_BUNDLES + 2)]
    for moment, bundle_id in enumerate(fetched):
        os.utime(store.fetch(bundle_id), (moment, moment))
    kept = {path.name for path in (tmp_path / "cache" / "bundles").iterdir()}
    assert kept == set(fetched[-MAX_CACHED_BUNDLES:])


def test_fetch_keeps_a_copy_that_is_used_again(tmp_path: Path) -> None:
    store = remote_store(tmp_path)
    bundles = [put_bundle(store, DAY - dt.timedelta(days=back)) for back in range(MAX_CACHED_BUNDLES + 1)]
    for moment, bundle_id in enumerate(bundles[:-1]):
        os.utime(store.fetch(bundle_id), (moment, moment))
    store.fetch(bundles[0])
    store.fetch(bundles[-1])
    kept = {path.name for path in (tmp_path / "cache" / "bundles").iterdir()}
    assert kept == {bundles[0], *bundles[2:]}


def test_loaded_bundle_reads_files_whose_copy_was_deleted(tmp_path: Path) -> None:
    store = remote_store(tmp_path)
    bundles = [put_bundle(store, DAY - dt.timedelta(days=back)) for back in range(MAX_CACHED_BUNDLES + 2)]
    first = fetch_verified(store, bundles[0])
    files = first.model_files()
    for bundle_id in bundles[1:]:
        store.fetch(bundle_id)
    assert not first.folder.exists()
    assert first.model_files() == files


def test_fetch_caches_in_xdg_cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "named"))
    store = Store.open(f"memory://{secrets.token_hex(4)}")
    assert store.fetch(put_bundle(store)).is_relative_to(tmp_path / "named" / "preptime")


def test_fetch_without_home_folder_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container can run as a user id without a home folder."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    store = Store.open(f"memory://{secrets.token_hex(4)}")
    bundle_id = put_bundle(store)
    with pytest.raises(StoreError, match="No cache folder for bundles"):
        store.fetch(bundle_id)


class FailingStorage(MemoryFileSystem):
    """Storage whose network fails after some uploads."""

    cachable = False
    uploads_left = 0

    def pipe_file(self, path: str, value: bytes, mode: Literal["overwrite", "create"] = "overwrite") -> None:
        if self.uploads_left == 0:
            raise OSError("the network is down")
        self.uploads_left -= 1
        super().pipe_file(path, value, mode)


def test_interrupted_upload_is_invisible_until_repeated() -> None:
    manifest, files = some_files()
    for upload_count in range(len(files)):
        root = f"/{secrets.token_hex(4)}"
        fs = FailingStorage()
        fs.uploads_left = upload_count
        store = Store(root, FsspecBackend(fs, root))
        with pytest.raises(StoreError, match="the network is down"):
            store.write_bundle_files(manifest.id, files)
        assert store.bundle_ids() == []
        assert store.remove_abandoned(0.0) == []
        if upload_count % 2:
            assert store.remove_abandoned(FAR_FUTURE) == [manifest.id]
        fs.uploads_left = len(files)
        store.write_bundle_files(manifest.id, files)
        assert store.bundle_ids() == [manifest.id]
        assert store.remove_abandoned(FAR_FUTURE) == []


def test_fsspec_backend_create_exclusive_raises() -> None:
    url = f"memory://{secrets.token_hex(4)}"
    fs = MemoryFileSystem()
    backend = FsspecBackend(fs, url.removeprefix("memory:/"))
    with pytest.raises(StoreError, match=r"memory storage cannot create a file \(2 bytes\) exclusively"):
        backend.create_exclusive("champion/000001.json", b"{}")
    assert open_fsspec_backend(url).create_exclusive("champion/000001.json", b"{}")


def test_fsspec_backend_writes_manifest_last() -> None:
    manifest, files = some_files()
    written_names: list[str] = []

    class Recording(MemoryFileSystem):
        cachable = False

        def pipe_file(self, path: str, value: bytes, mode: Literal["overwrite", "create"] = "overwrite") -> None:
            written_names.append(path.rsplit("/", 1)[-1])
            super().pipe_file(path, value, mode)

    FsspecBackend(Recording(), f"/{secrets.token_hex(4)}").write_folder(f"bundles/{manifest.id}", files)
    assert written_names[-1] == MANIFEST_FILE
    assert len(written_names) == len(files)
