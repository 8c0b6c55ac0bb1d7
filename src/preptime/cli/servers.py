"""The commands that serve until they are stopped: `preptime serve` (the API) and `preptime ui` (the dashboard)."""

from __future__ import annotations

from pathlib import Path

import click

from preptime.cli import options
from preptime.settings import Settings


@click.command()
@options.store
@options.setting_option("host", "Address to listen on.")
@options.setting_option("port", "Port of the API.")
@options.setting_option("workers", "Number of worker processes.")
@options.setting_option("log_level", "Minimum level of the server log.")
@options.env_file
def serve(*, store: str, host: str, port: int, workers: int, log_level: str, env_file: Path | None) -> None:
    """Serve the prediction API until SIGTERM or Ctrl-C.

    To check the configuration without starting the server, run preptime doctor. For all settings, see docs/settings.md.
    This command has no --json, because the prediction log can go to standard output.
    """
    from preptime.api.server import serve as run_server

    option_values: dict[str, object] = {
        "store": store,
        "host": host,
        "port": port,
        "workers": workers,
        "log_level": log_level,
    }
    run_server(Settings.load(options.server_environment(env_file, option_values)))


@click.command()
@options.store
@options.setting_option("ui_host", "Address to listen on.", flag="--host")
@options.setting_option("ui_port", "Port of the dashboard.", flag="--port")
@options.setting_option("ui_base_path", "URL path under which a proxy serves the dashboard.", flag="--base-path")
@options.setting_option("api_url", "URL of the API. Default: the API on this machine.")
@options.setting_option("log_level", "Minimum level of the server log.")
@options.env_file
def ui(
    *,
    store: str,
    host: str,
    port: int,
    base_path: str | None,
    api_url: str | None,
    log_level: str,
    env_file: Path | None,
) -> None:
    """Serve the dashboard until SIGTERM or Ctrl-C.

    For all settings, see docs/settings.md. This command has no --json, because it runs until it's stopped.
    """
    from preptime.ui.server import serve as run_dashboard

    option_values: dict[str, object] = {
        "store": store,
        "ui_host": host,
        "ui_port": port,
        "ui_base_path": base_path,
        "api_url": api_url,
        "log_level": log_level,
    }
    environ = options.server_environment(env_file, option_values)
    run_dashboard(Settings.load(environ), environ, click.echo)
