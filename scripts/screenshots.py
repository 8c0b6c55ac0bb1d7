"""Takes screenshots of a training report and of every dashboard page: wide and narrow, light and dark.

    python -m scripts.screenshots                 writes them to build/screenshots, from demo/ (see `make demo`)
    python -m scripts.screenshots --docs          also updates the images of the README and the docs

Requires Chromium (Debian packages: chromium, fonts-dejavu-core).
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page

from tests.ui.browser import (
    CHROMIUM_PATH,
    OPERATOR_KEY,
    key_entry,
    launch_chromium,
    open_page,
    run_dashboard,
    wait_until_idle,
)
from tests.ui.daily_results import add_challenger, find_or_make_results

ROOT = Path(__file__).resolve().parent.parent
DOCS_IMAGES_DIR = ROOT / "docs" / "images"
VIEWPORT_WIDTHS = {"wide": 1280, "narrow": 400}
THEMES = {"light": False, "dark": True}
MAX_HEIGHT_PIXELS = 9_000
"""Maximum height of a screenshot. No page is longer."""
COLOR_COUNT = 256
"""Colors of an image in the docs. Enough for text and charts, at a third of the size."""
MAX_IMAGE_BYTES = 300_000
REPORT_SCREENSHOT = "report-wide-light"
"""The name of the screenshot of a training report."""


@dataclass(frozen=True)
class View:
    """A page, and the actions before its screenshot."""

    name: str
    path: str
    prepare: Callable[[Page], None]


@dataclass(frozen=True)
class DocsImage:
    """An image of the README or the docs: a screenshot, cropped to `height` pixels."""

    file: str
    view: str
    width: str
    theme: str
    height: int


def main() -> None:
    """Take all screenshots."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=ROOT / "demo", help="the folder from `make demo` (default: demo)")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "build" / "screenshots", help="output folder (default: build/screenshots)"
    )
    parser.add_argument("--docs", action="store_true", help="also update the images of the README and the docs")
    parser.add_argument("--only", help="only views whose name contains this text")
    arguments = parser.parse_args()
    if CHROMIUM_PATH is None or not (arguments.demo / "models").is_dir():
        sys.exit(f"Chromium or {arguments.demo}/models is missing. To create the store, run `make demo`.")
    arguments.out.mkdir(parents=True, exist_ok=True)
    demo = arguments.demo.resolve()
    settings = {
        # The screenshots show the operator key field.
        "PREPTIME_OPERATOR_KEYS": key_entry("olga", OPERATOR_KEY),
        "PREPTIME_ORDERS": str(demo / "data" / "orders.csv"),
        "PREPTIME_RESTAURANTS": str(demo / "data" / "restaurants.csv"),
    }
    with tempfile.TemporaryDirectory(prefix="preptime-screenshots-") as temporary_folder:
        settings["PREPTIME_RESULTS"] = str(find_or_make_results(demo / "results", Path(temporary_folder) / "monitored"))
        # A copy of the demo store, with a second bundle for comparisons.
        store = shutil.copytree(demo / "models", Path(temporary_folder) / "models")
        add_challenger(store, demo / "data" / "orders.csv", demo / "data" / "restaurants.csv")
        settings["PREPTIME_STORE"] = str(store)
        with run_dashboard(Path(temporary_folder), **settings) as dashboard, launch_chromium() as browser:
            dashboard.wait_until("/_stcore/health")
            for view in VIEWS:
                if not arguments.only or arguments.only in view.name:
                    _take_screenshots(browser, dashboard.url, view, arguments.out)
            _take_report_screenshot(browser, demo / "models", arguments.out / f"{REPORT_SCREENSHOT}.png")
    if arguments.docs:
        for docs_image in DOCS_IMAGES:
            _write_docs_image(
                arguments.out / f"{docs_image.view}-{docs_image.width}-{docs_image.theme}.png",
                DOCS_IMAGES_DIR / docs_image.file,
                docs_image.height,
            )


def _take_screenshots(browser: Browser, url: str, view: View, out: Path) -> None:
    for width_name, width in VIEWPORT_WIDTHS.items():
        for theme, dark in THEMES.items():
            with open_page(browser, f"{url}{view.path}", width=width, dark=dark) as page:
                view.prepare(page)
                wait_until_idle(page)
                content_height = _wait_for_content_height(page)
                page.set_viewport_size({"width": width, "height": min(max(content_height, 700), MAX_HEIGHT_PIXELS)})
                wait_until_idle(page)
                page.wait_for_timeout(2_000)  # charts and tables are drawn again
                _raise_if_broken(page, view)
                path = out / f"{view.name}-{width_name}-{theme}.png"
                page.screenshot(path=path)
                print(path)


def _take_report_screenshot(browser: Browser, store: Path, path: Path) -> None:
    """Take a screenshot of the report of the store's newest bundle."""
    report = max(store.glob("bundles/*/report.html"))
    with closing(browser.new_page(viewport={"width": VIEWPORT_WIDTHS["wide"], "height": 700})) as page:
        page.goto(report.resolve().as_uri())
        page.screenshot(path=path, full_page=True)
    print(path)


def _raise_if_broken(page: Page, view: View) -> None:
    """Stop if a part of the page didn't load, which happens on a busy machine."""
    if page.get_by_text("Failed to fetch dynamically imported module").count():
        raise RuntimeError(f"A part of the view {view.name} didn't load. Run the script again.")


def _wait_for_content_height(page: Page) -> int:
    """Return the height of the content when it no longer changes. On a busy machine, charts appear late."""
    previous_height, height = -1, 0
    while height != previous_height:
        page.wait_for_timeout(2_000)
        previous_height, height = (
            height,
            int(page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")),
        )
    return height


def _predict_sample(page: Page) -> None:
    _use_sample(page)
    page.get_by_role("button", name=re.compile("Predict 48 orders")).click()


def _use_sample(page: Page) -> None:
    page.get_by_role("tab", name="Upload a file").click()
    wait_until_idle(page)
    page.get_by_role("button", name="Try the sample").click()
    wait_until_idle(page)


def _open_data_dictionary(page: Page) -> None:
    page.get_by_role("tab", name="Data dictionary").click()


def _open_previews(page: Page) -> None:
    _use_sample(page)
    for label in ("Preview with validation results", "rows without a prediction"):
        page.locator("summary").filter(has_text=label).click()


def _open_view(view: str) -> Callable[[Page], None]:
    """Return an action that selects a view."""
    return lambda page: page.get_by_role("radio", name=view, exact=True).click()


def _fill_promotion_form(page: Page) -> None:
    _open_view("Change the champion")(page)
    wait_until_idle(page)
    page.get_by_role("textbox", name="Operator key").fill(OPERATOR_KEY)
    page.keyboard.press("Enter")
    wait_until_idle(page)
    page.get_by_role("textbox", name="Reason").fill("Couriers wait in Leeds.")


def _open_bundle_comparison(page: Page) -> None:
    _open_view("Compare bundles")(page)
    page.wait_for_selector(".vega-embed")  # the store has two bundles to compare


def _no_action(_: Page) -> None:
    """Do nothing."""


VIEWS = (
    View("predict", "/", _predict_sample),
    View("preview", "/", _open_previews),
    View("one-order", "/", _no_action),
    View("dictionary", "/", _open_data_dictionary),
    View("models", "/models", _no_action),
    View("bundle-details", "/models", _open_view("Bundle details")),
    View("bundle-comparison", "/models", _open_bundle_comparison),
    View("champion-log", "/models", _open_view("Champion log")),
    View("change-the-champion", "/models", _fill_promotion_form),
    View("data", "/data", _no_action),
    View("data-by-hour", "/data", _open_view("By time and category")),
    View("data-correlation", "/data", _open_view("Correlation")),
    View("data-restaurants", "/data", _open_view("Restaurants")),
    View("data-audit", "/data", _open_view("Label audit")),
    View("monitoring", "/monitoring", _no_action),
    View("monitoring-by-day", "/monitoring", _open_view("By day")),
    View("monitoring-ratio", "/monitoring", _open_view("Actual vs. predicted")),
    View("monitoring-segments", "/monitoring", _open_view("By segment")),
    View("monitoring-drift", "/monitoring", _open_view("Drift")),
    View("monitoring-predictions", "/monitoring", _open_view("Predictions and labels")),
)
DOCS_IMAGES = (
    DocsImage("dashboard-predict.png", "predict", "wide", "light", 1470),
    DocsImage("dashboard-one-order.png", "one-order", "wide", "dark", 1430),
    DocsImage("dashboard-narrow.png", "one-order", "narrow", "light", 1150),
    DocsImage("dashboard-models.png", "bundle-details", "wide", "light", 1490),
    DocsImage("dashboard-data.png", "data", "wide", "dark", 1400),
    DocsImage("dashboard-monitoring.png", "monitoring-by-day", "wide", "light", 1280),
    DocsImage("report.png", "report", "wide", "light", 2515),
)


def _write_docs_image(screenshot: Path, target: Path, height: int) -> None:
    """Write the upper part of a screenshot with fewer colors. Fails if it's larger than `MAX_IMAGE_BYTES`."""
    with Image.open(screenshot) as image:
        cropped = image.convert("RGB").crop((0, 0, image.width, min(image.height, height)))
    png = io.BytesIO()
    cropped.quantize(COLOR_COUNT, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        png, "PNG", optimize=True
    )
    if png.tell() > MAX_IMAGE_BYTES:
        sys.exit(f"{target} would have {png.tell():,} bytes. The maximum is {MAX_IMAGE_BYTES:,}.")
    target.write_bytes(png.getvalue())
    print(target)


if __name__ == "__main__":
    main()
