"""Starts the dashboard and the API as processes, and Debian's Chromium to use them."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from preptime.bundle.bundle import Bundle
from preptime.bundle.champion_log import ChampionLog, LogEntryDraft
from preptime.bundle.store import Store
from tests.api.processes import SERVE_COMMAND, Server, clean_environment, free_port, running_server
from tests.scoring.factories import small_bundle

CHROMIUM_PATH = shutil.which("chromium")
_BROWSER_FLAGS = (
    "--no-sandbox",  # the tests may run as root
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
UPLOAD_TAB = "Upload a file"
_UI_COMMAND = (*SERVE_COMMAND[:2], "ui")
API_KEY = "the dispatcher's key"
OPERATOR_KEY = "the operator's key"
TIMEOUT_MS = 60_000
"""Long enough for a busy machine."""


@dataclass(frozen=True)
class Site:
    """An API and a dashboard with the same store."""

    folder: Path
    api: Server
    dashboard: Server

    @property
    def store(self) -> Store:
        """The store that both use."""
        return Store.open(str(self.folder / "models"))


def key_entry(name: str, key: str) -> str:
    """Return the entry of a settings variable that allows `key` under this name."""
    return f"{name}:{hashlib.sha256(key.encode()).hexdigest()}"


def promote(store: Store, bundle: Bundle, reason: str = "a test") -> None:
    """Make a bundle the champion."""
    log = ChampionLog(store)
    day = bundle.manifest.date
    draft = LogEntryDraft(bundle=bundle.manifest.id, date=day, action="promote", reason=reason, by="test", at="now")
    log.append(draft, expected_champion=log.current())


def make_store(folder: Path) -> Bundle:
    """Create a store in `folder` with a small real bundle as its champion. Return the bundle."""
    store = Store.open(str(folder / "models"))
    bundle = small_bundle(store)
    promote(store, bundle)
    return bundle


def make_second_bundle(store: Store) -> Bundle:
    """Add a bundle for the same as-of date to the store: the same models with another history. Not the champion."""
    return small_bundle(store, slower_seconds=120)


@contextmanager
def run_site(folder: Path, **ui_settings: str) -> Iterator[Site]:
    """Run both servers on the store in `folder` until they're ready. `ui_settings` apply to the dashboard."""
    keys = {
        "PREPTIME_API_KEYS": key_entry("dispatch", API_KEY),
        "PREPTIME_OPERATOR_KEYS": key_entry("olga", OPERATOR_KEY),
    }
    api_folder = folder / "api"
    api_folder.mkdir()
    api_settings = {"PREPTIME_STORE": str(folder / "models"), "PREPTIME_PREDICTION_LOG": "off", "AIKEY": ""}
    with (
        running_server(api_folder, SERVE_COMMAND, **keys, **api_settings) as api,
        run_dashboard(folder, **keys, PREPTIME_API_URL=f"http://127.0.0.1:{api.port}", **ui_settings) as page,
    ):
        api.wait_until("/readyz")
        page.wait_until("/_stcore/health")
        yield Site(folder, api, page)


@contextmanager
def run_dashboard(folder: Path, *, start_code: str = "", **ui_settings: str) -> Iterator[Server]:
    """Start the dashboard with the store and temporary files in `folder`, without waiting until it's ready.

    `start_code` runs first in its process, for example to change a constant.
    """
    port = free_port()
    settings = {
        "PREPTIME_STORE": str(folder / "models"),
        "PREPTIME_UI_PORT": str(port),
        "TMPDIR": str(folder / "temporary"),
        # Streamlit reads a user's options from there. Tests must not depend on them.
        "HOME": str(folder),
    }
    (folder / "temporary").mkdir(exist_ok=True)
    with (folder / "errors.txt").open("wb") as errors, (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", f"{start_code}\n{_UI_COMMAND[1]}", *_UI_COMMAND[2:]],
            cwd=folder,
            env=clean_environment(settings | ui_settings) | {"PYTHONDONTWRITEBYTECODE": "1"},
            stderr=errors,
            stdout=output,
        )
        try:
            yield Server(process, port, folder)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(30)


@contextmanager
def launch_chromium() -> Iterator[Browser]:
    """Launch a browser without any state."""
    expect.set_options(timeout=60_000)  # only against hanging
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM_PATH, args=list(_BROWSER_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(
    browser: Browser, url: str, *, width: int = 1280, dark: bool = False, expected_errors: Sequence[str] = ()
) -> Iterator[Page]:
    """Open `url` in a new window and wait until it's drawn.

    Fails if the page requests another host, or if the browser reports an error: a missing file, a script's error, or a
    violation of the content security policy.
    """
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", accept_downloads=True
    )
    context.set_default_timeout(TIMEOUT_MS)
    external_urls: list[str] = []
    errors: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: None if _is_local_url(request.url) else external_urls.append(request.url))
    try:
        page.goto(url)
        page.wait_for_selector("h1")
        wait_until_idle(page)
        yield page
        assert external_urls == [], external_urls
        unexpected = [error for error in errors if not any(text in error for text in expected_errors)]
        assert unexpected == [], unexpected
    finally:
        context.close()


def open_upload_tab(page: Page) -> None:
    """Open the tab for files of the page Predict."""
    page.get_by_role("tab", name=UPLOAD_TAB).click()
    wait_until_idle(page)


def wait_until_idle(page: Page) -> None:
    """Wait until Streamlit has finished drawing."""
    page.wait_for_timeout(300)
    for selector in ("[data-testid=stStatusWidget]", "[data-stale=true]", "[data-testid=stSkeleton]"):
        # The last one is the placeholder of a chart. The content security policy forbids `wait_for_function`.
        expect(page.locator(selector)).to_have_count(0, timeout=TIMEOUT_MS)
    page.wait_for_timeout(200)


def _is_local_url(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "data:", "blob:"))
