"""Options of `serve` containers, and an API server in the process of the tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from werkzeug.serving import make_server

from tests.api.factories import FakeSettings, make_active_model, make_service, make_wsgi_app
from tests.api.processes import free_port
from tests.deploy.http_requests import KEYS

CONTAINER_PORT = 8000
PUBLISHED = ("--publish", f"127.0.0.1::{CONTAINER_PORT}")
"""Publishes the port on an unused port of loopback."""


def serve_options(store: Path, **settings: str) -> tuple[str, ...]:
    """Return the options of a `serve` container with a store, published on an unused port of loopback."""
    return (*PUBLISHED, *store_options(store, **settings))


def host_network_options(store: Path, port: int, **settings: str) -> tuple[str, ...]:
    """Return the options of a `serve` container in the host's network.

    Docker's proxy would accept connections that the server doesn't.
    """
    listen = {"PREPTIME_HOST": "127.0.0.1", "PREPTIME_PORT": str(port), "PREPTIME_HEALTH_PORT": str(free_port())}
    return ("--network=host", *store_options(store, **listen, **settings))


def store_options(store: Path, **settings: str) -> tuple[str, ...]:
    """Return the options for a read-only store and settings."""
    all_settings = {"PREPTIME_API_KEYS": KEYS, "PREPTIME_CHAMPION_POLL_SECONDS": "0.2"} | settings
    environment = (f"--env={name}={value}" for name, value in all_settings.items() if value)
    return (f"--volume={store}:/data/models:ro", *environment)


@contextmanager
def running_api_server(folder: Path, *, has_champion: bool) -> Iterator[str]:
    """Serve the API in this process, with a health route as on Cloud Run, and yield its URL."""
    serving = make_active_model(folder) if has_champion else None
    made = make_service(serving, FakeSettings(vertex_health_route="/ready", vertex_predict_route=None))
    server = make_server("127.0.0.1", 0, make_wsgi_app(made.service, "fast_path"), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()
