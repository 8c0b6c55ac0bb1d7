"""Tests of `score_day` with a database. `tests/daily/test_score_day.py` tests the command."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import polars as pl

from preptime.bundle.bundle import Bundle
from preptime.scoring.score_day import DayScoreDocument, SelectedBundle, score_day
from preptime.sources.registry import open_database, open_prediction_store, open_source
from preptime.sources.results import PREDICTIONS_FILE, ResultsFolder
from tests.scoring.factories import order_cells, write_orders

DAY = dt.date(2015, 6, 20)


def test_rerun_without_orders_deletes_stored_predictions(bundle: Bundle, database: str, tmp_path: Path) -> None:
    open_database(database).prepare()
    predictions, results = open_prediction_store(database), ResultsFolder(tmp_path / "results")
    orders = pl.DataFrame([order_cells(order_id="a"), order_cells(order_id="b")])

    def score(selected: SelectedBundle, rows: pl.DataFrame) -> DayScoreDocument:
        source = open_source(write_orders(tmp_path / "orders.csv", rows))
        restaurants = bundle.history.restaurants
        return score_day(source, DAY, selected, restaurants, results, write_predictions=predictions.write)[0]

    predictions.write(DAY, "another", pl.DataFrame({"order_key": ["c"]}))
    assert score(SelectedBundle(bundle), orders).outcome == "scored"
    assert predictions.read(DAY, bundle.manifest.id)["order_key"].to_list() == ["a", "b"]
    assert score(SelectedBundle(None), orders).outcome == "no_champion"
    assert len(predictions.read(DAY)) == 3, "without a bundle, it isn't known whose predictions are replaced"
    moved = orders.with_columns(order_acknowledged_at=pl.lit("2015-06-19 19:00:00+01:00"))
    assert score(SelectedBundle(bundle), moved).outcome == "no_orders"
    assert not results.path(DAY, PREDICTIONS_FILE).exists()
    assert predictions.read(DAY)["order_key"].to_list() == ["c"]
