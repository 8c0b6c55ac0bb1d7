"""Tests of training, backtests, and the feature matrix in Python: the same results as the commands."""

from __future__ import annotations

import gc
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import preptime
from preptime.errors import DataError, UsageError
from preptime.evaluation.documents import BacktestDocument
from preptime.python_api.training import TrainingResult
from preptime.schema.toml_file import parse_schema
from preptime.schema.toml_text import schema_to_toml
from preptime.training.train import TrainDocument
from preptime.training.training_data import TrainingData
from tests.cli.run_command import preptime as run_command
from tests.python_api.examples import small_models
from tests.training.factories import june

DATE = "2015-06-13"


@pytest.fixture(scope="module")
def files(orders: pl.DataFrame, restaurants: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the orders and restaurants as CSV files, as `preptime synthesize` writes them."""
    folder = tmp_path_factory.mktemp("files")
    preptime.synthesize(3_000, restaurants=40, days=12, seed=7, out=folder)
    (folder / "schema.toml").write_text(schema_to_toml(small_models()), encoding="utf-8")
    return {name.partition(".")[0]: folder / name for name in ("orders.csv", "restaurants.csv", "schema.toml")}


def options(files: dict[str, Path]) -> list[str]:
    """Return the options of a command that reads these files."""
    locations = [text for name, path in files.items() for text in (f"--{name}", str(path))]
    return [*locations, "--models", "xgb"]


def test_train_on_frames_gives_the_bundle_of_the_command(
    orders: pl.DataFrame, restaurants: pl.DataFrame, files: dict[str, Path], tmp_path: Path
) -> None:
    store = str(tmp_path / "models")
    command = ["train", *options(files), "--date", DATE, "--quick", "--store", store, "--json"]
    expected = run_command(*command).succeeded().document(TrainDocument)
    shuffled = orders.to_pandas().set_index("order_id").sample(frac=1.0, random_state=3)
    shuffled["order_acknowledged_at"] = shuffled["order_acknowledged_at"].dt.tz_convert("Europe/London")
    frames = shuffled, restaurants.to_pandas()
    result = preptime.train(*frames, models=["xgb"], schema=files["schema"], quick=True, store=store, progress=False)
    assert result.document == expected
    assert (result.promoted, result.outcome, result.champion) == (False, "kept", None)
    assert isinstance(result.conditions, pd.DataFrame)
    assert result.store.bundles()["bundle"].tolist() == [result.bundle.id]
    with pytest.raises(UsageError, match=r"has no metrics. Train it without quick=True"):
        _ = result.evaluation


def test_result_shows_decision_and_tables(training: TrainingResult) -> None:
    assert training.promoted
    assert training.champion == training.bundle.id == training.store.champion.id  # type: ignore[union-attr]
    assert training.conditions["passed"].all()
    assert training.store.log()["action"].to_list() == ["promote"]
    assert training.bundle.id in repr(training)
    assert "<table" in training._repr_html_()
    bundles = training.store.bundles()
    assert bundles["champion"].to_list() == [True]
    assert bundles["mae_seconds"][0] == training.evaluation.models.filter(name="quantile", labels="up_to_3h")["mae"][0]


def test_backtest_equals_the_command(orders: pl.DataFrame, restaurants: pl.DataFrame, files: dict[str, Path]) -> None:
    days = {"first_day": june(11), "last_day": "2015-06-12"}
    evaluation = preptime.backtest(orders, restaurants, **days, models="xgb", schema=files["schema"], progress=False)  # type: ignore[arg-type]
    command = ["backtest", *options(files), "--from", "2015-06-11", "--to", "2015-06-12", "--json"]
    assert evaluation.document == run_command(*command).succeeded().document(BacktestDocument)
    by_day = evaluation.by_day
    assert by_day["day"].to_list() == [june(11), june(12)]
    assert by_day["n"].sum() == evaluation.models["n"][0]
    weighted = (by_day["n"] * by_day["mae"]).sum() / by_day["n"].sum()
    assert weighted == pytest.approx(evaluation.models.filter(name="quantile", labels="up_to_3h")["mae"][0])
    assert "density" in evaluation.charts


def test_features_are_the_training_matrix(
    orders: pl.DataFrame, restaurants: pl.DataFrame, training: TrainingResult
) -> None:
    matrix = preptime.features(orders, restaurants, as_of=DATE)
    names = preptime.feature_names()
    assert matrix.columns[-len(names) :] == names == training.bundle.feature_names
    assert matrix["can_fit"].sum() == training.document.orders
    assert matrix["order_id"].to_list() == orders["order_id"].gather(matrix["row"]).to_list()
    assert matrix["acknowledged_at"].is_sorted()
    labels = orders["prep_time_seconds"].gather(matrix["row"])
    assert matrix["label_seconds"].to_list() == labels.cast(pl.Float64).to_list()
    # The first order has no history, and the last day has the features of the bundle of the same date.
    last = orders[matrix["row"]].filter(matrix["acknowledged_day"] == june(12))
    earlier = preptime.train(
        orders, restaurants, models=["xgb"], schema=small_models(), quick=True, date="2015-06-12", progress=False
    ).bundle.features(last)
    assert_frame_equal(matrix.filter(acknowledged_day=june(12)).select(names), earlier)


def test_features_keep_index_and_rows_of_pandas(orders: pl.DataFrame, restaurants: pl.DataFrame) -> None:
    expected = preptime.features(orders, restaurants, as_of=DATE)
    frame = orders.to_pandas().set_index(orders["order_id"].to_pandas().map("order {}".format)).iloc[::-1]
    frame["order_ready_at"] = frame["order_ready_at"].where(frame.index != "order 1")
    matrix = preptime.features(frame, restaurants.to_pandas(), as_of=DATE)
    assert matrix.index.tolist() == [f"order {order}" for order in matrix["order_id"]]
    assert frame.index[matrix["row"]].tolist() == matrix.index.tolist()
    names = preptime.feature_names()
    np.testing.assert_array_equal(matrix[names].to_numpy(), expected.select(names).to_numpy())


def test_features_with_names_of_other_columns_are_kept(orders: pl.DataFrame, restaurants: pl.DataFrame) -> None:
    added = ["row", "acknowledged_at", "acknowledged_day", "can_fit", "can_evaluate", "label_seconds"]
    rows = orders.with_columns(pl.lit(float(number)).alias(name) for number, name in enumerate(added))
    custom = "".join(f'{name} = "number"\n' for name in added)
    schema = parse_schema(f"{schema_to_toml(small_models())}\n[features]\n{custom}", "a schema")
    matrix = preptime.features(rows, restaurants, as_of=DATE, schema=schema)
    expected = preptime.features(orders, restaurants, as_of=DATE)
    names = preptime.feature_names(schema)
    assert {*added} < {*names}
    assert matrix.select(added).unique().row(0) == tuple(map(float, range(len(added))))
    identifying = expected.drop(preptime.feature_names())
    renamed = identifying.rename({name: f"order.{name}" for name in added})
    assert_frame_equal(matrix.drop(names), renamed)


def test_features_as_of_leave_later_orders_out(orders: pl.DataFrame, restaurants: pl.DataFrame) -> None:
    as_of = preptime.features(orders, restaurants, as_of="2015-06-08")
    assert as_of["acknowledged_day"].max() == june(7)
    ready = orders["order_ready_at"].gather(as_of["row"])
    assert ready.max() < pl.datetime(2015, 6, 8, 3, time_zone="UTC").pipe(pl.select).item()  # local midnight


def test_training_on_too_few_orders_raises(orders: pl.DataFrame, restaurants: pl.DataFrame) -> None:
    with pytest.raises(DataError, match="data gate"):
        preptime.train(orders.head(20), restaurants, progress=False)
    with pytest.raises(DataError, match="The data frame of orders has no rows"):
        preptime.train(orders.head(0), restaurants, progress=False)
    with pytest.raises(DataError, match="restaurant_id is missing from the data frame of orders"):
        preptime.train(orders.drop("restaurant_id"), restaurants, progress=False)


def test_invalid_arguments_raise(orders: pl.DataFrame, restaurants: pl.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"date is '2015-13-01'; expected a date"):
        preptime.train(orders, restaurants, date="2015-13-01", progress=False)
    with pytest.raises(UsageError, match=r"There is no model 'xgbb'. Did you mean xgb"):
        preptime.train(orders, restaurants, models=["xgbb"], progress=False)
    with pytest.raises(UsageError, match="no threshold 'min_dayz'"):
        preptime.train(orders, restaurants, thresholds={"min_dayz": 1}, progress=False)
    with pytest.raises(UsageError, match="There is no schema file"):
        preptime.train(orders, restaurants, schema=tmp_path / "none.toml", progress=False)
    with pytest.raises(UsageError, match=r"The orders are of type list; expected a path"):
        preptime.train([1, 2], progress=False)
    with pytest.raises(UsageError, match="expected a date"):
        preptime.backtest(orders, restaurants, first_day="1", last_day="2", progress=False)


def test_temporary_store_is_deleted_with_its_last_user() -> None:
    from preptime.python_api.stores import temporary_store

    store = temporary_store("polars")
    folder = Path(store.address)
    assert folder.is_dir()
    core = store.core
    del store
    gc.collect()
    assert folder.is_dir()
    del core
    gc.collect()
    assert not folder.exists()


def test_progress_calls_the_function(orders: pl.DataFrame, restaurants: pl.DataFrame) -> None:
    stages: dict[str, float] = {}
    preptime.features(orders, restaurants, as_of=DATE, progress=stages.__setitem__)
    assert stages == {"Features by day": 1.0}


def test_progress_bars_are_drawn_on_request(
    orders: pl.DataFrame, restaurants: pl.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    preptime.features(orders, restaurants, as_of=DATE)
    assert capsys.readouterr().err == ""
    preptime.features(orders, restaurants, as_of=DATE, progress=True)
    assert "Features by day: 100%" in capsys.readouterr().err


def test_row_numbers_follow_every_selection(orders: pl.DataFrame, restaurants: pl.DataFrame) -> None:
    from preptime.validation.audit import audit_orders
    from preptime.validation.restaurants import read_restaurants

    index = read_restaurants(restaurants)
    audited = audit_orders(orders, index, need_label=True)
    data = TrainingData.from_orders(audited, index)
    values = orders["order_value_gbp"].to_numpy()
    np.testing.assert_array_equal(values[data.row_numbers - 1], data.orders.order_value)
    later = data.as_of(june(5))
    np.testing.assert_array_equal(values[later.row_numbers - 1], later.orders.order_value)
    assert msgspec.json.encode(later.row_numbers.tolist())
