"""What a run needs: synthetic orders, a store with two bundles, bodies."""

from __future__ import annotations

import csv
import datetime as dt
import itertools
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.store import Store

ORDERS = 32_394
FIRST_MORNING = dt.date(2015, 7, 1)
"""The day after the last of the synthetic orders."""
BODIES = 256
MANY = 1_000


@dataclass(frozen=True, slots=True)
class Prepared:
    """Files of a run, all in its temporary folder."""

    folder: Path
    orders: Path
    restaurants: Path
    store: Path
    bundles: tuple[str, str]
    """Two that the champion log is switched between, the one in use first."""
    models: tuple[str, ...]


def prepare(folder: Path, store: Path | None) -> Prepared:
    """Synthesize the demo's month, train on it (or copy `store`), and refresh for a second bundle."""
    data = folder / "data"
    preptime("synthesize", "--out", str(data), "--orders", str(ORDERS))
    orders, restaurants, ours = data / "orders.csv", data / "restaurants.csv", folder / "models"
    tables = ("--orders", str(orders), "--restaurants", str(restaurants), "--store", str(ours))
    if store is None:
        preptime("train", *tables, "--date", str(FIRST_MORNING), "--results", str(folder / "results"))
    else:
        shutil.copytree(store, ours)
    log = ChampionLog(Store.open(str(ours)))
    first = log.current()
    if first is None:
        raise SystemExit(f"{store or ours} has no champion.")
    next_day = str(first.date + dt.timedelta(days=1))
    # The orders end a day before: only another bundle is wanted, not a fresh one.
    preptime("refresh", *tables, "--date", next_day, "--gate", "max_days_behind=2")
    second = log.current()
    if second is None or second.bundle == first.bundle:
        raise SystemExit("The refresh made no second champion.")
    manifest = json.loads((ours / "bundles" / second.bundle / "manifest.json").read_text(encoding="utf-8"))
    return Prepared(folder, orders, restaurants, ours, (second.bundle, first.bundle), tuple(manifest["models"]))


def preptime(*arguments: str) -> None:
    """Run a verb of the command line."""
    program = "import sys; from preptime.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"preptime {arguments[0]}: {done.stderr[-2000:]}")


def write_bodies(prepared: Prepared) -> dict[str, Path]:
    """Files of bodies, one a line: `default`, `six`, `demo` of one order each; `many` and `many_six` of 1,000."""
    orders = _usable(prepared.orders, BODIES + MANY)
    few, size = orders[:BODIES], len(orders)
    batches = [[orders[(start + place) % size] for place in range(MANY)] for start in range(0, size, size // 5)]
    models = list(prepared.models)
    bodies: dict[str, list[object]] = {
        "default": list(few),
        "six": [order | {"models": models} for order in few],
        "demo": [{"json_data": json.dumps({name: {"0": cell} for name, cell in order.items()})} for order in few],
        "many": [{"orders": batch} for batch in batches],
        "many_six": [{"orders": batch, "models": models} for batch in batches],
    }
    files = {}
    for name, documents in bodies.items():
        files[name] = prepared.folder / f"{name}.txt"
        files[name].write_text("".join(f"{json.dumps(one)}\n" for one in documents), encoding="utf-8")
    return files


def _usable(orders: Path, count: int) -> list[dict[str, object]]:
    """The last orders of the file that have everything, as a client sends them."""
    with orders.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if _is_whole(row)]
    return [
        {
            "order_id": row["order_id"],
            "order_acknowledged_at": row["order_acknowledged_at"],
            "order_value_gbp": float(row["order_value_gbp"]),
            "restaurant_id": int(row["restaurant_id"]),
            "number_of_items": int(row["number_of_items"]),
        }
        for row in itertools.islice(reversed(rows), count)
    ]


def _is_whole(row: dict[str, str]) -> bool:
    try:
        moment = dt.datetime.fromisoformat(row["order_acknowledged_at"])
        return moment.tzinfo is not None and float(row["order_value_gbp"]) > 0 and int(row["number_of_items"]) > 0
    except ValueError:
        return False
