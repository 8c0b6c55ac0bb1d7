"""Time and memory of a restaurant index with a million restaurants, by kind of identifier.

    python benchmarks/restaurant_ids.py                       1,000,000 restaurants
    python benchmarks/restaurant_ids.py --restaurants 10000   another number
    python benchmarks/restaurant_ids.py --json                one JSON document instead of the table

Each kind runs in a new process. A lookup is what a request needs: the identifier in JSON becomes a key
(`parse_restaurant_id`), and the key a position (`RestaurantIndex.position`). A process keeps the keys of the latest
texts, so it finds a text again faster than the first time. Memory is that of the index, including its
lookup tables. Times are processor times. The row "as before" is the lookup of integers before identifiers became text:
a range check and the same table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from preptime.features.restaurant_index import RestaurantIndex

RESTAURANTS = 1_000_000
LOOKUPS = 10_000
REPEATS = 15
KINDS = {
    "as before": "integers, as before",
    "integers": "integers",
    "large": "integers of 18 digits",
    "uuid": "UUIDs as text",
    "new uuid": "UUIDs as text, the first time",
}


def main() -> None:
    """Measure every kind of identifier, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--restaurants", type=int, default=RESTAURANTS, help="number (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--kind", choices=KINDS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.kind:
        print(json.dumps(_measure(arguments.kind, arguments.restaurants)))
        return
    results = {kind: _run(kind, arguments.restaurants) for kind in KINDS}
    print(json.dumps(results) if arguments.json else _markdown(results, arguments.restaurants))


def _run(kind: str, restaurants: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--kind", kind, "--restaurants", str(restaurants)]
    result: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return result


def _measure(kind: str, restaurants: int) -> dict[str, float]:
    import numpy as np
    import polars as pl

    from preptime.domain import restaurant_ids
    from preptime.validation.restaurants import read_restaurants

    rng = np.random.default_rng(1)
    if kind.endswith("uuid"):
        digits = rng.bytes(16 * restaurants).hex()
        ids = [f"{digits[at : at + 8]}-{digits[at + 8 : at + 32]}" for at in range(0, len(digits), 32)]
    else:
        ids = (rng.choice(10**18, restaurants, replace=False) if kind == "large" else np.arange(restaurants)).tolist()
    frame = pl.DataFrame({"restaurant_id": ids}).with_columns(
        country=pl.lit("UK"), city=pl.lit("London"), type_of_food=pl.lit("thai")
    )
    start = time.process_time()
    index = read_restaurants(frame)
    build_seconds = time.process_time() - start
    wanted = [ids[row] for row in rng.integers(0, restaurants, LOOKUPS).tolist()]
    parse = _parse_as_before if kind == "as before" else restaurant_ids.parse_restaurant_id
    seconds = []
    for _ in range(REPEATS):
        if kind == "new uuid":
            restaurant_ids.forget_cached_texts()
        # Each request decodes new texts, whose hash Python hasn't computed yet.
        new_ids = [cell.encode().decode() if isinstance(cell, str) else cell for cell in wanted]
        seconds.append(_lookup_seconds(index, new_ids, parse))
    nanoseconds = min(seconds) / LOOKUPS * 1e9
    return {"build_seconds": build_seconds, "megabytes": _index_bytes(index) / 1e6, "lookup_ns": nanoseconds}


def _parse_as_before(cell: object) -> int:
    return cell if type(cell) is int and 0 <= cell <= 2**63 - 1 else -1


def _lookup_seconds(index: RestaurantIndex, ids: list[object], parse: Callable[[object], object]) -> float:
    position = index.position
    start = time.thread_time()
    for identifier in ids:
        position(parse(identifier))  # type: ignore[arg-type]
    return time.thread_time() - start


def _index_bytes(index: RestaurantIndex) -> int:
    """Return the bytes of the arrays of an index, with those that a lookup creates."""
    index.position(0)
    index.position(-2)
    columns = (index.restaurant_id, index.country, index.city, index.type_of_food, index.time_zone)
    created = vars(index)  # cached properties
    table, (_, ranges) = created["_position_table"], created["_key_ranges"]
    size = sum(column.nbytes for column in columns) + index.names.utf8.nbytes + index.names.ends.nbytes
    return int(size + (0 if table is None else table.nbytes) + (ranges.nbytes if len(index.names) else 0))


def _markdown(results: dict[str, dict[str, float]], restaurants: int) -> str:
    lines = [f"| {restaurants:,} restaurants | build, CPU | memory | one lookup |", "|---|---:|---:|---:|"]
    lines += [
        f"| {KINDS[kind]} | {result['build_seconds']:.1f} s | {result['megabytes']:.0f} MB | "
        f"{result['lookup_ns'] / 1000:.2f} µs |"
        for kind, result in results.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
