"""The inputs of a run: synthetic orders, stores with bundles, and request bodies."""

from __future__ import annotations

import csv
import datetime as dt
import itertools
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from preptime.bundle.bundle import fetch_verified
from preptime.bundle.champion_log import ChampionLog, LogEntry
from preptime.bundle.manifest import LIVE_FILE, ManifestDraft, to_json_object
from preptime.bundle.store import Store
from preptime.bundle.writer import write_bundle
from preptime.domain.orders import DEFAULT_MODEL
from preptime.models.catalogue import CATALOGUE
from preptime.sources.registry import open_source
from preptime.training.as_of_features import build_feature_matrix
from preptime.training.fitting import FitPlan, fit_window
from preptime.training.training_data import TrainingData
from preptime.validation.audit import audit_orders
from preptime.validation.restaurants import read_restaurants

ORDERS = 32_394
TRAINING_DATE = dt.date(2015, 7, 1)
"""The day after the last synthetic order."""
BODIES = 256
BATCH_ORDERS = 1_000
CUSTOM_NUMBERS, CUSTOM_CATEGORIES = ("courier_distance_km", "open_tickets", "basket_weight_kg"), ("channel", "payment")
"""Custom features of orders in the comparison with and without them."""
_CUSTOM_SCHEMA = """
[orders]
order_acknowledged_at = "order_acknowledged_at"
order_ready_at = "order_ready_at"
restaurant_id = "restaurant_id"
order_value = { column = "order_value_gbp", currency = "GBP" }
number_of_items = "number_of_items"
order_id = "order_id"

[features]
courier_distance_km = { column = "courier_distance_km", type = "number", range = [0, 100] }
open_tickets = "number"
basket_weight_kg = "number"
channel = "category"
payment = "category"
"""


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
    custom: bool = False
    """Whether the request bodies have custom features."""


def prepare_champion(folder: Path, store: Path | None) -> Prepared:
    """Synthesize a month of orders, and train on it or copy `store`. Both bundles are the champion."""
    data = folder / "data"
    preptime("synthesize", "--out", str(data), "--orders", str(ORDERS))
    orders, restaurants, models = data / "orders.csv", data / "restaurants.csv", folder / "models"
    if store is None:
        arguments = ("--orders", str(orders), "--restaurants", str(restaurants), "--store", str(models))
        preptime("train", *arguments, "--date", str(TRAINING_DATE), "--results", str(folder / "results"))
    else:
        shutil.copytree(store, models)
    _add_live_model(models, orders, restaurants)
    champion = _champion(models)
    manifest = Store.open(str(models)).read_manifest(champion.bundle)
    return Prepared(folder, orders, restaurants, models, (champion.bundle, champion.bundle), tuple(manifest.models))


def _add_live_model(models: Path, orders: Path, restaurants: Path) -> None:
    """Replace the champion by the same bundle with a live model, if it has none, as for most synthetic orders."""
    store = Store.open(str(models))
    bundle = fetch_verified(store, _champion(models).bundle)
    if bundle.has_live_model:
        return
    index = read_restaurants(open_source(str(restaurants)).frame())
    data = TrainingData.from_orders(audit_orders(open_source(str(orders)).frame(), index, need_label=True), index)
    features = build_feature_matrix(data, data.first_day, data.last_day)
    plan = FitPlan({DEFAULT_MODEL: CATALOGUE[DEFAULT_MODEL]}, threads=2)
    fitted = fit_window(features, data.last_day, plan)
    if fitted.live_calibration is None:
        raise SystemExit("The fit has no live model.")
    draft = msgspec.convert(bundle.manifest, ManifestDraft, from_attributes=True)
    manifest = write_bundle(
        store,
        msgspec.structs.replace(draft, live_calibration=to_json_object(fitted.live_calibration)),
        graphs=bundle.graph_files() | {LIVE_FILE: fitted.graphs[LIVE_FILE]},
        history=bundle.history,
        golden_orders=bundle.golden_orders(),
    )
    ChampionLog(store).override(manifest.id, reason="bench", by="bench", at="2015-07-01T05:00:00Z")


def prepare(folder: Path, store: Path | None) -> Prepared:
    """Synthesize a month of orders, train on it or copy `store`, and refresh to get a second bundle."""
    prepared = prepare_champion(folder, store)
    first = _champion(prepared.store)
    arguments = ("--orders", str(prepared.orders), "--restaurants", str(prepared.restaurants))
    next_day = str(first.date + dt.timedelta(days=1))
    # The orders end a day before this date, which is fine here: only a second bundle is needed.
    options = ("--date", next_day, "--gate", "max_days_behind=2")
    preptime("refresh", *arguments, "--store", str(prepared.store), *options)
    second = _champion(prepared.store)
    if second.bundle == first.bundle:
        raise SystemExit("The refresh created no second champion.")
    return replace(prepared, bundles=(second.bundle, first.bundle))


def _champion(store: Path) -> LogEntry:
    champion = ChampionLog(Store.open(str(store))).current()
    if champion is None:
        raise SystemExit(f"{store} has no champion.")
    return champion


def prepare_custom(folder: Path) -> tuple[Prepared, Prepared]:
    """Train on the same orders without and with five custom features. Return both stores."""
    data = folder / "data"
    preptime("synthesize", "--out", str(data), "--orders", str(ORDERS))
    orders, schema = folder / "orders.csv", folder / "schema.toml"
    _add_custom_columns(data / "orders.csv", orders)
    schema.write_text(_CUSTOM_SCHEMA, encoding="utf-8")
    sides = []
    for name, options in (("without", ()), ("with", ("--schema", str(schema)))):
        side, restaurants = folder / name, data / "restaurants.csv"
        side.mkdir()
        models = side / "models"
        arguments = ("--orders", str(orders), "--restaurants", str(restaurants), "--store", str(models))
        preptime("train", *arguments, *options, "--date", str(TRAINING_DATE), "--results", str(side / "results"))
        champion = ChampionLog(Store.open(str(models))).current()
        if champion is None:
            raise SystemExit(f"The training {name} custom features created no champion.")
        manifest = Store.open(str(models)).read_manifest(champion.bundle)
        bundles = (champion.bundle, champion.bundle)
        sides.append(Prepared(side, orders, restaurants, models, bundles, manifest.models, custom=bool(options)))
    return sides[0], sides[1]


def _add_custom_columns(source: Path, target: Path) -> None:
    """Copy orders and add the custom columns. One number in twenty is missing."""
    with source.open(encoding="utf-8", newline="") as file, target.open("w", encoding="utf-8", newline="") as copy:
        rows = csv.DictReader(file)
        writer = csv.DictWriter(copy, [*(rows.fieldnames or ()), *CUSTOM_NUMBERS, *CUSTOM_CATEGORIES])
        writer.writeheader()
        for number, row in enumerate(rows):
            factors, counts = zip(CUSTOM_NUMBERS, (7, 13, 29), strict=True), zip(CUSTOM_CATEGORIES, (3, 5), strict=True)
            row |= {name: str(number * factor % 97 / 10) for name, factor in factors}
            row |= {name: f"{name} {number * 31 % count}" for name, count in counts}
            writer.writerow(row | ({CUSTOM_NUMBERS[0]: ""} if number % 20 == 0 else {}))


def preptime(*arguments: str) -> None:
    """Run a command of preptime."""
    program = "import sys; from preptime.cli import main; sys.exit(main(sys.argv[1:]))"
    completed = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    if completed.returncode:
        raise SystemExit(f"preptime {arguments[0]}: {completed.stderr[-2000:]}")


def write_bodies(prepared: Prepared) -> dict[str, Path]:
    """Write files with one body per line and return them by name.

    `default`, `six`, `take_home`, `dispatch`, and `kitchen` have one order per body. `many` and `many_six` have 1,000.
    """
    orders = _usable(prepared.orders, BODIES + BATCH_ORDERS, custom=prepared.custom)
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
        "dispatch": [order | {"travel_seconds": 300 + number} for number, order in enumerate(single_orders)],
        "kitchen": [order | {"kitchen": _kitchen(order)} for order in single_orders],
        "many": [{"orders": batch} for batch in batches],
        "many_six": [{"orders": batch, "models": models} for batch in batches],
    }
    files = {}
    for name, documents in bodies.items():
        files[name] = prepared.folder / f"{name}.txt"
        files[name].write_text("".join(f"{json.dumps(document)}\n" for document in documents), encoding="utf-8")
    return files


def _kitchen(order: dict[str, object]) -> dict[str, object]:
    """Return the state of a kitchen with five open orders and three that are ready."""
    acknowledged = dt.datetime.fromisoformat(str(order["order_acknowledged_at"]))
    times = [str(acknowledged - dt.timedelta(minutes=3 * number)) for number in range(1, 9)]
    return {
        "open_orders": [{"acknowledged_at": time, "items": 3} for time in times[:5]],
        "completed_orders": [{"ready_at": time, "prep_time_seconds": 900} for time in times[5:]],
    }


def _usable(orders: Path, count: int, *, custom: bool = False) -> list[dict[str, object]]:
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
        | (_custom_values(row) if custom else {})
        for row in itertools.islice(reversed(rows), count)
    ]


def _custom_values(row: dict[str, str]) -> dict[str, object]:
    numbers = {name: float(row[name]) if row[name] else None for name in CUSTOM_NUMBERS}
    return numbers | {name: row[name] for name in CUSTOM_CATEGORIES}


def _is_complete(row: dict[str, str]) -> bool:
    try:
        timestamp = dt.datetime.fromisoformat(row["order_acknowledged_at"])
        return timestamp.tzinfo is not None and float(row["order_value_gbp"]) > 0 and int(row["number_of_items"]) > 0
    except ValueError:
        return False
