"""What the page's tests share: one site, one browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.requirements import requires
from tests.ui.browser import CHROMIUM, Site, chromium, make_store, site_at


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
