"""`serve` in a container: its options, and a store to give it."""

from __future__ import annotations

from pathlib import Path

from tests.deploy.http_requests import KEYS

PUBLISHED = ("--publish", "127.0.0.1::8000")
INSIDE = 8000


def serving(store: Path, **settings: str) -> tuple[str, ...]:
    """Options of a `serve` container over a store, its port published on a free one of loopback."""
    return (*PUBLISHED, *over(store, **settings))


def serving_here(store: Path, port: int, **settings: str) -> tuple[str, ...]:
    """The same on the machine's own loopback: no proxy between that takes connections which nobody answers."""
    return ("--network=host", *over(store, PREPTIME_HOST="127.0.0.1", PREPTIME_PORT=str(port), **settings))


def over(store: Path, **settings: str) -> tuple[str, ...]:
    """A store, read-only, and settings."""
    given = {"PREPTIME_API_KEYS": KEYS, "PREPTIME_CHAMPION_POLL_SECONDS": "0.2"} | settings
    environment = (f"--env={name}={value}" for name, value in given.items() if value)
    return (f"--volume={store}:/data/models:ro", *environment)
