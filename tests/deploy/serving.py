"""Options of `serve` containers."""

from __future__ import annotations

from pathlib import Path

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
