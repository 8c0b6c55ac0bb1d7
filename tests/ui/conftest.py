"""What the page's tests share: one site, one browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.requirements import requires
from tests.ui.browser import CHROMIUM, Site, chromium, make_store, site_at
from tests.ui.stores import forget, stock


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The API and the page, both serving a real small bundle. What a test promotes it takes back."""
    folder = tmp_path_factory.mktemp("site")
    make_store(folder)
    with site_at(folder) as found:
        yield found


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    requires(CHROMIUM, "there is no chromium here (Debian: chromium, fonts-dejavu-core)")
    with chromium() as found:
        yield found


@pytest.fixture(scope="session")
def trained_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trained bundles, the second the champion by a person's word, and one of the first release. To be copied."""
    root = tmp_path_factory.mktemp("stocked") / "models"
    stock(root)
    return root


@pytest.fixture
def stocked(trained_store: Path, tmp_path: Path) -> Path:
    """A copy of that store, one's own."""
    return Path(shutil.copytree(trained_store, tmp_path / "models"))


@pytest.fixture
def fresh() -> Iterator[None]:
    """What the pages keep between questions is forgotten before and after: each test has its own settings."""
    forget()
    yield
    forget()
