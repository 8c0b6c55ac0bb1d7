"""What loading a million orders into PostgreSQL costs, and reading them back.

    python -m benchmarks.ingest             1,000,000 orders
    python -m benchmarks.ingest --rows N    another number
    python -m benchmarks.ingest --json      one document instead of the table

Orders are synthesized as csv; the server is the one that the tests start for themselves, on this machine, with its
ordinary settings (what is committed is on the disk), so both cores are shared by server and client. Each step is the
command as it is called.

The bound: a million orders are in an empty database within 60 seconds; more in proportion, fewer within the same.
Beyond that the exit status is 1, after the figures.
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
MOST_SECONDS = 60
"""For `ROWS` orders, or fewer, into an empty database."""
LOADED = "`preptime ingest` of a csv into an empty database"
PREPTIME = (sys.executable, "-c", "import sys; from preptime.cli import main; sys.exit(main())")


def main() -> None:
    """Measure every step and print what came out; exit status 1 when loading takes longer than the bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS, help="how many orders")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="preptime-ingest-") as name:
        seconds = _measured(Path(name), arguments.rows)
    if arguments.json:
        print(json.dumps({"rows": arguments.rows, "seconds": seconds}))
    else:
        print(f"| {arguments.rows:,} orders of {DAYS} days | seconds |\n|---|---:|")
        for step, took in seconds.items():
            print(f"| {step} | {took:.0f} |")
    most = MOST_SECONDS * max(1.0, arguments.rows / ROWS)
    if seconds[LOADED] > most:
        raise SystemExit(f"{LOADED} took {seconds[LOADED]:.1f} s, expected at most {most:g} s.")


def _measured(folder: Path, rows: int) -> dict[str, float]:
    """Seconds by step."""
    _preptime("synthesize", "--out", str(folder), "--orders", str(rows), "--days", str(DAYS))
    orders, found = str(folder / "orders.csv"), {}
    with run_postgres(folder / "postgres", durable=True) as server:
        url = server.create()
        _preptime("ingest", "--restaurants", str(folder / "restaurants.csv"), "--to", url)
        load = ("ingest", orders, "--to", url, "--rejects", str(folder / "rejects.csv"))
        found[LOADED] = _timed(load)
        found["the same file again, which changes nothing"] = _timed(load)
        start = time.perf_counter()
        read = sum(len(chunk) for chunk in open_source(url).batches(50_000))
        found["reading them all, in chunks of 50,000"] = time.perf_counter() - start
        if read != rows:
            raise SystemExit(f"{read:,} of {rows:,} orders came back")
    return found


def _timed(words: tuple[str, ...]) -> float:
    start = time.perf_counter()
    _preptime(*words)
    return time.perf_counter() - start


def _preptime(*words: str) -> None:
    subprocess.run([*PREPTIME, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
