"""The page Predict as a person uses it: real page, real API, real browser."""

from __future__ import annotations

import io
import re
from pathlib import Path

import polars as pl
import pytest
from playwright.sync_api import Browser, Page, expect

from preptime.bundle.bundle import Bundle, fetch_verified
from preptime.bundle.champion_log import resolve_bundle_id
from preptime.scoring.score_file import score_file
from preptime.scoring.scorer import PREDICTED_READY_AT, PREDICTION_BUNDLE, PREDICTION_REASON
from tests.scoring.factories import mixed
from tests.ui.browser import API_KEY, Site, looking, settle


@pytest.fixture(scope="module")
def champion(site: Site) -> Bundle:
    """What both servers answer with."""
    return fetch_verified(site.store, resolve_bundle_id(site.store, None))


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Orders of every kind, with text that a spreadsheet would run and a browser would draw."""
    path = tmp_path_factory.mktemp("orders") / "orders *bold* <b>.csv"
    rows = mixed().with_columns(
        pl.when(pl.int_range(pl.len()) == 0).then(pl.lit("=1+1")).otherwise("note").alias("note"),
        pl.lit("<img src=x onerror=alert(1)> **b**").alias("markup"),
    )
    rows.write_csv(path)
    return path


def test_a_file_is_answered_alike_here_and_by_the_api_and_downloads_are_what_score_writes(
    site: Site, browser: Browser, champion: Bundle, orders: Path, tmp_path: Path
) -> None:
    score_file(str(orders), tmp_path / "expected.parquet", champion)
    expected = pl.read_parquet(tmp_path / "expected.parquet")
    with looking(browser, site.page.url) as page:
        page.set_input_files("input[type=file]", orders)
        settle(page)
        _predict(page)
        local = _fetched(page, "parquet")
        assert local.equals(expected)
        csv = _fetched_bytes(page, "csv")
        local_numbers = _figures(page)
        page.get_by_text("Call Flask API").click()
        settle(page)
        page.get_by_label("Key of the API").fill(API_KEY)
        page.keyboard.press("Enter")
        settle(page)
        _predict(page)
        assert _figures(page) == local_numbers
        asked = _fetched(page, "parquet")
        assert API_KEY not in page.url
        assert API_KEY not in page.content()
    _same_answers(asked, expected)
    assert asked.select(expected.columns[:6]).equals(expected.select(expected.columns[:6]))
    read = pl.read_csv(io.BytesIO(csv), infer_schema=False)
    assert read.columns == expected.columns
    assert read["note"][0] == "'=1+1"
    assert read["note"][1:].equals(pl.read_csv(orders, infer_schema=False)["note"][1:])
    score_file(str(orders), tmp_path / "expected.csv", champion)
    as_written = pl.read_csv(tmp_path / "expected.csv", infer_schema=False)
    assert read.drop("note").equals(as_written.drop("note"))
    assert API_KEY not in site.page.errors()


def test_what_is_uploaded_is_shown_as_text_and_gone_when_its_visitor_is(
    site: Site, browser: Browser, orders: Path
) -> None:
    left = site.folder / "temporary"
    with looking(browser, site.page.url) as page:
        page.set_input_files("input[type=file]", orders)
        settle(page)
        expect(page.locator(".callout").filter(has_text="orders *bold* <b>.csv")).to_be_visible()
        (folder,) = left.glob("preptime-page-*")
        assert folder.stat().st_mode & 0o077 == 0
        with looking(browser, site.page.url) as other:
            expect(other.locator(".callout").filter(has_text="bold")).to_have_count(0)
            assert "orders *bold*" not in other.content()
    _wait_until_empty(left)


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_its_window_and_takes_its_colours(
    site: Site, browser: Browser, width: int, *, dark: bool
) -> None:
    with looking(browser, site.page.url, width=width, dark=dark) as page:
        page.get_by_role("button", name="Try the sample").click()
        settle(page)
        _predict(page)
        for tab in ("Upload a file", "One order", "Data dictionary"):
            page.get_by_role("tab", name=tab).click()
            settle(page)
            assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= width
        ground = page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
        assert (sum(int(part) for part in re.findall(r"\d+", ground)[:3]) < 200) == dark


def _predict(page: Page) -> None:
    page.get_by_role("button", name=re.compile(r"Predict \d+ orders")).click()
    page.locator(".metric-cards").wait_for()
    settle(page)


def _fetched_bytes(page: Page, kind: str) -> bytes:
    with page.expect_download() as waiting:
        page.get_by_text(f"Download as {kind}").click()
    download = waiting.value
    assert download.suggested_filename == f"orders _bold_ _b_-predictions.{kind}"
    return Path(download.path()).read_bytes()


def _fetched(page: Page, kind: str) -> pl.DataFrame:
    return pl.read_parquet(io.BytesIO(_fetched_bytes(page, kind)))


def _figures(page: Page) -> list[str]:
    return page.locator(".metric-cards dd").all_inner_texts()


def _same_answers(asked: pl.DataFrame, expected: pl.DataFrame) -> None:
    assert asked.columns == expected.columns
    for name in (PREDICTED_READY_AT, PREDICTION_REASON, PREDICTION_BUNDLE, "prediction_fallback_level"):
        assert asked[name].to_list() == expected[name].to_list(), name
    for name in expected.columns:
        if name.startswith("predicted_") and name.endswith("_seconds"):
            difference = (asked[name] - expected[name]).abs().max()
            assert isinstance(difference, float)
            assert difference <= 0.001, name
            assert asked[name].null_count() == expected[name].null_count()


def _wait_until_empty(folder: Path) -> None:
    import time

    end = time.monotonic() + 60
    while list(folder.glob("preptime-page-*")) and time.monotonic() < end:
        time.sleep(0.2)
    assert list(folder.glob("preptime-page-*")) == []
