"""Tests of the page Predict with the real API in a real browser."""

from __future__ import annotations

import io
import re
import time
from contextlib import AbstractContextManager
from pathlib import Path

import polars as pl
import pytest
from playwright.sync_api import Browser, Page, expect

from preptime.bundle.bundle import Bundle, fetch_verified
from preptime.bundle.champion_log import resolve_bundle_id
from preptime.scoring.score_file import score_file
from preptime.scoring.scorer import PREDICTED_READY_AT, PREDICTION_BUNDLE, PREDICTION_REASON
from preptime.ui.predictors import API_MODE, LOCAL_MODE
from preptime.ui.upload_session import FOLDER_PREFIX
from tests.api.processes import Server
from tests.scoring.factories import mixed_rows
from tests.ui.browser import API_KEY, Site, make_store, open_page, open_upload_tab, run_dashboard, wait_until_idle

FORMAT_TITLES = {"csv": "CSV", "parquet": "Parquet"}


@pytest.fixture(scope="module")
def champion(site: Site) -> Bundle:
    """The bundle that both servers use."""
    return fetch_verified(site.store, resolve_bundle_id(site.store, None))


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Valid and invalid orders, with text that a spreadsheet would run or a browser would render."""
    path = tmp_path_factory.mktemp("orders") / "orders *bold* <b>.csv"
    rows = mixed_rows().with_columns(
        pl.when(pl.int_range(pl.len()) == 0).then(pl.lit("=1+1")).otherwise("note").alias("note"),
        pl.lit("<img src=x onerror=alert(1)> **b**").alias("markup"),
    )
    rows.write_csv(path)
    return path


def test_local_and_api_predictions_and_downloads_match_score(
    site: Site, browser: Browser, champion: Bundle, orders: Path, tmp_path: Path
) -> None:
    score_file(str(orders), tmp_path / "expected.parquet", champion)
    expected = pl.read_parquet(tmp_path / "expected.parquet")
    with open_page(browser, site.dashboard.url) as page:
        open_upload_tab(page)
        page.set_input_files("input[type=file]", orders)
        wait_until_idle(page)
        _predict(page)
        local = _download_frame(page, "parquet")
        assert local.equals(expected)
        csv = _download_bytes(page, "csv")
        local_numbers = _metric_values(page)
        page.get_by_text("Advanced").click()
        # With the keyboard, because the choices move while they're expanded, and a click can miss.
        page.get_by_role("radio", name=LOCAL_MODE).focus()
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("radio", name=API_MODE)).to_be_checked()
        wait_until_idle(page)
        page.get_by_label("API key").fill(API_KEY)
        page.keyboard.press("Enter")
        wait_until_idle(page)
        _predict(page)
        assert _metric_values(page) == local_numbers
        remote = _download_frame(page, "parquet")
        assert API_KEY not in page.url
        assert API_KEY not in page.content()
    _assert_same_predictions(remote, expected)
    assert remote.select(expected.columns[:6]).equals(expected.select(expected.columns[:6]))
    read = pl.read_csv(io.BytesIO(csv), infer_schema=False)
    assert read.columns == expected.columns
    assert read["note"][0] == "'=1+1"
    assert read["note"][1:].equals(pl.read_csv(orders, infer_schema=False)["note"][1:])
    score_file(str(orders), tmp_path / "expected.csv", champion)
    as_written = pl.read_csv(tmp_path / "expected.csv", infer_schema=False)
    assert read.drop("note").equals(as_written.drop("note"))
    assert API_KEY not in site.dashboard.stderr_text()


def test_upload_is_shown_as_text_and_deleted_with_the_session(site: Site, browser: Browser, orders: Path) -> None:
    temporary_folder = site.folder / "temporary"
    with open_page(browser, site.dashboard.url) as page:
        open_upload_tab(page)
        page.set_input_files("input[type=file]", orders)
        wait_until_idle(page)
        expect(page.locator(".callout").filter(has_text="orders *bold* <b>.csv")).to_be_visible()
        (folder,) = temporary_folder.glob(f"{FOLDER_PREFIX}*")
        assert folder.stat().st_mode & 0o077 == 0
        with open_page(browser, site.dashboard.url) as other:
            expect(other.locator(".callout").filter(has_text="bold")).to_have_count(0)
            assert "orders *bold*" not in other.content()
    _wait_until_empty(temporary_folder)


_HIDDEN_BUTTONS = (
    "[...document.querySelectorAll('[role=toolbar]')].filter(row => row.scrollWidth > row.clientWidth + 1).length"
)
"""The number of rows of buttons, such as the fallback levels, that don't wrap and continue beyond the window."""


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("dark", [False, True])
def test_page_fits_the_window_and_follows_the_theme(site: Site, browser: Browser, width: int, *, dark: bool) -> None:
    with open_page(browser, site.dashboard.url, width=width, dark=dark) as page:
        open_upload_tab(page)
        page.get_by_role("button", name="Try the sample").click()
        wait_until_idle(page)
        _predict(page)
        for tab in ("Upload a file", "One order", "Data dictionary"):
            page.get_by_role("tab", name=tab).click()
            wait_until_idle(page)
            assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= width
            assert page.evaluate(_HIDDEN_BUTTONS) == 0
        background = page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
        assert (sum(int(part) for part in re.findall(r"\d+", background)[:3]) < 200) == dark


def test_refused_upload_and_invalid_value_show_their_reason(browser: Browser, orders: Path, tmp_path: Path) -> None:
    make_store(tmp_path)
    (tmp_path / "large.csv").write_bytes(orders.read_bytes() + b"\n" * 1_048_576)
    settings = {"PREPTIME_UI_BASE_PATH": "/team/preptime", "PREPTIME_UI_MAX_TOTAL_UPLOAD_MB": "1"}
    with (
        run_dashboard(tmp_path, **settings) as dashboard,
        open_dashboard(browser, dashboard) as page,
    ):
        items = page.get_by_role("spinbutton", name="Items")
        items.fill("0")
        items.press("Tab")
        expect(page.locator(".field-error")).to_have_text("Enter a whole number from 1 to 10,000.")
        expect(page.locator(".prediction")).to_have_count(0)
        expect(page.get_by_text("Press Enter to apply")).not_to_be_visible()
        open_upload_tab(page)
        page.set_input_files("input[type=file]", tmp_path / "large.csv")
        expect(page.locator(".callout.error")).to_contain_text("all users together can't exceed 1 MB")
        wait_until_idle(page)  # the redrawn page has a new upload field
        page.set_input_files("input[type=file]", orders)
        wait_until_idle(page)
        _predict(page)
        assert len(_download_frame(page, "parquet")) == len(pl.read_csv(orders, infer_schema=False))
        page.get_by_role("link", name="Data").click()
        expect(page.get_by_role("heading", name="Data", exact=True)).to_be_visible()
        assert page.url.endswith("/team/preptime/data")


def open_dashboard(browser: Browser, dashboard: Server) -> AbstractContextManager[Page]:
    """Open the default page below the prefix, when the dashboard is ready."""
    dashboard.wait_until("/_stcore/health")
    return open_page(browser, f"{dashboard.url}/team/preptime/predict", expected_errors=["503"])


def _predict(page: Page) -> None:
    page.get_by_role("button", name=re.compile(r"Predict \d+ orders")).click()
    page.locator(".metric-cards").wait_for()
    wait_until_idle(page)


def _download_bytes(page: Page, file_format: str) -> bytes:
    with page.expect_download() as waiting:
        page.get_by_text(f"Download as {FORMAT_TITLES[file_format]}").click()
    download = waiting.value
    assert download.suggested_filename == f"orders _bold_ _b_-predictions.{file_format}"
    return Path(download.path()).read_bytes()


def _download_frame(page: Page, file_format: str) -> pl.DataFrame:
    return pl.read_parquet(io.BytesIO(_download_bytes(page, file_format)))


def _metric_values(page: Page) -> list[str]:
    return page.locator(".metric-cards dd").all_inner_texts()


def _assert_same_predictions(remote: pl.DataFrame, expected: pl.DataFrame) -> None:
    assert remote.columns == expected.columns
    for name in (PREDICTED_READY_AT, PREDICTION_REASON, PREDICTION_BUNDLE, "prediction_fallback_level"):
        assert remote[name].to_list() == expected[name].to_list(), name
    for name in expected.columns:
        if name.startswith("predicted_") and name.endswith("_seconds"):
            difference = (remote[name] - expected[name]).abs().max()
            assert isinstance(difference, float)
            assert difference <= 0.001, name
            assert remote[name].null_count() == expected[name].null_count()


def _wait_until_empty(folder: Path) -> None:
    end = time.monotonic() + 60
    while list(folder.glob(f"{FOLDER_PREFIX}*")) and time.monotonic() < end:
        time.sleep(0.2)
    assert list(folder.glob(f"{FOLDER_PREFIX}*")) == []
