"""Measures the dashboard: page loads, a file of 100,000 orders, and a file of 200 MB. Requires Linux and Chromium.

    python -m benchmarks.dashboard                       with the store demo/models from `make demo`
    python -m benchmarks.dashboard --store models
    python -m benchmarks.dashboard --json                a JSON document instead of the table

The dashboard and the browser are real processes. A page load is measured in a new browser, from the request to the
drawn page. Validation is measured from the upload to the button, prediction from the button to the metrics. Memory is
the peak of the dashboard's process, minus its peak before the upload.
"""

from __future__ import annotations

import argparse
import datetime as dt
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
from tests.ui.browser import CHROMIUM_PATH, launch_chromium, open_page, open_upload_tab, run_dashboard

LARGE_FILE_ORDERS = 100_000
MAX_FILE_BYTES = 200_000_000
_WAIT_MS = 600_000


def main() -> None:
    """Measure and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default="demo/models", help="a store with a champion (default: demo/models)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args()
    store = Path(arguments.store).resolve()
    if CHROMIUM_PATH is None or ChampionLog(Store.open(str(store))).current() is None:
        sys.exit(f"Chromium or a champion in {store} is missing. To create a champion in demo/models, run `make demo`.")
    with tempfile.TemporaryDirectory(prefix="preptime-dashboard-benchmark-") as temporary_folder:
        folder = Path(temporary_folder)
        results: dict[str, float] = {}
        with run_dashboard(folder, PREPTIME_STORE=str(store)) as dashboard:
            dashboard.wait_until("/_stcore/health")
            results["first_load_seconds"] = _load_seconds(dashboard)
            results["second_load_seconds"] = _load_seconds(dashboard)
        for label, orders in (("large", _write_large_file(folder)), ("maximum", _write_maximum_file(folder))):
            with run_dashboard(folder, PREPTIME_STORE=str(store)) as dashboard:
                dashboard.wait_until("/_stcore/health")
                results |= {f"{label}_{name}": value for name, value in _measure_file(dashboard, orders).items()}
    print(json.dumps(results) if arguments.json else _render_table(results))


def _write_large_file(folder: Path) -> Path:
    path = folder / "large.csv"
    _make_orders(LARGE_FILE_ORDERS).write_csv(path)
    return path


def _write_maximum_file(folder: Path) -> Path:
    path = folder / "maximum.csv"
    block = _make_orders(LARGE_FILE_ORDERS)
    header, rows = block.head(0).write_csv().encode(), block.write_csv(include_header=False).encode()
    with path.open("wb") as file:
        file.write(header)
        while file.tell() + len(rows) <= MAX_FILE_BYTES:
            file.write(rows)
    return path


def _make_orders(rows: int) -> pl.DataFrame:
    """Return the sample orders repeatedly, each with its own ID."""
    sample = sample_orders(None, dt.date(2015, 7, 1))
    orders = pl.concat([sample] * (rows // len(sample)))
    return orders.with_columns(order_id=pl.int_range(pl.len()).cast(pl.String))


def _load_seconds(dashboard: Server) -> float:
    with launch_chromium() as browser:
        context = browser.new_context()
        window = context.new_page()
        started = time.monotonic()
        window.goto(dashboard.url)
        window.locator(".prediction").wait_for()
        return time.monotonic() - started


def _measure_file(dashboard: Server, orders: Path) -> dict[str, float]:
    with launch_chromium() as browser, open_page(browser, dashboard.url) as window:
        window.set_default_timeout(_WAIT_MS)
        open_upload_tab(window)
        idle_bytes = _peak_bytes(dashboard)
        started = time.monotonic()
        window.set_input_files("input[type=file]", orders)
        button = window.get_by_role("button", name=re.compile(r"Predict [\d,]+ orders"))
        button.wait_for()
        validated = time.monotonic()
        button.click()
        window.locator(".metric-cards").wait_for()
        predicted = time.monotonic()
        return {
            "rows": float(pl.scan_csv(orders).select(pl.len()).collect().item()),
            "bytes": float(orders.stat().st_size),
            "validation_seconds": validated - started,
            "prediction_seconds": predicted - validated,
            "memory_bytes": _peak_bytes(dashboard) - idle_bytes,
            "idle_bytes": idle_bytes,
        }


def _peak_bytes(dashboard: Server) -> float:
    """Return the peak memory of the process."""
    status = Path(f"/proc/{dashboard.process.pid}/status").read_text(encoding="ascii")
    return 1024 * float(re.findall(r"VmHWM:\s+(\d+) kB", status)[0])


def _render_table(results: dict[str, float]) -> str:
    lines = [
        "| Measurement | Result | Limit |",
        "|---|---:|---:|",
        f"| First page load after the start | {results['first_load_seconds']:.1f} s | 3 s |",
        f"| Page load in a new browser | {results['second_load_seconds']:.1f} s | 3 s |",
    ]
    for label, limit in (("large", "20 s"), ("maximum", "")):
        size = f"{results[f'{label}_rows']:,.0f} orders ({results[f'{label}_bytes'] / 1e6:,.0f} MB)"
        lines.append(f"| {size}: upload and validation | {results[f'{label}_validation_seconds']:.1f} s | |")
        lines.append(f"| {size}: prediction | {results[f'{label}_prediction_seconds']:.1f} s | {limit} |")
    memory, size_mb = results["maximum_memory_bytes"] / 1e6, results["maximum_bytes"] / 1e6
    lines.append(f"| Additional memory for {size_mb:,.0f} MB | {memory:,.0f} MB | {size_mb + 300:,.0f} MB |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
