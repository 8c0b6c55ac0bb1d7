"""`preptime serve`: the online API."""

from __future__ import annotations

import os
from pathlib import Path

import click

from preptime.settings import ENV_FILE, Settings


@click.command()
@click.option("--store", help="Folder or URL that holds the bundles (PREPTIME_STORE).")
@click.option("--host", help="Address to listen on (PREPTIME_HOST).")
@click.option("--port", help="Port of the API (PREPTIME_PORT).")
@click.option("--workers", help="Worker processes (PREPTIME_WORKERS).")
@click.option(
    "--env-file",
    type=click.Path(exists=True, path_type=Path, dir_okay=False),
    help="File of settings (default: .env, where there is one); the environment wins over it, these options over both.",
)
def serve(store: str | None, host: str | None, port: str | None, workers: str | None, env_file: Path | None) -> None:
    """Answer orders over HTTP until SIGTERM or Ctrl-C.

    Every setting is in docs/settings.md. This verb has no --json: its standard output is the prediction log's.
    """
    from preptime.api.server import serve as run

    option_values = {"PREPTIME_STORE": store, "PREPTIME_HOST": host, "PREPTIME_PORT": port, "PREPTIME_WORKERS": workers}
    environ = {**os.environ, **{name: value for name, value in option_values.items() if value is not None}}
    run(Settings.load(environ, env_file or Path(ENV_FILE)))
