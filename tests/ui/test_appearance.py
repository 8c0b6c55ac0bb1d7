"""Models, Data and Monitoring in a real browser: every view draws its pictures and fits its window, in both colours."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from preptime.monitoring.document import encode
from preptime.sources.results import MONITORING_FILE, ResultsFolder
from tests.api.processes import Server
from tests.monitoring.example import DATE, fired, quiet
from tests.ui import test_models, test_monitoring
from tests.ui.browser import looking, page_at, settle
from tests.ui.stores import ORDERS, RESTAURANTS

VIEWS = {
    "models": {"Bundles": 0, "Bundle details": 8, "Compare bundles": 1, "Champion log": 0, "Change the champion": 0},
    "data": {"Distributions": 5, "By time and category": 2, "Correlation": 1, "Restaurants": 2, "Label audit": 1},
    "monitoring": test_monitoring.PICTURES,
}
"""Pictures by page and view."""


@pytest.fixture(scope="module")
def looked(trained_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The page over two trained bundles, what they were trained on, and two monitored mornings."""
    folder = tmp_path_factory.mktemp("looked")
    shutil.copytree(trained_store, folder / "models")
    results = ResultsFolder(folder / "results")
    for document in (quiet(DATE.replace(day=DATE.day - 1)), fired()):
        results.write(document.date, MONITORING_FILE, encode(document))
    settings = {
        "PREPTIME_ORDERS": str(trained_store.parent / ORDERS),
        "PREPTIME_RESTAURANTS": str(trained_store.parent / RESTAURANTS),
        "PREPTIME_RESULTS": str(results.root),
        "PREPTIME_OPERATOR_KEYS": test_models.OPERATORS,
    }
    with page_at(folder, **settings) as page:
        page.wait_until("/_stcore/health")
        yield page


@pytest.mark.parametrize("name", VIEWS)
def test_every_view_draws_its_pictures_and_fits_a_narrow_dark_window(
    looked: Server, browser: Browser, name: str
) -> None:
    with looking(browser, f"{looked.url}/{name}", width=400, dark=True) as page:
        for view, pictures in VIEWS[name].items():
            page.get_by_role("radio", name=view, exact=True).click()
            settle(page)
            _drawn(page, name, pictures, 400)
    assert "Traceback" not in looked.errors()


@pytest.mark.parametrize("name", VIEWS)
def test_a_page_that_an_address_names_is_drawn_whole_in_a_wide_light_window(
    looked: Server, browser: Browser, name: str
) -> None:
    with looking(browser, f"{looked.url}/{name}") as page:
        _drawn(page, name, next(iter(VIEWS[name].values())), 1280)


def _drawn(page: Page, name: str, pictures: int, width: int) -> None:
    """So many pictures, nothing that failed, and nothing wider than the window or its card."""
    page.wait_for_function(f"document.querySelectorAll('.vega-embed :is(canvas, svg)').length == {pictures}")
    assert page.locator("[data-testid=stException]").count() == 0
    assert page.locator(".callout.error").all_inner_texts() == _alerts(name)
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= width
    wider = page.evaluate(
        "[...document.querySelectorAll('.vega-embed')]"
        ".filter(one => one.scrollWidth > one.parentElement.clientWidth + 1).length"
    )
    assert wider == 0


def _alerts(name: str) -> list[str]:
    """What is told as a problem: an alert that fired is one."""
    return ["\n".join(fired().headline)] if name == "monitoring" else []
