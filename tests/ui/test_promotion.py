"""The page Models as an operator uses it: the running API changes what it serves, and changes back."""

from __future__ import annotations

import time

import msgspec
from playwright.sync_api import Browser, Page, expect

from preptime.bundle.bundle import fetch_verified
from preptime.bundle.champion_log import ChampionLog, resolve_bundle_id
from preptime.bundle.manifest import ManifestDraft
from preptime.bundle.store import Store
from preptime.bundle.writer import write_bundle
from preptime.client import Client
from tests.ui.browser import ANSWER_MS, API_KEY, OPERATOR_KEY, Site, looking, settle

ORDER = {
    "order_id": "a1",
    "order_acknowledged_at": "2015-06-20T19:00:00+01:00",
    "order_value_gbp": 24.5,
    "restaurant_id": 12,
    "number_of_items": 3,
}


def test_an_operator_promotes_in_the_browser_and_the_running_api_changes_and_goes_back(
    site: Site, browser: Browser
) -> None:
    before = resolve_bundle_id(site.store, None)
    challenger = _twin(site.store, before)
    assert _serving(site) == before
    with looking(browser, f"{site.page.url}/models") as page:
        _open(page, "Change the champion")
        page.get_by_role("textbox", name="Operator's key").fill(OPERATOR_KEY)
        page.keyboard.press("Enter")
        settle(page)
        page.get_by_role("textbox", name="Reason").fill("riders wait in Leeds")
        page.get_by_role("button", name="Promote…").click()
        settle(page)
        assert _serving(site) == before
        page.get_by_role("button", name="Yes, promote it").click()
        expect(page.get_by_text(f"{challenger} is the champion now")).to_be_visible()
        _wait_until(site, challenger)
        _open(page, "Champion log")
        expect(page.locator(".timeline li").first).to_contain_text("olga · no.")
        expect(page.locator(".timeline li").first).to_contain_text("riders wait in Leeds")
        _open(page, "Change the champion")
        page.get_by_text("Roll back", exact=True).click()
        settle(page)
        page.get_by_role("textbox", name="Reason").fill("they do not")
        page.get_by_role("button", name="Roll back…").click()
        page.get_by_role("button", name="Yes, go back to it").click()
        expect(page.get_by_text(f"{before} is the champion now")).to_be_visible()
        _wait_until(site, before)
        assert OPERATOR_KEY not in page.url
        assert OPERATOR_KEY not in page.content()
    latest = ChampionLog(site.store).entries()[-2:]
    assert [(entry.action, entry.by, entry.reason) for entry in latest] == [
        ("override", "olga", "riders wait in Leeds"),
        ("rollback", "olga", "they do not"),
    ]
    assert OPERATOR_KEY not in site.page.errors()


def _twin(store: Store, bundle_id: str) -> str:
    """Another bundle with the same models."""
    bundle = fetch_verified(store, bundle_id)
    draft = msgspec.convert(bundle.manifest, ManifestDraft, from_attributes=True)
    return write_bundle(
        store,
        msgspec.structs.replace(draft, data_fingerprint="another"),
        model=bundle.model_bytes(),
        history=bundle.history,
        golden_orders=bundle.golden_orders(),
    ).id


def _open(page: Page, view: str) -> None:
    page.get_by_role("radio", name=view).click()
    settle(page)


def _serving(site: Site) -> str:
    """The bundle that answers an order."""
    with Client(site.api.url, API_KEY) as client:
        return client.predict([ORDER]).bundle


def _wait_until(site: Site, bundle_id: str) -> None:
    end = time.monotonic() + ANSWER_MS / 1000
    while _serving(site) != bundle_id:
        assert time.monotonic() < end, f"The API still answers with {_serving(site)}."
        time.sleep(0.05)
