"""Time and memory of `preptime schema infer` on 10 million orders.

    python -m benchmarks.schema_inference             10,000,000 orders
    python -m benchmarks.schema_inference --rows N    another number
    python -m benchmarks.schema_inference --json      one JSON document instead of the table

Orders are written as CSV and as Parquet to a temporary folder. Each command runs in a new process. Its memory is the
largest resident set that Linux measured, which includes Python and all libraries.

Limits: 10 s and 500 MB for any number of rows, because the command reads a sample. If a limit is exceeded, the exit
status is 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

ROWS = 10_000_000
MAX_SECONDS = 10.0
MAX_MEGABYTES = 500.0
BLOCK_ROWS = 500_000
START_SECONDS = 1_425_168_000
"""2015-03-01 00:00 UTC."""
MEASURED = """
import json, re, sys, time
from pathlib import Path
from preptime.cli import main
start = time.perf_counter()
status = main(sys.argv[1:])
seconds = time.perf_counter() - start
peak = re.search(r"VmHWM:\\s+([0-9]+) kB", Path("/proc/self/status").read_text())
print(json.dumps([status, seconds, int(peak[1]) * 1024 / 1e6]), file=sys.stderr)
"""
"""Linux only. `getrusage` would include the memory of this process, which starts the command."""


def main() -> None:
    """Measure both formats, and print the table. The exit status is 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS, help="number of orders")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="preptime-schema-") as name:
        figures = [measure(path) for path in write_orders(Path(name), arguments.rows)]
    if arguments.json:
        print(json.dumps({"rows": arguments.rows, "figures": [asdict(figure) for figure in figures]}))
    else:
        print(f"| {arguments.rows:,} orders | file, MB | rows read | seconds | memory, MB |\n|---|---:|---:|---:|---:|")
        print("\n".join(figure.row() for figure in figures))
    exceeded = [figure for figure in figures if figure.seconds > MAX_SECONDS or figure.megabytes > MAX_MEGABYTES]
    if exceeded:
        raise SystemExit(f"Expected at most {MAX_SECONDS:g} s and {MAX_MEGABYTES:g} MB, got {exceeded}.")


def write_orders(folder: Path, rows: int) -> tuple[Path, Path]:
    """Write orders of a company with eleven columns, block by block, as CSV and as Parquet."""
    csv, parquet = folder / "orders.csv", folder / "orders.parquet"
    with csv.open("wb") as file:
        for start in range(0, rows, BLOCK_ROWS):
            _block(start, min(BLOCK_ROWS, rows - start)).write_csv(file, include_header=start == 0)
    pl.scan_csv(csv).sink_parquet(parquet, row_group_size=BLOCK_ROWS // 2)
    return csv, parquet


def _block(start: int, rows: int) -> pl.DataFrame:
    row = pl.int_range(start, start + rows)
    # From 10:00 to 22:00 in Los Angeles, 50,000 orders a day.
    created = (START_SECONDS + row // 50_000 * 86_400 + 18 * 3600 + row * 7919 % 43_200).cast(pl.Int64)
    delivered = created + 1200 + row * 104_729 % 3000
    pattern = "%Y-%m-%d %H:%M:%S"
    return pl.select(
        id=row,
        market_id=row % 6,
        created_at=pl.from_epoch(created, "s").dt.strftime(pattern),
        actual_delivery_time=pl.from_epoch(delivered, "s").dt.strftime(pattern),
        store_id=row * 31 % 5_003,
        store_primary_category=pl.concat_str(pl.lit("food "), row % 40),
        total_items=row % 7 + 1,
        subtotal=900 + row * 17 % 4_000,
        total_onshift_dashers=pl.when(row % 14 == 0).then(None).otherwise(row % 150),
        estimated_driving_duration=row * 13 % 1_000,
        order_protocol=row % 6 + 1,
    )


@dataclass(frozen=True)
class Figures:
    """One run."""

    format: str
    file_megabytes: float
    rows_read: int
    seconds: float
    megabytes: float

    def row(self) -> str:
        """Return the row of the table."""
        cells = (f"{self.file_megabytes:,.0f}", f"{self.rows_read:,}", f"{self.seconds:.1f}", f"{self.megabytes:.0f}")
        return f"| {self.format} | {' | '.join(cells)} |"


def measure(orders: Path) -> Figures:
    """Return the figures of one run."""
    arguments = ("schema", "infer", str(orders), "--time-zone", "America/Los_Angeles", "--yes", "--json")
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *arguments], capture_output=True, encoding="utf-8", check=True
    )
    status, seconds, megabytes = json.loads(done.stderr.splitlines()[-1])
    document = json.loads(done.stdout)
    if status or document["open"]:
        raise SystemExit(f"The schema of {orders} isn't complete: {document['open']}")
    return Figures(orders.suffix[1:], orders.stat().st_size / 1e6, document["rows"], seconds, megabytes)


if __name__ == "__main__":
    main()
