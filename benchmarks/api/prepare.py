"""The inputs of a run: synthetic orders, a store with two bundles, and request bodies."""

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
TRAINING_DATE = dt.date(2015, 7, 1)
"""The day after the last synthetic order."""
BODIES = 256
BATCH_ORDERS = 1_000


@dataclass(frozen=True, slots=True)
class Prepared:
    """The files of a run in its temporary folder."""

    folder: Path
    orders: Path
    restaurants: Path
    store: Path
    bundles: tuple[str, str]
    """Two bundles to switch between. The first one is the champion."""
    models: tuple[str, ...]


def prepare(folder: Path, store: Path | None) -> Prepared:
    """Synthesize a month of orders, train on it or copy `store`, and refresh to get a second bundle."""
    data = folder / "data"
    preptime("synthesize", "--out", str(data), "--orders", str(ORDERS))
    orders, restaurants, models = data / "orders.csv", data / "restaurants.csv", folder / "models"
    arguments = ("--orders", str(orders), "--restaurants", str(restaurants), "--store", str(models))
    if store is None:
        preptime("train", *arguments, "--date", str(TRAINING_DATE), "--results", str(folder / "results"))
    else:
        shutil.copytree(store, models)
    log = ChampionLog(Store.open(str(models)))
    first = log.current()
    if first is None:
        raise SystemExit(f"{store or models} has no champion.")
    next_day = str(first.date + dt.timedelta(days=1))
    # The orders end a day before this date, which is fine here: only a second bundle is needed.
    preptime("refresh", *arguments, "--date", next_day, "--gate", "max_days_behind=2")
    second = log.current()
    if second is None or second.bundle == first.bundle:
        raise SystemExit("The refresh created no second champion.")
    manifest = json.loads((models / "bundles" / second.bundle / "manifest.json").read_text(encoding="utf-8"))
    return Prepared(folder, orders, restaurants, models, (second.bundle, first.bundle), tuple(manifest["models"]))


def preptime(*arguments: str) -> None:
    """Run a command of preptime."""
    program = "import sys; from preptime.cli import main; sys.exit(main(sys.argv[1:]))"
    completed = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    if completed.returncode:
        raise SystemExit(f"preptime {arguments[0]}: {completed.stderr[-2000:]}")


def write_bodies(prepared: Prepared) -> dict[str, Path]:
    """Write files with one body per line and return them by name.

    `default`, `six`, and `take_home` have one order per body. `many` and `many_six` have 1,000.
    """
    orders = _usable(prepared.orders, BODIES + BATCH_ORDERS)
    single_orders, size = orders[:BODIES], len(orders)
    batches = [
        [orders[(start + offset) % size] for offset in range(BATCH_ORDERS)] for start in range(0, size, size // 5)
    ]
    models = list(prepared.models)
    bodies: dict[str, list[object]] = {
        "default": list(single_orders),
        "six": [order | {"models": models} for order in single_orders],
        "take_home": [
            {"json_data": json.dumps({name: {"0": value} for name, value in order.items()})} for order in single_orders
        ],
        "many": [{"orders": batch} for batch in batches],
        "many_six": [{"orders": batch, "models": models} for batch in batches],
    }
    files = {}
    for name, documents in bodies.items():
        files[name] = prepared.folder / f"{name}.txt"
        files[name].write_text("".join(f"{json.dumps(document)}\n" for document in documents), encoding="utf-8")
    return files


def _usable(orders: Path, count: int) -> list[dict[str, object]]:
    """Return the last complete orders of the file, as a client sends them."""
    with orders.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if _is_complete(row)]
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


def _is_complete(row: dict[str, str]) -> bool:
    try:
        timestamp = dt.datetime.fromisoformat(row["order_acknowledged_at"])
        return timestamp.tzinfo is not None and float(row["order_value_gbp"]) > 0 and int(row["number_of_items"]) > 0
    except ValueError:
        return False
