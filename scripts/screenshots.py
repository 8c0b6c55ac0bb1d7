"""Pictures of the page in a real browser: every page, wide and narrow, light and dark, for looking at.

    python -m scripts.screenshots                 into build/screenshots, of demo/ (which `make demo` makes)
    python -m scripts.screenshots --docs          and the few that the README and docs/page.md show into docs/images

Chromium is the machine's own (Debian: chromium, fonts-dejavu-core).
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page

from tests.ui.browser import CHROMIUM, OPERATOR_KEY, chromium, looking, page_at, setting, settle
from tests.ui.mornings import add_challenger, mornings

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
WIDTHS = {"wide": 1280, "narrow": 400}
GROUNDS = {"light": False, "dark": True}
MOST_PIXELS = 9_000
"""Height of a picture; a page is not longer."""
COLOURS = 256
"""Enough for a page of text and charts; a third of the size."""
MOST_BYTES = 300_000


@dataclass(frozen=True)
class View:
    """A page, and what is done there before its picture is taken."""

    name: str
    address: str
    act: Callable[[Page], None]


@dataclass(frozen=True)
class Shown:
    """A picture of the README or docs/page.md: which view, how wide, on which ground, and how much of its height."""

    file: str
    view: str
    width: str
    ground: str
    height: int


def main() -> None:
    """Take them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=ROOT / "demo", help="what `make demo` made (default: demo)")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "screenshots", help="folder of the pictures")
    parser.add_argument("--docs", action="store_true", help="write the pictures of the README and docs/page.md too")
    parser.add_argument("--only", help="only views whose name holds this")
    arguments = parser.parse_args()
    if CHROMIUM is None or not (arguments.demo / "models").is_dir():
        sys.exit(f"This needs chromium, and {arguments.demo}/models, which `make demo` makes.")
    arguments.out.mkdir(parents=True, exist_ok=True)
    demo = arguments.demo.resolve()
    settings = {
        # Whoever promotes is asked for a key first: the pictures show that.
        "PREPTIME_OPERATOR_KEYS": setting("olga", OPERATOR_KEY),
        "PREPTIME_ORDERS": str(demo / "data" / "orders.csv"),
        "PREPTIME_RESTAURANTS": str(demo / "data" / "restaurants.csv"),
    }
    with tempfile.TemporaryDirectory(prefix="preptime-pictures-") as folder:
        settings["PREPTIME_RESULTS"] = str(mornings(demo / "results", Path(folder) / "watched"))
        # A copy of the store, with a second bundle to be compared with: what `make demo` made stays as it is.
        store = shutil.copytree(demo / "models", Path(folder) / "models")
        add_challenger(store, demo / "data" / "orders.csv", demo / "data" / "restaurants.csv")
        settings["PREPTIME_STORE"] = str(store)
        with page_at(Path(folder), **settings) as page, chromium() as browser:
            page.wait_until("/_stcore/health")
            for view in VIEWS:
                if not arguments.only or arguments.only in view.name:
                    _take(browser, page.url, view, arguments.out)
    if arguments.docs:
        for shown in SHOWN:
            _write(arguments.out / f"{shown.view}-{shown.width}-{shown.ground}.png", IMAGES / shown.file, shown.height)


def _take(browser: Browser, url: str, view: View, out: Path) -> None:
    for width_name, width in WIDTHS.items():
        for ground, dark in GROUNDS.items():
            with looking(browser, f"{url}{view.address}", width=width, dark=dark) as page:
                view.act(page)
                settle(page)
                tall = int(page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight"))
                page.set_viewport_size({"width": width, "height": min(max(tall, 700), MOST_PIXELS)})
                settle(page)
                page.wait_for_timeout(2_000)  # charts and tables are drawn anew
                path = out / f"{view.name}-{width_name}-{ground}.png"
                page.screenshot(path=path)
                print(path)


def _sample(page: Page) -> None:
    page.get_by_role("button", name="Try the sample").click()
    settle(page)
    page.get_by_role("button", name=re.compile("Predict 48 orders")).click()


def _one(page: Page) -> None:
    page.get_by_role("tab", name="One order").click()


def _dictionary(page: Page) -> None:
    page.get_by_role("tab", name="Data dictionary").click()


def _preview(page: Page) -> None:
    page.get_by_role("button", name="Try the sample").click()
    settle(page)
    for words in ("Preview with verdicts", "rows without a prediction"):
        page.locator("summary").filter(has_text=words).click()


def _at(view: str) -> Callable[[Page], None]:
    """At one of the views that a page offers below its title."""
    return lambda page: page.get_by_role("radio", name=view, exact=True).click()


def _operator(page: Page) -> None:
    _at("Change the champion")(page)
    settle(page)
    page.get_by_role("textbox", name="Operator's key").fill(OPERATOR_KEY)
    page.keyboard.press("Enter")
    settle(page)
    page.get_by_role("textbox", name="Reason").fill("Riders wait in Leeds.")


def _two(page: Page) -> None:
    _at("Side by side")(page)
    page.wait_for_selector(".vega-embed")  # there are two, and they are compared


def _nothing(_: Page) -> None:
    """As it arrives."""


VIEWS = (
    View("predict", "/", _sample),
    View("preview", "/", _preview),
    View("one-order", "/", _one),
    View("dictionary", "/", _dictionary),
    View("models", "/models", _nothing),
    View("one-bundle", "/models", _at("One bundle")),
    View("side-by-side", "/models", _two),
    View("champion-log", "/models", _at("Champion log")),
    View("change-the-champion", "/models", _operator),
    View("data", "/data", _nothing),
    View("data-by-hour", "/data", _at("By time and place")),
    View("data-correlation", "/data", _at("Correlation")),
    View("data-restaurants", "/data", _at("Restaurants")),
    View("data-audit", "/data", _at("Label audit")),
    View("monitoring", "/monitoring", _nothing),
    View("monitoring-by-day", "/monitoring", _at("By day")),
    View("monitoring-ratio", "/monitoring", _at("Longer or shorter")),
    View("monitoring-segments", "/monitoring", _at("By segment")),
    View("monitoring-drift", "/monitoring", _at("Drift")),
    View("monitoring-answers", "/monitoring", _at("Answers and labels")),
)
SHOWN = (
    Shown("page-predict.png", "predict", "wide", "light", 1300),
    Shown("page-one-order.png", "one-order", "wide", "dark", 1300),
    Shown("page-narrow.png", "one-order", "narrow", "light", 1100),
    Shown("page-models.png", "one-bundle", "wide", "light", 1500),
    Shown("page-data.png", "data", "wide", "dark", 1300),
    Shown("page-monitoring.png", "monitoring-by-day", "wide", "light", 1300),
)


def _write(picture: Path, target: Path, height: int) -> None:
    """The upper part of a picture, with fewer colours. Fails when it is still too large for a repository."""
    with Image.open(picture) as whole:
        part = whole.convert("RGB").crop((0, 0, whole.width, min(whole.height, height)))
    content = io.BytesIO()
    part.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        content, "PNG", optimize=True
    )
    if content.tell() > MOST_BYTES:
        sys.exit(f"{target} would have {content.tell():,} bytes; {MOST_BYTES:,} are the most.")
    target.write_bytes(content.getvalue())
    print(target)


if __name__ == "__main__":
    main()
