"""Time for loading a million orders into PostgreSQL, and for reading them.

    python -m benchmarks.ingest             1,000,000 orders
    python -m benchmarks.ingest --rows N    another number
    python -m benchmarks.ingest --json      one JSON document instead of the table

Orders are synthesized as CSV. The server is the one that the tests start, on this machine, with its default settings
(committed data is on the disk). Server and client share the cores. Each step runs the command.

Limit: a million orders must be in an empty database within 60 seconds. More orders get proportionally more time, fewer
orders get the same time. If loading takes longer, the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from preptime.sources.registry import open_source
from tests.postgres import run_postgres

ROWS = 1_000_000
DAYS = 60
MAX_SECONDS = 60
"""Limit for `ROWS` orders or fewer, into an empty database."""
LOADED = "`preptime ingest` of a CSV file into an empty database"
PREPTIME = (sys.executable, "-c", "import sys; from preptime.cli import main; sys.exit(main())")


def main() -> None:
    """Measure every step, and print the table. The exit status is 1 if loading takes longer than the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS, help="number of orders")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="preptime-ingest-") as name:
        seconds = _measure(Path(name), arguments.rows)
    if arguments.json:
        print(json.dumps({"rows": arguments.rows, "seconds": seconds}))
    else:
        print(f"| {arguments.rows:,} orders of {DAYS} days | seconds |\n|---|---:|")
        for step, step_seconds in seconds.items():
            print(f"| {step} | {step_seconds:.0f} |")
    max_seconds = MAX_SECONDS * max(1.0, arguments.rows / ROWS)
    if seconds[LOADED] > max_seconds:
        raise SystemExit(f"{LOADED} took {seconds[LOADED]:.1f} s, expected at most {max_seconds:g} s.")


def _measure(folder: Path, rows: int) -> dict[str, float]:
    """Return the seconds of each step."""
    _preptime("synthesize", "--out", str(folder), "--orders", str(rows), "--days", str(DAYS))
    orders, seconds_by_step = str(folder / "orders.csv"), {}
    with run_postgres(folder / "postgres", durable=True) as server:
        url = server.create()
        _preptime("ingest", "--restaurants", str(folder / "restaurants.csv"), "--to", url)
        load = ("ingest", orders, "--to", url, "--rejects", str(folder / "rejects.csv"))
        seconds_by_step[LOADED] = _timed(load)
        seconds_by_step["loading the same file again, which changes nothing"] = _timed(load)
        start = time.perf_counter()
        read = sum(len(chunk) for chunk in open_source(url).batches(50_000))
        seconds_by_step["reading all orders, in chunks of 50,000"] = time.perf_counter() - start
        if read != rows:
            raise SystemExit(f"Read {read:,} of {rows:,} orders.")
    return seconds_by_step


def _timed(arguments: tuple[str, ...]) -> float:
    start = time.perf_counter()
    _preptime(*arguments)
    return time.perf_counter() - start


def _preptime(*arguments: str) -> None:
    subprocess.run([*PREPTIME, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
