"""Synthetic orders up to today for `make airflow`, so that the first DAG run succeeds without fresh orders."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from preptime.env_file import DAG_SETTINGS
from preptime.schema.schema import TAKE_HOME_SCHEMA
from preptime.schema.toml_text import schema_to_toml
from preptime.settings import iter_settings
from preptime.validation.data_gate import MAX_LATE_DAYS

ROOT = Path(__file__).resolve().parent.parent
PREPTIME = Path(sys.executable).parent / "preptime"


def demo_settings(
    settings: Mapping[str, str], home: Path, *, demo: bool | None, ask: Callable[[str], bool]
) -> dict[str, str]:
    """Return the settings for a run on synthetic orders, or the given settings if the orders are fresh.

    Args:
        settings: The settings from `.env` and the environment.
        home: Airflow's home. Its folder `demo` has everything that the demo reads and writes.
        demo: True: use synthetic orders. False: use the configured orders. None: `ask` if they can't be used.
        ask: Returns the answer of the user to a question.
    """
    if settings.get("PREPTIME_DEMO_ORDERS") or demo is False:
        return dict(settings)
    if demo is None:
        reason = find_reason(settings, dt.datetime.now(dt.UTC).date())
        if reason is None or not ask(f"{reason} Run on synthetic orders up to today instead?"):
            return dict(settings)
    folder = home / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    schema = folder / "schema.toml"
    schema.write_text(schema_to_toml(TAKE_HOME_SCHEMA), encoding="utf-8")
    print(f"The runs use synthetic orders. Orders, bundles, and results are in {folder}.", flush=True)
    return {
        **settings,
        **dict.fromkeys(_optional_names(), ""),
        "PREPTIME_RUNNER": "command",
        "PREPTIME_DEMO_ORDERS": str(folder),
        "PREPTIME_ORDERS": str(folder / "orders.csv"),
        "PREPTIME_RESTAURANTS": str(folder / "restaurants.csv"),
        "PREPTIME_SCHEMA": str(schema),
        "PREPTIME_STORE": str(folder / "models"),
        "PREPTIME_RESULTS": str(folder / "results"),
        "PREPTIME_PREDICTION_LOG_FOLDER": str(folder / "predictions"),
    }


def _optional_names() -> list[str]:
    """Return the variables without a default. Every other place, service, and key that the tasks can use is one."""
    names = [name for spec in iter_settings() if not spec.default for name in spec.names]
    return names + [name for name, (_, default) in DAG_SETTINGS.items() if not default]


def find_reason(settings: Mapping[str, str], today: dt.date) -> str | None:
    """Return why today's training can't use the configured orders, or None if it can, or if they're in a database."""
    orders = settings.get("PREPTIME_ORDERS", "")
    if "://" in orders:
        return None
    if not orders:
        return "PREPTIME_ORDERS isn't set, so there are no orders to train on."
    completed = subprocess.run(
        [PREPTIME, "check", "--json"], cwd=ROOT, env=dict(settings), capture_output=True, text=True, check=False
    )
    report = json.loads(completed.stdout or "{}")
    if "error" in report or "last_day" not in report:
        return f"PREPTIME_ORDERS={orders} can't be used: {report.get('facts') or completed.stderr.strip()}"
    last_day = report["last_day"]
    if last_day is None:
        return f"{orders} has no order with a valid acknowledgement time."
    age = (today - dt.date.fromisoformat(last_day)).days
    return f"The last order in {orders} is of {last_day}, {age:,} days ago." if age > MAX_LATE_DAYS else None
