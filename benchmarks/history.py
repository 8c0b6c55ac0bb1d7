"""What a history of many orders costs: from parquet partitions, one a day, to the finished history.

    python benchmarks/history.py                    10,000,000 orders
    python benchmarks/history.py --orders 1000000   another number
    python benchmarks/history.py --json             one document instead of the table

Orders are synthesized into a temporary folder; the synthesizer's default gives 10 million of them 524,000 restaurants.
Each case is measured in a process of its own, so that its peak memory is its own. "repeated" has one order in a
thousand again in the next day's partition; "far apart" has one of the first day's in the last one as well, for which
the table is read twice (see `preptime.training.refresh`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

# Only the standard library up here: a process's peak memory counts from what its parent held when starting it.

ORDERS = 10_000_000
REPEATED = 1_000
"""One order in so many comes again the day after."""
CASES = ("once", "repeated", "far apart")


def main() -> None:
    """Measure every case and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=ORDERS, help="how many orders (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        name, folder, *more = arguments.step
        if name == "make":
            _make(Path(folder), int(more[0]))
        else:
            print(json.dumps(_measure(Path(folder), more[0])))
        return
    with tempfile.TemporaryDirectory(prefix="preptime-history-") as name:
        _in_a_process("make", name, str(arguments.orders))
        results = [json.loads(_in_a_process("measure", name, case)) for case in CASES]
    print(json.dumps({"cpus": os.cpu_count(), "results": results}) if arguments.json else _markdown(results))


def _in_a_process(*step: str) -> str:
    command = [sys.executable, __file__, "--step", *step]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout


def _make(folder: Path, rows: int) -> None:
    """`restaurants.parquet` and for each case a folder of partitions, one a day of acknowledgement (UTC)."""
    import polars as pl

    from preptime.synthetic import SynthesisPlan, synthesize_frames

    orders, restaurants, _ = synthesize_frames(SynthesisPlan(orders=rows))
    restaurants.write_parquet(folder / "restaurants.parquet")
    days = orders.with_columns(day=pl.col("order_acknowledged_at").dt.date()).partition_by("day", include_key=False)
    again = pl.DataFrame(schema=orders.schema)
    for case in CASES:
        (folder / case).mkdir()
    for number, day in enumerate(days):
        name = f"{number:03}.parquet"
        day.write_parquet(folder / CASES[0] / name, compression="zstd", compression_level=1)
        more = pl.concat([again, day])
        more.write_parquet(folder / CASES[1] / name, compression="zstd", compression_level=1)
        far = days[0].head(1) if number == len(days) - 1 else days[0].clear()
        pl.concat([more, far]).write_parquet(folder / CASES[2] / name, compression="zstd", compression_level=1)
        again = day.gather_every(REPEATED)


def _measure(folder: Path, case: str) -> dict[str, str | float]:
    """Build the history of the morning after the last order once, from files, with everything imported."""
    import datetime as dt
    import time

    from preptime.features.history import build_history
    from preptime.sources.registry import open_source
    from preptime.synthetic import SynthesisPlan
    from preptime.training.refresh import stream_history_state
    from preptime.validation.restaurants import read_restaurants

    # Past every order, labels of days included, and near enough that recency counts.
    morning = SynthesisPlan().start + dt.timedelta(days=SynthesisPlan().days + 5)
    wall, cpu = time.perf_counter(), time.process_time()
    directory = read_restaurants(open_source(folder / "restaurants.parquet").frame())
    table = open_source(folder / case)
    state = stream_history_state(table, directory, morning)
    counted = time.perf_counter()
    history = build_history(state, directory, morning)
    end = time.perf_counter()
    return {
        "case": case,
        "orders": int(state.orders.sum()),
        "restaurants": len(directory),
        "partitions": len(table.partitions()),
        "count_seconds": round(counted - wall, 2),
        "finish_seconds": round(end - counted, 2),
        "seconds": round(end - wall, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "history_mb": round(sum(array.nbytes for array in history.arrays().values()) / 1e6),
        "peak_mb": _peak_mb(),
    }


def _peak_mb() -> float:
    """Peak resident memory of this process; NaN where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)


def _markdown(results: list[dict[str, str | float]]) -> str:
    lines = [
        f"From parquet partitions to a finished history, {os.cpu_count()} processors.",
        "",
        "| orders | restaurants | partitions | each order | read, count | finish | all | processor | peak memory |",
        "|---:|---:|---:|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {one['orders']:,} | {one['restaurants']:,} | {one['partitions']} | {one['case']} "
        f"| {one['count_seconds']:.1f} s | {one['finish_seconds']:.1f} s | {one['seconds']:.1f} s "
        f"| {one['cpu_seconds']:.1f} s | {one['peak_mb']:,} MB |"
        for one in results
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
