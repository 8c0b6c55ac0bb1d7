"""Stores for tests. The same tests run with a folder and with `memory://`."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from gcp_storage_emulator.server import create_server

from preptime.bundle.store import Store
from tests.bundle.factories import put_bundle
from tests.bundle.fake_gcs import BUCKET


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Return an empty store."""
    if request.param == "folder":
        yield Store.open(str(tmp_path / "models"))
        return
    root = secrets.token_hex(4)
    yield Store.open(f"memory://{root}/models", cache=tmp_path / "cache")
    objects = MemoryFileSystem().store
    for name in [name for name in objects if name.startswith(f"/{root}/")]:
        del objects[name]


@pytest.fixture
def folder_store(tmp_path: Path) -> Store:
    """Return an empty store in a folder."""
    return Store.open(str(tmp_path / "models"))


@pytest.fixture
def bundle_folder(folder_store: Store) -> Path:
    """Return the folder of a complete bundle."""
    return folder_store.fetch(put_bundle(folder_store))


@pytest.fixture(scope="session")
def emulator() -> Iterator[str]:
    """Return the address of an emulator of Cloud Storage with the bucket."""
    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket=BUCKET)
    server.start()
    try:
        _, port = server._api._httpd.socket.getsockname()
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()
