"""Tests of the pages Models, Data, and Monitoring in a browser: charts, widths, and themes."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from preptime.monitoring.document import encode
from preptime.sources.results import MONITORING_FILE, ResultsFolder
from tests.api.processes import Server
from tests.monitoring.example import DATE, fired, quiet
from tests.ui import test_models, test_monitoring
from tests.ui.browser import TIMEOUT_MS, open_page, run_dashboard, wait_until_idle
from tests.ui.stores import ORDERS, RESTAURANTS

_HYPHEN_AS_MINUS = re.compile(r"(?:^|[\s(])-\.?\d.{,20}")
VIEWS = {
    "models": {"Bundles": 0, "Bundle details": 8, "Compare bundles": 1, "Champion log": 0, "Change the champion": 0},
    "data": {"Distributions": 5, "By time and category": 2, "Correlation": 1, "Restaurants": 2, "Label audit": 1},
    "monitoring": test_monitoring.CHART_COUNTS,
}
"""Number of charts by page and view."""


@pytest.fixture(scope="module")
def dashboard(trained_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The dashboard with two trained bundles, their training data, and two monitored dates."""
    folder = tmp_path_factory.mktemp("dashboard")
    shutil.copytree(trained_store, folder / "models")
    results = ResultsFolder(folder / "results")
    for document in (quiet(DATE.replace(day=DATE.day - 1)), fired()):
        results.write(document.date, MONITORING_FILE, encode(document))
    settings = {
        "PREPTIME_ORDERS": str(trained_store.parent / ORDERS),
        "PREPTIME_RESTAURANTS": str(trained_store.parent / RESTAURANTS),
        "PREPTIME_RESULTS": str(results.root),
        "PREPTIME_OPERATOR_KEYS": test_models.OPERATOR_ENTRY,
    }
    with run_dashboard(folder, **settings) as page:
        page.wait_until("/_stcore/health")
        yield page


@pytest.mark.parametrize("name", VIEWS)
def test_every_view_draws_charts_in_narrow_dark_window(dashboard: Server, browser: Browser, name: str) -> None:
    with open_page(browser, f"{dashboard.url}/{name}", width=400, dark=True) as page:
        for view, chart_count in VIEWS[name].items():
            page.get_by_role("radio", name=view, exact=True).click()
            wait_until_idle(page)
            _assert_complete(page, name, chart_count, 400)
    assert "Traceback" not in dashboard.stderr_text()


@pytest.mark.parametrize("name", VIEWS)
def test_page_opened_by_url_draws_charts_in_wide_light_window(dashboard: Server, browser: Browser, name: str) -> None:
    with open_page(browser, f"{dashboard.url}/{name}") as page:
        _assert_complete(page, name, next(iter(VIEWS[name].values())), 1280)


def _assert_complete(page: Page, name: str, chart_count: int, width: int) -> None:
    """Assert the number of charts, no errors, and nothing wider than the window or its card."""
    expect(page.locator(".vega-embed :is(canvas, svg)")).to_have_count(chart_count, timeout=TIMEOUT_MS)
    assert page.locator("[data-testid=stException]").count() == 0
    assert page.locator(".callout.error").all_inner_texts() == _expected_errors(name)
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= width
    overflowing_charts = page.evaluate(
        "[...document.querySelectorAll('.vega-embed')]"
        ".filter(chart => chart.scrollWidth > chart.parentElement.clientWidth + 1).length"
    )
    assert overflowing_charts == 0
    cut_tables = page.evaluate(
        "[...document.querySelectorAll('.data-table')]"
        ".filter(table => table.scrollWidth > table.clientWidth + 1).length"
    )
    assert cut_tables == 0
    assert _HYPHEN_AS_MINUS.findall(page.locator("[data-testid=stMain]").inner_text()) == []


def _expected_errors(name: str) -> list[str]:
    """Return the expected error callouts. The headline of a date with alerts is one."""
    return ["\n".join(fired().headline)] if name == "monitoring" else []
