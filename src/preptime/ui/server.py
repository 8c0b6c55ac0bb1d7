"""The page's server: Streamlit, told everything it needs here, so that no file of its own lies about."""

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
from preptime.settings import Settings, resolve_free_address
from preptime.ui import theme
from preptime.ui.login import allowed_keys
from preptime.ui.upload_session import MAX_UPLOAD_MB, download_route, remove_orphaned_folders, remove_own_folders

_LOG = logging.getLogger(__name__)
_DEFAULT_PAGE_MODULE = "preptime.ui.pages.predict"
"""The page where people arrive."""


def serve(settings: Settings, environ: Mapping[str, str], print_line: Callable[[str], None]) -> None:
    """Serve the page until SIGTERM or SIGINT, then return.

    `environ` holds all settings, for the script that Streamlit runs: it is given nothing but this process's
    environment. `say` is told the page's address. Raises `UsageError` before anything is started: for a port in use,
    for keys that cannot be, and for a page that other machines could reach without a key.
    """
    allowed_keys(settings)
    address = resolve_free_address(settings.ui_host, settings.ui_port, "PREPTIME_UI_PORT", "PREPTIME_UI_HOST")
    os.environ.update(environ)
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        # The server below ends at these, puts back what it found, and sends itself the signal once more.
        signal.signal(signal_number, _ignore_signal)
    display_host = f"[{address}]" if ":" in address else address
    print_line(f"The page is at http://{display_host}:{settings.ui_port} (Ctrl-C ends it).")
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
    """What the first visitor would wait for: the page's modules, before anybody is let in; the champion meanwhile."""
    import_module(_DEFAULT_PAGE_MODULE)
    threading.Thread(target=_preload_champion, args=(settings,), name="preload-champion", daemon=True).start()
    yield


def _preload_champion(settings: Settings) -> None:
    from preptime.ui.connections import preload_champion

    try:
        preload_champion(settings)
    except PreptimeError as error:
        _LOG.info("No champion can be opened yet: %s", error)  # the page says so itself, with what to do


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
        # A table's own download would hand out cells that a spreadsheet runs.
        "client.disableDataExport": True,
        "client.showErrorDetails": "none",
        "client.showErrorLinks": "false",
        "runner.magicEnabled": False,
        "logger.level": settings.log_level,
        "logger.hideWelcomeMessage": True,
    }


def _on_script_error(error: Exception) -> bool:
    """The trace for a developer, in the log; a sentence for the visitor."""
    from preptime.ui.components import show_error

    _LOG.error("A page failed.", exc_info=error)
    show_error("Something went wrong that nobody foresaw.", "It is in the page's log; please report it.")
    return True


def _ignore_signal(_signal_number: int, _frame: FrameType | None) -> None:
    """Nothing more to do: the server has ended."""
