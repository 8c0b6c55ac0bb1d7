"""Test of a promotion and a rollback in the browser, with a running API."""

from __future__ import annotations

import time

from playwright.sync_api import Browser, Page, expect

from preptime.bundle.champion_log import ChampionLog, resolve_bundle_id
from preptime.client import Client
from tests.training.factories import copy_bundle
from tests.ui.browser import API_KEY, OPERATOR_KEY, TIMEOUT_MS, Site, open_page, wait_until_idle

ORDER = {
    "order_id": "a1",
    "order_acknowledged_at": "2015-06-20T19:00:00+01:00",
    "order_value_gbp": 24.5,
    "restaurant_id": 12,
    "number_of_items": 3,
}


def test_promotion_and_rollback_in_the_browser_change_the_api(site: Site, browser: Browser) -> None:
    before = resolve_bundle_id(site.store, None)
    challenger = copy_bundle(site.store, before, data_fingerprint="another")
    assert _served_bundle(site) == before
    with open_page(browser, f"{site.dashboard.url}/models") as page:
        _select_view(page, "Change the champion")
        page.get_by_role("textbox", name="Operator key").fill(OPERATOR_KEY)
        page.keyboard.press("Enter")
        wait_until_idle(page)
        page.get_by_role("textbox", name="Reason").fill("riders wait in Leeds")
        page.get_by_role("button", name="Promote…").click()
        wait_until_idle(page)
        assert _served_bundle(site) == before
        page.get_by_role("button", name="Yes, promote it").click()
        expect(page.get_by_text(f"{challenger} is the champion now")).to_be_visible()
        _wait_until_served(site, challenger)
        _select_view(page, "Champion log")
        expect(page.locator(".timeline li").first).to_contain_text("olga · no.")
        expect(page.locator(".timeline li").first).to_contain_text("riders wait in Leeds")
        _select_view(page, "Change the champion")
        page.get_by_text("Roll back", exact=True).click()
        wait_until_idle(page)
        page.get_by_role("textbox", name="Reason").fill("they do not")
        page.get_by_role("button", name="Roll back…").click()
        page.get_by_role("button", name="Yes, roll back to it").click()
        expect(page.get_by_text(f"{before} is the champion now")).to_be_visible()
        _wait_until_served(site, before)
        assert OPERATOR_KEY not in page.url
        assert OPERATOR_KEY not in page.content()
    latest = ChampionLog(site.store).entries()[-2:]
    assert [(entry.action, entry.by, entry.reason) for entry in latest] == [
        ("override", "olga", "riders wait in Leeds"),
        ("rollback", "olga", "they do not"),
    ]
    assert OPERATOR_KEY not in site.dashboard.stderr_text()


def _select_view(page: Page, view: str) -> None:
    page.get_by_role("radio", name=view).click()
    wait_until_idle(page)


def _served_bundle(site: Site) -> str:
    """Return the ID of the bundle that the API uses for a prediction."""
    with Client(site.api.url, API_KEY) as client:
        return client.predict([ORDER]).bundle


def _wait_until_served(site: Site, bundle_id: str) -> None:
    end = time.monotonic() + TIMEOUT_MS / 1000
    while _served_bundle(site) != bundle_id:
        assert time.monotonic() < end, f"The API still answers with {_served_bundle(site)}."
        time.sleep(0.05)
