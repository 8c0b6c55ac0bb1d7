"""Tests that the summary's tables match the scored rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from preptime.bundle.bundle import Bundle
from preptime.domain.validation_reasons import Purpose
from preptime.scoring.download import iter_csv_chunks
from preptime.scoring.preview import sample_orders
from preptime.scoring.score_file import score_file
from preptime.scoring.scorer import PREDICTED_SECONDS, PREDICTION_REASON
from preptime.scoring.summary import MAX_MINUTES, summarize
from preptime.validation.audit import audit_orders
from tests.scoring.factories import AS_OF, write_orders

POINTS = ("rf", "xgb")


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> Path:
    """Return the sample orders, scored."""
    folder = tmp_path_factory.mktemp("scored")
    source = write_orders(folder / "sample.csv", sample_orders(bundle.history.restaurants, AS_OF))
    score_file(source, folder / "out.parquet", bundle)
    return folder / "out.parquet"


def test_summary_tables_count_every_predicted_row_once(scored: Path) -> None:
    rows = pl.read_parquet(scored).filter(pl.col(PREDICTION_REASON).is_null())
    summary = summarize(scored, POINTS)
    assert summary.predicted == len(rows) == 48
    for table in (summary.distribution, summary.by_hour, summary.widths, summary.fallback_level):
        assert table["orders"].sum() == 48
    minutes = np.rint(rows[PREDICTED_SECONDS].to_numpy()) / 60
    counts = np.histogram(np.minimum(minutes, MAX_MINUTES - 1), bins=np.arange(0, MAX_MINUTES + 2, 2))[0]
    assert dict(summary.distribution.select("minutes", "orders").iter_rows()) == {
        2 * bar: count for bar, count in enumerate(counts.tolist()) if count
    }
    assert summary.models["model"].to_list() == ["p50", *POINTS]
    assert summary.ready_days == (str(AS_OF), str(AS_OF))
    assert summary.models["median"][0] == pytest.approx(float(np.sort(minutes)[23]))


def test_summary_by_hour_uses_local_acknowledgement(scored: Path) -> None:
    rows = pl.read_parquet(scored).filter(pl.col(PREDICTION_REASON).is_null())
    hours = rows["order_acknowledged_at"].str.slice(11, 2).cast(pl.Int8)
    summary = summarize(scored, POINTS).by_hour
    assert dict(summary.select("hour", "orders").iter_rows()) == dict(hours.value_counts().iter_rows())


def test_summary_by_restaurant_lists_the_most_orders(scored: Path) -> None:
    rows = pl.read_parquet(scored).filter(pl.col(PREDICTION_REASON).is_null())
    summary = summarize(scored, POINTS).by_restaurant
    counted = (
        rows["restaurant_id"].value_counts(name="orders").sort("orders", "restaurant_id", descending=[True, False])
    )
    assert summary["restaurant"].to_list() == counted["restaurant_id"].head(len(summary)).to_list()
    first = rows.filter(pl.col("restaurant_id") == summary["restaurant"][0])[PREDICTED_SECONDS].sort().to_list()
    assert summary["median"][0] * 60 == pytest.approx(first[(len(first) - 1) // 2], abs=0.51)


def test_summary_without_predictions_is_empty(tmp_path: Path, bundle: Bundle) -> None:
    invalid = sample_orders(bundle.history.restaurants, AS_OF).with_columns(number_of_items=pl.lit("none"))
    score_file(write_orders(tmp_path / "invalid.csv", invalid), tmp_path / "out.parquet", bundle)
    summary = summarize(tmp_path / "out.parquet", POINTS)
    assert summary.predicted == 0
    assert summary.distribution.is_empty()


def test_sample_orders_has_known_restaurants_and_two_errors(bundle: Bundle) -> None:
    restaurants = bundle.history.restaurants
    rows = sample_orders(restaurants, AS_OF)
    audited = audit_orders(rows, restaurants, need_label=False)
    assert np.count_nonzero(~audited.usable_for(Purpose.SCORING)) == 2
    assert set(rows["restaurant_id"].cast(pl.Int64)) <= set(restaurants.restaurant_id.tolist())
    assert rows.equals(sample_orders(restaurants, AS_OF))
    assert len(sample_orders(None, AS_OF)) == len(rows)


def test_iter_csv_chunks_equals_score_file_csv(tmp_path: Path, bundle: Bundle, scored: Path) -> None:
    source = write_orders(tmp_path / "sample.csv", sample_orders(bundle.history.restaurants, AS_OF))
    score_file(source, tmp_path / "out.csv", bundle)
    assert b"".join(iter_csv_chunks(scored)) == (tmp_path / "out.csv").read_bytes()
