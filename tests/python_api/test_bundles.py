"""Tests of bundles in Python: every result as a frame like the input."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import preptime
from preptime.bundle.bundle import Bundle
from preptime.bundle.manifest import MODEL_FILE
from preptime.errors import BundleVerificationError, DataError, UsageError
from preptime.python_api.bundles import LoadedBundle
from preptime.python_api.training import TrainingResult
from preptime.scoring.score_file import score_file
from preptime.scoring.scorer import RESTAURANT_DIFFERS
from preptime.scoring.travel_column import TravelColumn
from tests.requirements import ROOT
from tests.scoring.factories import MIXED_ROWS, mixed_rows

QUANTILES = [f"predicted_p{level}_seconds" for level in (10, 50, 80, 90)]


def scored(bundle: LoadedBundle, rows: pl.DataFrame, folder: Path, **options: object) -> pl.DataFrame:
    """Return what `preptime score` writes for rows."""
    rows.write_parquet(folder / "orders.parquet")
    core = Bundle.load(bundle._bundle.folder)
    score_file(str(folder / "orders.parquet"), folder / "scored.parquet", core, **options)  # type: ignore[arg-type]
    return pl.read_parquet(folder / "scored.parquet")


def test_predict_equals_score_for_every_row(bundle: LoadedBundle, tmp_path: Path) -> None:
    rows = mixed_rows()
    predicted = bundle.predict(rows)
    assert_frame_equal(predicted, scored(bundle, rows, tmp_path))
    assert predicted["prediction_reason"].to_list() == [reason for _, reason in MIXED_ROWS]
    assert_frame_equal(bundle.predict(rows.lazy()), predicted)
    assert_frame_equal(bundle.predict(tmp_path / "orders.parquet"), predicted)


def test_predict_keeps_pandas_index_order_and_columns(bundle: LoadedBundle, orders: pl.DataFrame) -> None:
    rows = orders.sample(50, seed=1, shuffle=True)
    expected = bundle.predict(rows)
    frame = rows.to_pandas().set_index("order_id")
    frame["note"] = pd.Series([{"anything": row} for row in range(50)], index=frame.index, dtype=object)
    frame["restaurant_id"] = frame["restaurant_id"].astype("category")
    predicted = bundle.predict(frame)
    pd.testing.assert_index_equal(predicted.index, frame.index)
    assert [*predicted.columns[: frame.shape[1]]] == [*frame.columns]
    pd.testing.assert_series_equal(predicted["note"], frame["note"])
    np.testing.assert_array_equal(predicted[QUANTILES].to_numpy(), expected.select(QUANTILES).to_numpy())
    texts = frame.assign(
        restaurant_id=frame["restaurant_id"].astype(str), number_of_items=frame["number_of_items"] + 0.0
    )
    np.testing.assert_array_equal(bundle.predict(texts)[QUANTILES].to_numpy(), predicted[QUANTILES].to_numpy())
    assert "predicted_seconds" not in frame.columns


def test_predict_of_rejected_pandas_rows_has_reasons(bundle: LoadedBundle, orders: pl.DataFrame) -> None:
    frame = orders.head(4).to_pandas()
    frame["number_of_items"] = frame["number_of_items"].astype("Int64")
    frame.loc[1, "number_of_items"] = pd.NA
    frame["order_value_gbp"] = frame["order_value_gbp"].astype(object)
    frame.loc[2, "order_value_gbp"] = "free"
    predicted = bundle.predict(frame)
    assert predicted["prediction_reason"].isna().tolist() == [True, False, False, True]
    assert predicted["prediction_reason"].tolist()[1:3] == ["missing_value", "unparsable_number"]
    assert predicted["predicted_seconds"].isna().tolist() == [False, True, True, False]
    assert predicted["order_value_gbp"].tolist() == frame["order_value_gbp"].tolist()


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_predict_again_replaces_columns_in_place(bundle: LoadedBundle, orders: pl.DataFrame, kind: str) -> None:
    rows = (
        orders.head(5)
        .with_columns(predicted_seconds=pl.lit("old"))
        .select("predicted_seconds", pl.exclude("predicted_seconds"))
    )
    frame = rows.to_pandas() if kind == "pandas" else rows
    predicted = bundle.predict(frame)
    assert next(iter(predicted.columns)) == "predicted_seconds"
    assert [*predicted["predicted_seconds"]] == [*bundle.predict(orders.head(5))["predicted_seconds"]]
    assert [*bundle.predict(predicted).columns] == [*predicted.columns]


def write_rows(rows: pl.DataFrame, file: Path) -> Path:
    """Write rows in the format of a file."""
    if file.suffix == ".csv":
        rows.write_csv(file)
    else:
        rows.write_parquet(file)
    return file


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_predict_scored_file_returns_new_results(bundle: LoadedBundle, tmp_path: Path, suffix: str) -> None:
    rows = mixed_rows().drop("note", strict=False)
    options: dict[str, Any] = {"travel": 240, "courier_cost": 2, "food_cost": 1}
    predicted, dispatched = bundle.predict(rows), bundle.dispatch(rows, **options)
    results = pl.exclude(rows.columns)
    old_values = dispatched.select(
        pl.when(pl.all() == pl.all()).then(pl.lit("old")).otherwise(pl.lit("older")).name.keep()
    )
    old = write_rows(rows.hstack(old_values.select(results)), tmp_path / f"old.{suffix}")
    assert_frame_equal(bundle.predict(old).select(results), predicted.select(results))
    assert_frame_equal(bundle.dispatch(old, **options).select(results), dispatched.select(results))
    assert bundle.dispatch(old, **options).columns == dispatched.columns


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_predict_removes_old_results_as_score_does(
    bundle: LoadedBundle, orders: pl.DataFrame, kind: str, tmp_path: Path
) -> None:
    rows = orders.head(3).with_columns(pl.col("order_acknowledged_at").cast(pl.String))
    old = bundle.dispatch(rows, travel=240).hstack(bundle.explain(rows))
    expected = scored(bundle, old, tmp_path)
    predicted = bundle.predict(old.to_pandas() if kind == "pandas" else old)
    assert [*predicted.columns] == expected.columns == bundle.predict(rows).columns


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_empty_frame_gives_empty_columns(bundle: LoadedBundle, orders: pl.DataFrame, kind: str) -> None:
    rows = orders.head(0).to_pandas() if kind == "pandas" else orders.head(0)
    assert len(bundle.predict(rows)) == len(bundle.features(rows)) == len(bundle.explain(rows)) == 0
    assert [*bundle.predict(rows).columns] == bundle.predict(orders.head(1)).columns
    assert [*bundle.features(rows).columns] == bundle.feature_names


def test_empty_frame_is_predicted_live(bundle: LoadedBundle, orders: pl.DataFrame) -> None:
    if not bundle._bundle.has_live_model:
        with pytest.raises(UsageError, match="has no live model"):
            bundle.predict(orders.head(0), live=True)
        return
    for rows in (orders.head(0), orders.head(0).to_pandas()):
        predicted = bundle.predict(rows, live=True)
        assert len(predicted) == len(bundle.explain(rows, live=True)) == 0
        assert [*predicted.columns] == bundle.predict(orders, live=True).columns
        assert len(bundle.dispatch(rows, travel=240, live=True)) == 0


def test_date_without_clock_time_is_unparsable(
    bundle: LoadedBundle, orders: pl.DataFrame, restaurants: pl.DataFrame, tmp_path: Path
) -> None:
    name = "order_acknowledged_at"
    dates = orders.head(3).with_columns(pl.col(name).dt.date())
    frame = orders.head(3).to_pandas()
    frame[name] = frame[name].dt.date
    files = [write_rows(dates, tmp_path / f"dates.{suffix}") for suffix in ("csv", "parquet")]
    for rows in (dates, frame, dates.with_columns(pl.col(name).cast(pl.String)), *files):
        assert [*bundle.predict(rows)["prediction_reason"]] == ["unparsable_time"] * 3
        assert preptime.check(rows, restaurants).usable["scoring"] == 0


def test_ready_time_has_the_type_of_the_acknowledgement(bundle: LoadedBundle, orders: pl.DataFrame) -> None:
    name = "order_acknowledged_at"
    london = orders.head(3).with_columns(pl.col(name).dt.convert_time_zone("Europe/London"))
    in_zone = bundle.predict(london)["predicted_ready_at"]
    assert in_zone.dtype == pl.Datetime("us", "Europe/London")
    in_utc = bundle.predict(orders.head(3))["predicted_ready_at"]
    assert in_utc.to_list() == in_zone.dt.convert_time_zone("UTC").to_list()
    waits = (in_utc - orders.head(3)[name]).dt.total_seconds(fractional=True)
    np.testing.assert_allclose(waits, bundle.predict(orders.head(3))["predicted_seconds"], atol=0.51)
    text = bundle.predict(orders.head(3).with_columns(pl.col(name).cast(pl.String)))["predicted_ready_at"]
    assert text.dtype == pl.String
    local = london.with_columns(pl.col(name).dt.replace_time_zone(None))
    ready = bundle.predict(local)["predicted_ready_at"]
    assert ready.dtype == pl.Datetime("us")
    assert ready.dt.strftime("%Y-%m-%d %H:%M:%S").to_list() == text.str.head(19).to_list()
    assert str(bundle.predict(local.to_pandas())["predicted_ready_at"].dtype) == "datetime64[us]"


def test_missing_column_names_existing_ones(bundle: LoadedBundle, orders: pl.DataFrame) -> None:
    for frame in (
        orders.rename({"restaurant_id": "store"}),
        orders.to_pandas().rename(columns={"restaurant_id": "store"}),
    ):
        for method in (bundle.predict, bundle.features, bundle.explain):
            with pytest.raises(DataError, match=r"column restaurant_id is missing from the data frame.*'store'"):
                method(frame)
    with pytest.raises(UsageError, match="of type list"):
        bundle.predict([{"restaurant_id": 1}])


def test_restaurants_describe_unknown_ones(
    bundle: LoadedBundle, orders: pl.DataFrame, restaurants: pl.DataFrame
) -> None:
    unknown = orders.head(1).with_columns(restaurant_id=pl.lit(999_999))
    extra = restaurants.head(1).with_columns(restaurant_id=pl.lit(999_999))
    assert bundle.predict(unknown)["prediction_fallback_level"].to_list() == ["global"]
    described = bundle.predict(unknown, restaurants=extra)
    assert described["prediction_fallback_level"].to_list() != ["global"]
    assert RESTAURANT_DIFFERS not in described.columns
    np.testing.assert_array_equal(
        bundle.predict(unknown.to_pandas(), restaurants=extra.to_pandas())[QUANTILES], described.select(QUANTILES)
    )


def test_features_are_those_that_the_models_read(bundle: LoadedBundle) -> None:
    rows = mixed_rows()
    matrix = bundle.features(rows)
    assert matrix.columns == bundle.feature_names == preptime.feature_names()
    assert {*matrix.dtypes} == {pl.Float32}
    is_predicted = bundle.predict(rows)["prediction_reason"].is_null()
    assert matrix.select(pl.all_horizontal(pl.all().is_not_null())).to_series().to_list() == is_predicted.to_list()
    core = bundle._bundle
    points, quantiles = core.graphs.models.run(matrix.filter(is_predicted).to_numpy())
    predicted = bundle.predict(rows).filter(is_predicted)
    np.testing.assert_array_equal(predicted.select(QUANTILES).to_numpy(), quantiles)
    np.testing.assert_array_equal(predicted["predicted_xgb_seconds"].to_numpy(), points["xgb"])


def test_explanations_add_up_to_p50(bundle: LoadedBundle) -> None:
    rows = mixed_rows()
    predicted = bundle.predict(rows)["predicted_p50_seconds"].to_numpy()
    for by_feature in (False, True):
        explained = bundle.explain(rows, by_feature=by_feature)
        assert len(explained) == len(rows)
        np.testing.assert_allclose(explained.sum_horizontal(ignore_nulls=False).to_numpy(), predicted, atol=0.01)
    frame = rows.to_pandas().set_index(np.arange(len(rows))[::-1])
    assert bundle.explain(frame).index.tolist() == frame.index.tolist()
    names = {f"explain_{name}_seconds" for name in bundle.feature_names}
    assert names <= {*bundle.explain(rows, by_feature=True).columns}


def test_dispatch_equals_score_with_travel_column(bundle: LoadedBundle, tmp_path: Path) -> None:
    rows = mixed_rows().with_columns(trip=pl.Series([240.0, None, *range(18)]))
    expected = scored(bundle, rows, tmp_path, travel=TravelColumn("trip", 2 / 3))
    dispatched = bundle.dispatch(rows, travel="trip", courier_cost=2, food_cost=1)
    assert_frame_equal(dispatched, expected)
    same_for_all = bundle.dispatch(rows.to_pandas(), travel=240)
    assert same_for_all["predicted_dispatch_at"].isna().tolist() == same_for_all["prediction_reason"].notna().tolist()
    assert "_preptime_travel_seconds" not in same_for_all.columns


def test_dispatch_errors_name_the_argument(bundle: LoadedBundle, orders: pl.DataFrame) -> None:
    with pytest.raises(UsageError, match=r"no column 'travel_seconds'. Their columns are order_id.*Set travel"):
        bundle.dispatch(orders)
    with pytest.raises(UsageError, match="from 1:9 to 9:1"):
        bundle.dispatch(orders, travel=60, courier_cost=10, food_cost=1)


def test_live_predictions_replay_the_kitchens(bundle: LoadedBundle, orders: pl.DataFrame, tmp_path: Path) -> None:
    if not bundle._bundle.has_live_model:
        with pytest.raises(UsageError, match="has no live model"):
            bundle.predict(orders, live=True)
        return
    text = orders.with_columns(pl.col("order_acknowledged_at").cast(pl.String))
    predicted = bundle.predict(text, live=True)
    assert predicted["prediction_live"].all()
    assert_frame_equal(predicted, scored(bundle, text, tmp_path, live=True))
    p50 = bundle.explain(text, live=True).sum_horizontal().to_numpy()
    np.testing.assert_allclose(p50, predicted["predicted_p50_seconds"], atol=0.01)


def test_importance_and_evaluation_are_frames(bundle: LoadedBundle) -> None:
    importance = bundle.importance()
    assert sorted(importance["feature"]) == sorted(bundle.feature_names)
    assert importance["share"].sum() == pytest.approx(1.0, abs=1e-4)
    assert importance["share"].is_sorted(descending=True)
    with pytest.raises(UsageError, match=r"a model 'rf'. It has those of quantile, xgb"):
        bundle.importance("rf")
    evaluation = bundle.evaluation
    assert evaluation.models["name"].to_list()[0] in {"quantile", "xgb"}
    assert {*evaluation.segments["segment"]} >= {"overall", "city", "hour"}
    assert evaluation.quantiles["p"].to_list() == [0.1, 0.5, 0.8, 0.9]
    with pytest.raises(UsageError, match="no metrics by day"):
        _ = evaluation.by_day
    assert "mean error" in repr(evaluation)
    assert "<table" in evaluation._repr_html_()


def test_every_chart_is_drawn(bundle: LoadedBundle) -> None:
    assert bundle.charts == bundle.evaluation.charts
    for name in bundle.charts:
        for dark in (False, True):
            drawn = bundle.chart(name, width=300, dark=dark).to_dict()
            assert drawn["title"]["text"]
    with pytest.raises(UsageError, match=r"no chart 'pie'. The charts are density, errors"):
        bundle.chart("pie")
    assert bundle.report.startswith("<!doctype html>") or "<html" in bundle.report


def test_load_bundle_from_folder_and_store(training: TrainingResult, orders: pl.DataFrame, tmp_path: Path) -> None:
    folder = training.bundle._bundle.folder
    copied = shutil.copytree(folder, tmp_path / folder.name)
    expected = training.bundle.predict(orders.head(3))
    for loaded in (
        preptime.load_bundle(copied),
        preptime.load_bundle(str(copied)),
        preptime.load_bundle(training.bundle.id, training.store.address),
    ):
        assert_frame_equal(loaded.predict(orders.head(3)), expected)
        assert loaded.manifest == training.bundle.manifest
    (copied / MODEL_FILE).write_bytes(b"damaged")
    with pytest.raises(BundleVerificationError, match=MODEL_FILE):
        preptime.load_bundle(copied)
    with pytest.raises(UsageError, match="has no bundle '2015-06-01-000000000000'"):
        preptime.load_bundle("2015-06-01-000000000000", training.store)


def test_chunks_do_not_change_predictions(bundle: LoadedBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = mixed_rows()
    expected = bundle.predict(rows)
    monkeypatch.setattr("preptime.python_api.bundles.CHUNK_ROWS", 7)
    assert_frame_equal(bundle.predict(rows), expected)


def test_dispatch_docs_list_the_public_methods() -> None:
    """Names of internal modules can change."""
    page = (ROOT / "docs" / "dispatch.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith("| Python |"))
    assert re.findall(r"`([\w.]+)`", row) == [
        method.__qualname__ for method in (LoadedBundle.dispatch, preptime.Client.dispatch)
    ]
