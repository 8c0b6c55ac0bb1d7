"""The small tables that the page draws are those of the rows."""

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
    """The sample, scored."""
    folder = tmp_path_factory.mktemp("scored")
    source = write_orders(folder / "sample.csv", sample_orders(bundle.history.restaurants, AS_OF))
    score_file(source, folder / "out.parquet", bundle)
    return folder / "out.parquet"


def test_summary_tables_count_every_predicted_row_once(scored: Path) -> None:
    rows = pl.read_parquet(scored).filter(pl.col(PREDICTION_REASON).is_null())
    found = summarize(scored, POINTS)
    assert found.predicted == len(rows) == 48
    for table in (found.distribution, found.by_hour, found.widths, found.fallback_level):
        assert table["orders"].sum() == 48
    minutes = np.rint(rows[PREDICTED_SECONDS].to_numpy()) / 60
    counted = np.histogram(np.minimum(minutes, MAX_MINUTES - 1), bins=np.arange(0, MAX_MINUTES + 2, 2))[0]
    assert dict(found.distribution.select("minutes", "orders").iter_rows()) == {
        2 * place: count for place, count in enumerate(counted.tolist()) if count
    }
    assert found.models["model"].to_list() == ["p50", *POINTS]
    assert found.ready_days == (str(AS_OF), str(AS_OF))
    assert found.models["median"][0] == pytest.approx(float(np.sort(minutes)[23]))


def test_summary_by_hour_uses_local_acknowledgement(scored: Path) -> None:
    rows = pl.read_parquet(scored).filter(pl.col(PREDICTION_REASON).is_null())
    hours = rows["order_acknowledged_at"].str.slice(11, 2).cast(pl.Int8)
    found = summarize(scored, POINTS).by_hour
    assert dict(found.select("hour", "orders").iter_rows()) == dict(hours.value_counts().iter_rows())


def test_summary_by_restaurant_lists_the_most_orders(scored: Path) -> None:
    rows = pl.read_parquet(scored).filter(pl.col(PREDICTION_REASON).is_null())
    found = summarize(scored, POINTS).by_restaurant
    counted = (
        rows["restaurant_id"].value_counts(name="orders").sort("orders", "restaurant_id", descending=[True, False])
    )
    assert found["restaurant"].to_list() == counted["restaurant_id"].head(len(found)).to_list()
    first = rows.filter(pl.col("restaurant_id") == found["restaurant"][0])[PREDICTED_SECONDS].sort().to_list()
    assert found["median"][0] * 60 == pytest.approx(first[(len(first) - 1) // 2], abs=0.51)


def test_summary_without_predictions_is_empty(tmp_path: Path, bundle: Bundle) -> None:
    wrong = sample_orders(bundle.history.restaurants, AS_OF).with_columns(number_of_items=pl.lit("none"))
    score_file(write_orders(tmp_path / "wrong.csv", wrong), tmp_path / "out.parquet", bundle)
    found = summarize(tmp_path / "out.parquet", POINTS)
    assert found.predicted == 0
    assert found.distribution.is_empty()


def test_sample_orders_has_known_restaurants_and_two_errors(bundle: Bundle) -> None:
    directory = bundle.history.restaurants
    rows = sample_orders(directory, AS_OF)
    audited = audit_orders(rows, directory, need_label=False)
    assert np.count_nonzero(~audited.usable_for(Purpose.SCORING)) == 2
    assert set(rows["restaurant_id"].cast(pl.Int64)) <= set(directory.restaurant_id.tolist())
    assert rows.equals(sample_orders(directory, AS_OF))
    assert len(sample_orders(None, AS_OF)) == len(rows)


def test_iter_csv_chunks_equals_score_file_csv(tmp_path: Path, bundle: Bundle, scored: Path) -> None:
    source = write_orders(tmp_path / "sample.csv", sample_orders(bundle.history.restaurants, AS_OF))
    score_file(source, tmp_path / "out.csv", bundle)
    assert b"".join(iter_csv_chunks(scored)) == (tmp_path / "out.csv").read_bytes()
