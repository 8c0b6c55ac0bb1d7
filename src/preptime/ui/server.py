"""The dashboard's server: Streamlit with all options set here, so that it needs no configuration file."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import re
import signal
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from types import FrameType

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from streamlit import file_util
from streamlit.starlette import App

from preptime.errors import PreptimeError
from preptime.network import resolve_free_address
from preptime.settings import Settings
from preptime.ui import theme
from preptime.ui.login import allowed_keys
from preptime.ui.request_guard import RECONNECT_SECONDS, GuardOptions, RequestGuard, security_headers
from preptime.ui.session_registry import get_session_registry
from preptime.ui.upload_session import download_route, remove_orphaned_folders, remove_own_folders

_LOG = logging.getLogger(__name__)
_DEFAULT_PAGE_MODULE = "preptime.ui.app_pages.predict"
"""The module of the default page."""
_DEFAULT_PAGE = "predict"
"""The default page. Streamlit serves it only at the root."""
_OTHER_PAGES = ("models", "data", "monitoring")
"""URL paths of the other pages. `app.py` names their modules."""
_INLINE_SCRIPT_PATTERN = re.compile(r"<script>(.*?)</script>", re.DOTALL)
MAX_MESSAGE_MB = 50
"""Maximum size of a websocket message. The largest message is a table of 2,000 rows."""
MAX_WIDGET_STATE_MB = 1
"""Maximum size of a message from a browser. Files aren't sent in messages."""


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
    base_path = settings.ui_base_path.rstrip("/")
    url_path = f"{base_path}/" if base_path else ""
    print_line(f"Dashboard: http://{display_host}:{settings.ui_port}{url_path} (press Ctrl-C to stop)")
    remove_orphaned_folders()
    try:
        _create_app(settings, base_path).run(config=_streamlit_options(settings, address))
    finally:
        remove_own_folders()


def _create_app(settings: Settings, base_path: str) -> App:
    guard_options = GuardOptions(
        base_path, settings.ui_session_timeout_minutes * 60, security_headers(_inline_script_hashes(base_path))
    )
    return App(
        Path(__file__).with_name("app.py"),
        routes=[download_route(base_path), *_page_routes(base_path)],
        middleware=[Middleware(RequestGuard, options=guard_options, get_registry=get_session_registry)],
        lifespan=partial(_lifespan, settings),
        on_script_error=_on_script_error,
    )


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
        "server.baseUrlPath": settings.ui_base_path,
        "server.maxUploadSize": settings.ui_max_upload_mb,
        "server.maxMessageSize": MAX_MESSAGE_MB,
        "server.maxWidgetStateSize": MAX_WIDGET_STATE_MB,
        "server.enableAgentApi": False,
        # Longer than the guard waits before it ends the session, which it can't do once Streamlit has forgotten it.
        "server.disconnectedSessionTTL": round(3 * RECONNECT_SECONDS),
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


def _page_routes(base_path: str) -> list[Route]:
    """Return the routes of the HTML page. The browser's script then draws the page that the URL names."""
    html = _page_html(base_path)

    async def serve_page(_request: Request) -> Response:
        return HTMLResponse(html, headers={"Cache-Control": "no-cache"})

    async def redirect_to_root(_request: Request) -> Response:
        return RedirectResponse(f"{base_path}/")

    return [
        *(Route(f"{base_path}/{path}", serve_page, methods=["GET"]) for path in ("", *_OTHER_PAGES)),
        Route(f"{base_path}/{_DEFAULT_PAGE}", redirect_to_root, methods=["GET"]),
    ]


def _inline_script_hashes(base_path: str) -> list[str]:
    """Return the SHA-256 hashes (base64) of the inline scripts in the page, for the content security policy."""
    return [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in _INLINE_SCRIPT_PATTERN.findall(_page_html(base_path))
    ]


@cache
def _page_html(base_path: str) -> str:
    """Return Streamlit's HTML page with the location of the server.

    Without it, Streamlit's script searches for the server next to the URL of the page. That causes requests with status
    404 on each page except the default one.
    """
    html = (Path(file_util.get_static_dir()) / "index.html").read_text(encoding="utf-8")
    path = json.dumps(f"{base_path}/")
    location = f"<script>window.__streamlit={{BACKEND_BASE_URL:new URL({path},location.origin).href}}</script>"
    return html.replace("<title>Streamlit</title>", f"<title>preptime</title>{location}", 1)
