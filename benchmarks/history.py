"""Time and memory for building a history of many orders from daily Parquet partitions.

    python -m benchmarks.history                    10,000,000 orders
    python -m benchmarks.history --orders 1000000   another number
    python -m benchmarks.history --json             one JSON document instead of the table

Orders are synthesized to a temporary folder. 10 million orders have 524,000 restaurants by default. Each case runs in a
new process, so that its peak memory is its own. In "repeated", one order in a thousand is repeated in the partition of
the next day. In "far apart", the last partition also contains an order of the first day, so the partitions are read
twice (see `preptime.training.refresh`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.peak_memory import peak_mb

# Only the standard library here: the peak memory of a process includes the memory of its parent when it starts.

ORDERS = 10_000_000
REPEATED = 1_000
"""One order in this many is repeated on the next day."""
CASES = ("once", "repeated", "far apart")


def main() -> None:
    """Measure every case, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=ORDERS, help="number of orders (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        name, folder, *step_arguments = arguments.step
        if name == "make":
            _write_inputs(Path(folder), int(step_arguments[0]))
        else:
            print(json.dumps(_measure(Path(folder), step_arguments[0])))
        return
    with tempfile.TemporaryDirectory(prefix="preptime-history-") as name:
        _run_step("make", name, str(arguments.orders))
        results = [json.loads(_run_step("measure", name, case)) for case in CASES]
    print(json.dumps({"cpus": os.cpu_count(), "results": results}) if arguments.json else _markdown(results))


def _run_step(*step: str) -> str:
    command = [sys.executable, "-m", "benchmarks.history", "--step", *step]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout


def _write_inputs(folder: Path, rows: int) -> None:
    """Write `restaurants.parquet`, and for each case a folder of partitions by day of acknowledgement (UTC)."""
    import polars as pl

    from preptime.synthetic import SynthesisPlan, synthesize_frames

    orders, restaurants, _ = synthesize_frames(SynthesisPlan(orders=rows))
    restaurants.write_parquet(folder / "restaurants.parquet")
    days = orders.with_columns(day=pl.col("order_acknowledged_at").dt.date()).partition_by("day", include_key=False)
    repeated_orders = pl.DataFrame(schema=orders.schema)
    for case in CASES:
        (folder / case).mkdir()
    for number, day in enumerate(days):
        name = f"{number:03}.parquet"
        day.write_parquet(folder / CASES[0] / name, compression="zstd", compression_level=1)
        partition = pl.concat([repeated_orders, day])
        partition.write_parquet(folder / CASES[1] / name, compression="zstd", compression_level=1)
        far = days[0].head(1) if number == len(days) - 1 else days[0].clear()
        pl.concat([partition, far]).write_parquet(folder / CASES[2] / name, compression="zstd", compression_level=1)
        repeated_orders = day.gather_every(REPEATED)


def _measure(folder: Path, case: str) -> dict[str, str | float]:
    """Build the history as of the day after the last order, from files, with all modules imported."""
    import datetime as dt
    import time

    from preptime.features.shrinkage import build_history
    from preptime.sources.registry import open_source
    from preptime.synthetic import SynthesisPlan
    from preptime.training.refresh import stream_history
    from preptime.validation.restaurants import read_restaurants

    # After every order, including labels of days, and close enough that recent orders have weight.
    as_of = SynthesisPlan().start + dt.timedelta(days=SynthesisPlan().days + 5)
    wall, cpu = time.perf_counter(), time.process_time()
    restaurant_index = read_restaurants(open_source(folder / "restaurants.parquet").frame())
    source = open_source(folder / case)
    state = stream_history(source, restaurant_index, as_of).state
    counted = time.perf_counter()
    history = build_history(state, restaurant_index, as_of)
    end = time.perf_counter()
    return {
        "case": case,
        "orders": int(state.orders.sum()),
        "restaurants": len(restaurant_index),
        "partitions": len(source.partitions()),
        "count_seconds": round(counted - wall, 2),
        "finish_seconds": round(end - counted, 2),
        "seconds": round(end - wall, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "history_mb": round(sum(array.nbytes for array in history.arrays().values()) / 1e6),
        "peak_mb": peak_mb(),
    }


def _markdown(results: list[dict[str, str | float]]) -> str:
    lines = [
        f"From Parquet partitions to a history, {os.cpu_count()} processors.",
        "",
        "| orders | restaurants | partitions | case | read and count | finish | total | CPU | peak memory |",
        "|---:|---:|---:|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {result['orders']:,} | {result['restaurants']:,} | {result['partitions']} | {result['case']} "
        f"| {result['count_seconds']:.1f} s | {result['finish_seconds']:.1f} s | {result['seconds']:.1f} s "
        f"| {result['cpu_seconds']:.1f} s | {result['peak_mb']:,} MB |"
        for result in results
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
