"""What the page costs: the first look, a hundred thousand orders, and a file of 200 MB (Linux, needs chromium).

    python -m benchmarks.dashboard                       on demo/models, which `make demo` makes
    python -m benchmarks.dashboard --store models
    python -m benchmarks.dashboard --json                one document instead of the table

A real page and a real browser. The first look is from the address to the drawn page, in a new browser, of a page that
has just started. Answers are timed from the file's upload, and from the button, to the numbers on the page; memory is
the largest that the page's process held, beyond what it held before the upload.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.store import Store
from preptime.scoring.preview import sample_orders
from tests.api.processes import Server
from tests.ui.browser import CHROMIUM_PATH, launch_chromium, open_page, run_dashboard

MANY = 100_000
MOST_BYTES = 200_000_000
_WAIT_MS = 600_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default="demo/models", help="a store with a champion (default: demo/models)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args()
    store = Path(arguments.store).resolve()
    if CHROMIUM_PATH is None or ChampionLog(Store.open(str(store))).current() is None:
        sys.exit(f"This needs chromium and a champion in {store}: `make demo` makes one in demo/models.")
    with tempfile.TemporaryDirectory(prefix="preptime-page-bench-") as name:
        folder = Path(name)
        found: dict[str, float] = {}
        with run_dashboard(folder, PREPTIME_STORE=str(store)) as page:
            page.wait_until("/_stcore/health")
            found["first_look_seconds"] = _first_look(page)
            found["second_look_seconds"] = _first_look(page)
        for label, orders in (("many", _many(folder)), ("most", _most(folder))):
            with run_dashboard(folder, PREPTIME_STORE=str(store)) as page:
                page.wait_until("/_stcore/health")
                found |= {f"{label}_{what}": value for what, value in _answered(page, orders).items()}
    print(json.dumps(found) if arguments.json else _markdown(found))


def _many(folder: Path) -> Path:
    path = folder / "many.csv"
    _orders(MANY).write_csv(path)
    return path


def _most(folder: Path) -> Path:
    path = folder / "most.csv"
    block = _orders(MANY)
    header, rows = block.head(0).write_csv().encode(), block.write_csv(include_header=False).encode()
    with path.open("wb") as file:
        file.write(header)
        while file.tell() + len(rows) <= MOST_BYTES:
            file.write(rows)
    return path


def _orders(rows: int) -> pl.DataFrame:
    """The sample again and again, each order with an id of its own."""
    import datetime as dt

    sample = sample_orders(None, dt.date(2015, 7, 1))
    many = pl.concat([sample] * (rows // len(sample)))
    return many.with_columns(order_id=pl.int_range(pl.len()).cast(pl.String))


def _first_look(page: Server) -> float:
    with launch_chromium() as browser:
        context = browser.new_context()
        window = context.new_page()
        started = time.monotonic()
        window.goto(page.url)
        window.get_by_role("button", name="Try the sample").wait_for()
        return time.monotonic() - started


def _answered(page: Server, orders: Path) -> dict[str, float]:
    with launch_chromium() as browser, open_page(browser, page.url) as window:
        window.set_default_timeout(_WAIT_MS)
        before = _peak_bytes(page)
        started = time.monotonic()
        window.set_input_files("input[type=file]", orders)
        button = window.get_by_role("button", name=re.compile(r"Predict [\d,]+ orders"))
        button.wait_for()
        judged = time.monotonic()
        button.click()
        window.locator(".metric-cards").wait_for()
        done = time.monotonic()
        return {
            "rows": float(pl.scan_csv(orders).select(pl.len()).collect().item()),
            "bytes": float(orders.stat().st_size),
            "judged_seconds": judged - started,
            "answered_seconds": done - judged,
            "memory_bytes": _peak_bytes(page) - before,
            "idle_bytes": before,
        }


def _peak_bytes(page: Server) -> float:
    """The most that the process has held."""
    status = Path(f"/proc/{page.process.pid}/status").read_text(encoding="ascii")
    return 1024 * float(re.findall(r"VmHWM:\s+(\d+) kB", status)[0])


def _markdown(found: dict[str, float]) -> str:
    lines = [
        "| what | measured | bound |",
        "|---|---:|---:|",
        f"| first look at a page that has just started | {found['first_look_seconds']:.1f} s | 3 s |",
        f"| a look after that, in a new browser | {found['second_look_seconds']:.1f} s | 3 s |",
    ]
    for label, bound in (("many", "20 s"), ("most", "")):
        size = f"{found[f'{label}_rows']:,.0f} orders ({found[f'{label}_bytes'] / 1e6:,.0f} MB)"
        lines.append(f"| {size}: uploaded and judged | {found[f'{label}_judged_seconds']:.1f} s | |")
        lines.append(f"| {size}: answered, from the button | {found[f'{label}_answered_seconds']:.1f} s | {bound} |")
    memory, size_mb = found["most_memory_bytes"] / 1e6, found["most_bytes"] / 1e6
    lines.append(f"| memory beyond the idle page's, {size_mb:,.0f} MB | {memory:,.0f} MB | {size_mb + 300:,.0f} MB |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
