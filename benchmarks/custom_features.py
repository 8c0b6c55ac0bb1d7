"""Accuracy with and without custom features, on the orders of a second company.

    python -m benchmarks custom_features                     DoorDash's public take-home data
    python -m benchmarks.custom_features --orders O --time-zone Z --from 2015-02-04 --to 2015-02-10

The schema is the one that `preptime schema infer` proposes. Models are fitted as of the first day and predict every
order of the days with a label up to 3 h. The second row has the same schema without custom features and ratios.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import sys
from pathlib import Path

import msgspec
import polars as pl

from benchmarks.real_data import REAL_DATA
from preptime.domain.orders import DEFAULT_MODEL
from preptime.errors import PreptimeError
from preptime.evaluation.documents import BacktestDocument, Score
from preptime.evaluation.evaluated_orders import LOOKUP, build_backtest_document
from preptime.formatting import format_count
from preptime.models.catalogue import CATALOGUE
from preptime.schema.inference import infer_schema
from preptime.schema.schema import Schema
from preptime.schema.toml_file import parse_schema
from preptime.sources.registry import open_source
from preptime.training.backtest import backtest
from preptime.training.fitting import FitPlan
from preptime.training.training_data import TrainingData
from preptime.validation.audit import audit_orders
from preptime.validation.derived_restaurants import derive_restaurants


def main() -> int:
    """Measure the accuracy, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", default=str(REAL_DATA / "doordash" / "orders.csv"), help="default: %(default)s")
    parser.add_argument("--time-zone", default="America/Los_Angeles", help="default: %(default)s")
    parser.add_argument("--from", dest="first", type=dt.date.fromisoformat, default=dt.date(2015, 2, 4))
    parser.add_argument("--to", dest="last", type=dt.date.fromisoformat, default=dt.date(2015, 2, 10))
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args()
    try:
        schema = propose_schema(arguments.orders, arguments.time_zone)
        orders = open_source(arguments.orders, schema).frame()
    except PreptimeError as error:
        print(f"{error} Set PREPTIME_REAL_DATA to the folder of the real data.", file=sys.stderr)
        return 1
    documents = {
        "with custom features": evaluate(orders, schema, arguments.first, arguments.last),
        "without": evaluate(orders, without_custom_features(schema), arguments.first, arguments.last),
    }
    print(msgspec.json.encode(documents).decode() if arguments.json else _markdown(documents, schema))
    return 0


def propose_schema(orders: str | Path, time_zone: str) -> Schema:
    """Return the schema that `preptime schema infer --yes` proposes."""
    return parse_schema(infer_schema(open_source(orders).frame(), None, time_zone=time_zone).to_toml("Proposed."))


def without_custom_features(schema: Schema) -> Schema:
    """Return the same schema with only the canonical columns."""
    return msgspec.structs.replace(schema, features=(), ratios=())


def evaluate(orders: pl.DataFrame, schema: Schema, first: dt.date, last: dt.date) -> BacktestDocument:
    """Fit the default model as of the first day, and evaluate it on the days."""
    restaurants = derive_restaurants(orders, schema).index
    data = TrainingData.from_orders(audit_orders(orders, restaurants, need_label=True, schema=schema), restaurants)
    plan = FitPlan({DEFAULT_MODEL: CATALOGUE[DEFAULT_MODEL]}, os.cpu_count() or 1)
    return build_backtest_document(backtest(data, first, last, plan), first.isoformat(), last.isoformat())


def score_of(document: BacktestDocument, name: str) -> Score:
    """Return the score of a model or a baseline on labels up to 3 h."""
    return next(row for row in document.scores if row.name == name and row.labels == "up_to_3h")


def _markdown(documents: dict[str, BacktestDocument], schema: Schema) -> str:
    first = next(iter(documents.values()))
    lookup = score_of(first, LOOKUP)
    features = format_count(len(schema.features), "custom feature")
    lines = [
        f"{features} and {format_count(len(schema.ratios), 'ratio')}, fitted",
        f"as of {first.first_day} and evaluated until {first.last_day}, n = {lookup.n:,}:",
        "",
        "| default prediction | MAE | compared with the lookup | p10 to p90 covers |",
        "|---|---:|---:|---:|",
    ]
    for name, document in documents.items():
        mae, coverage = score_of(document, DEFAULT_MODEL).mae or 0.0, document.interval.coverage or 0.0
        lines.append(f"| {name} | {mae:.1f} s | {mae / (lookup.mae or 1) - 1:+.1%} | {coverage:.1%} |")
    return "\n".join([*lines, f"| restaurant lookup | {lookup.mae or 0:.1f} s | | |"])


if __name__ == "__main__":
    sys.exit(main())
