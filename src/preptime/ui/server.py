"""The dashboard's server: Streamlit with all options set here, so that it needs no configuration file."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from types import FrameType

from streamlit.starlette import App

from preptime.errors import PreptimeError
from preptime.network import resolve_free_address
from preptime.settings import Settings
from preptime.ui import theme
from preptime.ui.login import allowed_keys
from preptime.ui.upload_session import MAX_UPLOAD_MB, download_route, remove_orphaned_folders, remove_own_folders

_LOG = logging.getLogger(__name__)
_DEFAULT_PAGE_MODULE = "preptime.ui.app_pages.predict"
"""The module of the default page."""


def serve(settings: Settings, environ: Mapping[str, str], print_line: Callable[[str], None]) -> None:
    """Serve the dashboard until SIGTERM or SIGINT, then return.

    `environ` holds all settings for the script that Streamlit runs, which reads only this process's environment.
    `print_line` receives the dashboard's URL. Raises `UsageError` before anything starts: for a port in use, for
    invalid keys, and for a dashboard that other machines could reach without a key.
    """
    allowed_keys(settings)
    address = resolve_free_address(settings.ui_host, settings.ui_port, "PREPTIME_UI_PORT", "PREPTIME_UI_HOST")
    os.environ.update(environ)
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        # The server handles these signals itself, then restores this handler and sends the signal again.
        signal.signal(signal_number, _ignore_signal)
    display_host = f"[{address}]" if ":" in address else address
    print_line(f"Dashboard: http://{display_host}:{settings.ui_port} (press Ctrl-C to stop)")
    remove_orphaned_folders()
    script = Path(__file__).with_name("app.py")
    try:
        app = App(
            script, routes=[download_route()], lifespan=partial(_lifespan, settings), on_script_error=_on_script_error
        )
        app.run(config=_streamlit_options(settings, address))
    finally:
        remove_own_folders()


@asynccontextmanager
async def _lifespan(settings: Settings, _app: App) -> AsyncIterator[None]:
    """Import the default page before the server accepts requests, and load the champion in the background."""
    import_module(_DEFAULT_PAGE_MODULE)
    threading.Thread(target=_preload_champion, args=(settings,), name="preload-champion", daemon=True).start()
    yield


def _preload_champion(settings: Settings) -> None:
    from preptime.ui.connections import preload_champion

    try:
        preload_champion(settings)
    except PreptimeError as error:
        _LOG.info("The champion can't be loaded yet: %s", error)  # the dashboard shows the error and the hint


def _streamlit_options(settings: Settings, address: str) -> dict[str, object]:
    return theme.theme_options() | {
        "server.address": address,
        "server.port": settings.ui_port,
        "server.headless": True,
        "server.fileWatcherType": "none",
        "server.maxUploadSize": MAX_UPLOAD_MB,
        "server.disconnectedSessionTTL": 20,
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "minimal",
        # Streamlit's own table download contains cells that a spreadsheet would run as formulas.
        "client.disableDataExport": True,
        "client.showErrorDetails": "none",
        "client.showErrorLinks": "false",
        "runner.magicEnabled": False,
        "logger.level": settings.log_level,
        "logger.hideWelcomeMessage": True,
    }


def _on_script_error(error: Exception) -> bool:
    """Log the traceback and show the user one sentence."""
    from preptime.ui.components import show_error

    _LOG.error("Unexpected error in the dashboard.", exc_info=error)
    show_error("Unexpected error. For details, see the server log.", "Report it with the traceback from the log.")
    return True


def _ignore_signal(_signal_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the server has already stopped."""
