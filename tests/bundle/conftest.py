"""A bucket for the tests of stores."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from gcp_storage_emulator.server import create_server

from tests.bundle.fake_gcs import BUCKET


@pytest.fixture(scope="session")
def emulator() -> Iterator[str]:
    """Return the address of an emulator with the bucket."""
    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket=BUCKET)
    server.start()
    try:
        _, port = server._api._httpd.socket.getsockname()
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()
