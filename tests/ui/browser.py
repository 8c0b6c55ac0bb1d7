"""The real page and the real API, each a process of its own, and Debian's Chromium to look at them."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from preptime.bundle.bundle import Bundle
from preptime.bundle.champion_log import ChampionLog, LogEntryDraft
from preptime.bundle.store import Store
from tests.api.processes import REAL, Server, environment, free_port, started
from tests.scoring.factories import small_bundle

CHROMIUM = shutil.which("chromium")
_FLAGS = (
    "--no-sandbox",  # the tests may run as root
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
_PAGE = (*REAL[:2], "ui")
API_KEY = "the dispatcher's key"
OPERATOR_KEY = "the operator's key"
ANSWER_MS = 60_000
"""A machine that does other things as well still answers by then."""


@dataclass(frozen=True)
class Site:
    """One store, the API that serves it, and the page that shows it."""

    folder: Path
    api: Server
    page: Server

    @property
    def store(self) -> Store:
        """The store of both."""
        return Store.open(str(self.folder / "models"))


def setting(name: str, key: str) -> str:
    """What makes `key` a key of that name."""
    return f"{name}:{hashlib.sha256(key.encode()).hexdigest()}"


def promote(store: Store, bundle: Bundle, reason: str = "a test") -> None:
    """Make it the champion."""
    log = ChampionLog(store)
    day = bundle.manifest.date
    draft = LogEntryDraft(bundle=bundle.manifest.id, date=day, action="promote", reason=reason, by="test", at="now")
    log.append(draft, expected_champion=log.current())


def make_store(folder: Path) -> Bundle:
    """A store in `folder` with a real small bundle as its champion."""
    store = Store.open(str(folder / "models"))
    bundle = small_bundle(store)
    promote(store, bundle)
    return bundle


def other_bundle(store: Store) -> Bundle:
    """Another bundle of that morning, not yet champion: the same models with another history."""
    return small_bundle(store, slower_seconds=120)


@contextmanager
def site_at(folder: Path, **given: str) -> Iterator[Site]:
    """Both servers on the store under `folder`, ready to be asked. `given` are settings of the page."""
    keys = {
        "PREPTIME_API_KEYS": setting("dispatch", API_KEY),
        "PREPTIME_OPERATOR_KEYS": setting("olga", OPERATOR_KEY),
    }
    api_folder = folder / "api"
    api_folder.mkdir()
    at = {"PREPTIME_STORE": str(folder / "models"), "PREPTIME_PREDICTION_LOG": "off", "AIKEY": ""}
    with (
        started(api_folder, REAL, **keys, **at) as api,
        page_at(folder, **keys, PREPTIME_API_URL=f"http://127.0.0.1:{api.port}", **given) as page,
    ):
        api.wait_until("/readyz")
        page.wait_until("/_stcore/health")
        yield Site(folder, api, page)


@contextmanager
def page_at(folder: Path, **given: str) -> Iterator[Server]:
    """The page, with `folder`'s store and its temporary files in `folder`. Not yet waited for."""
    port = free_port()
    settings = {
        "PREPTIME_STORE": str(folder / "models"),
        "PREPTIME_UI_PORT": str(port),
        "TMPDIR": str(folder / "temporary"),
        # Streamlit looks there for a user's own options, which are none of the tests' business.
        "HOME": str(folder),
    }
    (folder / "temporary").mkdir(exist_ok=True)
    with (folder / "errors.txt").open("wb") as errors, (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", *_PAGE],
            cwd=folder,
            env=environment(settings | given) | {"PYTHONDONTWRITEBYTECODE": "1"},
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
def chromium() -> Iterator[Browser]:
    """A browser, without any state."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_FLAGS))
        try:
            yield found
        finally:
            found.close()


@contextmanager
def looking(browser: Browser, url: str, *, width: int = 1280, dark: bool = False) -> Iterator[Page]:
    """A window of its own at `url`, which the page has been drawn in. Fails when anything but this machine is asked."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", accept_downloads=True
    )
    context.set_default_timeout(ANSWER_MS)
    elsewhere: list[str] = []
    page = context.new_page()
    page.on("request", lambda request: None if _is_here(request.url) else elsewhere.append(request.url))
    try:
        page.goto(url)
        page.wait_for_selector("h1")
        settle(page)
        yield page
        assert elsewhere == []
    finally:
        context.close()


def settle(page: Page) -> None:
    """Wait until Streamlit has nothing under way."""
    page.wait_for_timeout(300)
    page.wait_for_function("!document.querySelector('[data-testid=stStatusWidget]')")
    page.wait_for_function("!document.querySelector('[data-stale=true]')")
    page.wait_for_function("!document.querySelector('[data-testid=stSkeleton]')")  # what stands where a chart will
    page.wait_for_timeout(200)


def _is_here(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "data:", "blob:"))
