"""`train` and `refresh` on labels in minutes, which they refuse, and with open orders, which they accept."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.store import Store
from preptime.schema.schema import TAKE_HOME_SCHEMA
from preptime.schema.toml_file import parse_schema
from preptime.schema.toml_text import schema_to_toml
from preptime.training.refresh import RefreshDocument
from preptime.training.train import TrainDocument
from preptime.validation.audit import audit_orders
from preptime.validation.data_gate import GateThresholds
from preptime.validation.gate_checks import evaluate_gate
from preptime.validation.restaurants import read_restaurants
from tests.cli.run_command import error_document, preptime

DATE = "2015-06-21"
RESTAURANTS = pl.DataFrame(
    {
        "restaurant_id": range(1, 41),
        "country": ["UK"] * 40,
        "city": ["London"] * 40,
        "type_of_food": ["thai" if number % 2 else "pizza" for number in range(1, 41)],
    }
)


def make_orders() -> pl.DataFrame:
    """Return 3,000 orders of 40 restaurants in 20 days, by time, as in the bug report."""
    rng = np.random.default_rng(7)
    pace = rng.uniform(0.6, 1.7, 41)
    restaurant, items = rng.integers(1, 41, 3_000), rng.integers(1, 9, 3_000)
    after = rng.integers(0, 20, 3_000) * 86_400 + rng.integers(11 * 3600, 22 * 3600, 3_000)
    label = 600 * pace[restaurant] * (1 + 0.06 * items) * rng.lognormal(0, 0.35, 3_000)
    return pl.DataFrame(
        {
            "order_acknowledged_at": np.datetime64("2015-06-01", "us") + after * np.timedelta64(1_000_000, "us"),
            "order_value_gbp": rng.uniform(8, 60, 3_000).round(2),
            "restaurant_id": restaurant,
            "number_of_items": items,
            "prep_time_seconds": label.astype(np.int64),
        }
    ).sort("order_acknowledged_at")


MINUTES = pl.col("prep_time_seconds") // 60
OPEN = pl.when(pl.int_range(pl.len()) % 8 != 0).then("prep_time_seconds")


def write_files(folder: Path, label: pl.Expr) -> tuple[str, ...]:
    """Write orders with these labels and the restaurants, and return the options for them."""
    make_orders().with_columns(prep_time_seconds=label).write_csv(folder / "orders.csv")
    RESTAURANTS.write_csv(folder / "restaurants.csv")
    return "--orders", str(folder / "orders.csv"), "--restaurants", str(folder / "restaurants.csv"), "--date", DATE


@pytest.mark.usefixtures("quick_models")
def test_labels_in_minutes_are_refused_and_open_orders_are_not(tmp_path: Path) -> None:
    """12.5% of the orders are open. The champion of the accepted orders stays when the labels are in minutes."""
    store = tmp_path / "models"
    minutes = write_files(tmp_path, MINUTES)
    refusal = error_document(preptime("train", *minutes, "--store", store, "--json"), 4, "PermanentDataError")
    assert not store.exists()
    assert "2,999 of 3,000 labels are under a minute; the maximum is 40% (now 99.97%)." in refusal.facts
    assert "The median is 13 s. Are the labels in minutes?" in refusal.facts
    assert 'prep_time = { column = "prep_time_seconds", unit = "min" }.' in refusal.hint
    assert refusal.hint.endswith("If the data is correct, accept it with --gate max_short_label_share=1.")

    open_orders = write_files(tmp_path, OPEN)
    trained = preptime("train", *open_orders, "--store", store, "--json").succeeded()
    document = trained.document(TrainDocument)
    assert "375 of 3,000 orders (12.5%) are open: they have no label" in document.data_gate.notes[-1]
    assert document.data_gate.notes[-1] in trained.err.replace("\n", " ")
    if document.outcome == "kept":
        preptime("bundles", "promote", document.bundle, "--store", store, "--reason", "Test.").succeeded()

    minutes = write_files(tmp_path, MINUTES)
    again = error_document(preptime("refresh", *minutes, "--store", store, "--json"), 4, "PermanentDataError")
    assert again.facts == refusal.facts
    assert 'unit = "min" }. A refresh uses the schema of the champion, so train with the changed one.' in again.hint
    current = ChampionLog(Store.open(str(store))).current()
    assert current is not None
    assert current.bundle == document.bundle
    open_orders = write_files(tmp_path, OPEN)
    refreshed = preptime("refresh", *open_orders, "--store", store, "--json").succeeded().document(RefreshDocument)
    assert refreshed.orders == 2_625


def test_line_of_the_refusal_is_enough() -> None:
    """The schema with the line of the message reads labels in minutes, and the gate passes."""
    orders, restaurants = make_orders().with_columns(prep_time_seconds=MINUTES), read_restaurants(RESTAURANTS)
    as_of, thresholds = dt.date.fromisoformat(DATE), GateThresholds()
    refused = evaluate_gate(audit_orders(orders, restaurants, need_label=True), as_of, thresholds)
    (failed,) = (check for check in refused.checks if not check.passed)
    line = re.search(r"prep_time = \{.*\}", failed.remedy)
    assert line is not None
    text = re.sub(r"(?m)^prep_time = .*$", line[0], schema_to_toml(TAKE_HOME_SCHEMA))
    schema = parse_schema(text, "schema.toml")
    assert schema.orders["prep_time_seconds"].unit == "min"
    audited = audit_orders(orders, read_restaurants(RESTAURANTS, schema), need_label=True, schema=schema)
    assert evaluate_gate(audited, as_of, thresholds).passed
