"""`preptime ui`: the web page."""

from __future__ import annotations

import os
from pathlib import Path

import click

from preptime.settings import ENV_FILE, Settings, read_env_file


@click.command()
@click.option("--store", help="Folder or URL that holds the bundles (PREPTIME_STORE).")
@click.option("--host", help="Address to listen on (PREPTIME_UI_HOST).")
@click.option("--port", help="Port of the page (PREPTIME_UI_PORT).")
@click.option("--api-url", help="The API that the page asks (PREPTIME_API_URL).")
@click.option(
    "--env-file",
    type=click.Path(exists=True, path_type=Path, dir_okay=False),
    help="File of settings (default: .env, where there is one); the environment wins over it, these options over both.",
)
def ui(store: str | None, host: str | None, port: str | None, api_url: str | None, env_file: Path | None) -> None:
    """Show the web page until SIGTERM or Ctrl-C.

    Every setting is in docs/settings.md. This verb has no --json: it prints the page's address and serves.
    """
    from preptime.ui.server import serve

    option_values = {
        "PREPTIME_STORE": store,
        "PREPTIME_UI_HOST": host,
        "PREPTIME_UI_PORT": port,
        "PREPTIME_API_URL": api_url,
    }
    file = env_file or Path(ENV_FILE)
    file_values = read_env_file(file) if file.is_file() else {}
    environ = {**file_values, **{name: value for name, value in os.environ.items() if value}}
    environ |= {name: value for name, value in option_values.items() if value is not None}
    serve(Settings.load(environ), environ, click.echo)
