"""Fixtures of the dashboard's tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.requirements import requires
from tests.ui.browser import CHROMIUM_PATH, Site, launch_chromium, make_store, run_site
from tests.ui.stores import clear_caches, fill_store


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The API and the dashboard with a small real bundle. A test that promotes also rolls back."""
    folder = tmp_path_factory.mktemp("site")
    make_store(folder)
    with run_site(folder) as running_site:
        yield running_site


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    requires(CHROMIUM_PATH, "Chromium isn't installed (Debian packages: chromium, fonts-dejavu-core)")
    with launch_chromium() as running_browser:
        yield running_browser


@pytest.fixture(scope="session")
def trained_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two trained bundles, the second promoted manually, and one without a report. Read-only."""
    root = tmp_path_factory.mktemp("trained") / "models"
    fill_store(root)
    return root


@pytest.fixture
def store_copy(trained_store: Path, tmp_path: Path) -> Path:
    """A copy of the trained store that a test can change."""
    return Path(shutil.copytree(trained_store, tmp_path / "models"))


@pytest.fixture
def empty_caches() -> Iterator[None]:
    """Clears the caches of the pages before and after a test, because each test has its own settings."""
    clear_caches()
    yield
    clear_caches()
