"""Tests that scoring through the API writes the same file as `score_file`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from preptime.bundle.bundle import Bundle
from preptime.bundle.champion_log import ChampionLog, LogEntryDraft
from preptime.bundle.store import Store
from preptime.client import Client
from preptime.errors import DataError, OperationError
from preptime.schema.schema import Schema
from preptime.scoring.remote_scoring import RemoteScorer, score_file_remotely
from preptime.scoring.score_file import score_file
from preptime.scoring.scorer import PREDICTED_READY_AT, PREDICTION_BUNDLE, PREDICTION_REASON, RESTAURANT_DIFFERS
from preptime.scoring.travel_column import (
    COURIER_WAIT,
    DISPATCH_AT,
    DISPATCH_QUANTILE,
    DISPATCH_REASON,
    FOOD_WAIT,
    TravelColumn,
)
from preptime.validation.audit import REJECT_SURPLUS
from tests.api.processes import PLAIN_KEY, SERVE_COMMAND, running_server
from tests.scoring.delivery import delivery_bundle, delivery_frames
from tests.scoring.factories import mixed_rows, small_bundle, write_orders


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, Bundle]]:
    """Yield a client of a running server, and the server's bundle."""
    yield from serve(tmp_path_factory.mktemp("served"), small_bundle)


@pytest.fixture(scope="module")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, Bundle]]:
    """Yield the same for a company with other columns, formats, and custom features."""
    yield from serve(tmp_path_factory.mktemp("delivery"), delivery_bundle)


def serve(folder: Path, make_bundle: Callable[[Store], Bundle]) -> Iterator[tuple[Client, Bundle]]:
    """Run a server with a new bundle."""
    store = Store.open(str(folder / "models"))
    bundle = make_bundle(store)
    entry = LogEntryDraft(
        bundle=bundle.manifest.id, date=bundle.manifest.date, action="promote", reason="test", by="test", at="now"
    )
    ChampionLog(store).append(entry, expected_champion=None)
    with running_server(folder, SERVE_COMMAND) as server:
        server.wait_until("/readyz")
        with Client(server.url, PLAIN_KEY) as client:
            yield client, bundle


def typed_rows() -> pl.DataFrame:
    """Return orders with typed columns: timestamps with time zone and microseconds, floats, and a category."""
    first = dt.datetime(2015, 6, 20, 18, 30, 0, 250_000, tzinfo=dt.UTC)
    return pl.DataFrame(
        {
            "order_acknowledged_at": [first, first + dt.timedelta(hours=3), None, first],
            "order_value_gbp": pl.Series([21.4, float("nan"), 3.5, float("inf")], dtype=pl.Float32),
            "restaurant_id": pl.Series([1, 2, 3, 4], dtype=pl.Int32),
            "number_of_items": [1.0, 2.0, 3.0, 2.5],
            "city": pl.Series(["London", None, "nowhere", "London"], dtype=pl.Categorical),
            "order_id": [1, 2, 3, 4],
        }
    ).with_columns(pl.col("order_acknowledged_at").dt.convert_time_zone("America/New_York"))


SOURCES = {
    "mixed.csv": mixed_rows(),
    "mixed.parquet": mixed_rows(),
    "typed.parquet": typed_rows(),
    "naive.parquet": typed_rows().with_columns(pl.col("order_acknowledged_at").dt.replace_time_zone(None)),
    "dates.parquet": typed_rows().with_columns(pl.col("order_acknowledged_at").cast(pl.Date)),
}


@pytest.mark.parametrize("name", SOURCES)
def test_remote_scoring_equals_local_scoring(tmp_path: Path, served: tuple[Client, Bundle], name: str) -> None:
    client, bundle = served
    source = write_orders(tmp_path / name, SOURCES[name])
    local = score_file(source, tmp_path / "local.parquet", bundle)
    scorer = RemoteScorer(client, client.bundle().models, bundle.schema)
    remote = score_file_remotely(source, tmp_path / "remote.parquet", scorer, orders_per_request=3)
    expected, actual = (pl.read_parquet(tmp_path / f"{name}.parquet") for name in ("local", "remote"))
    # Without the bundle's restaurants, no order can be flagged.
    assert actual.schema == expected.drop(RESTAURANT_DIFFERS, strict=False).schema
    input_columns = SOURCES[name].columns
    assert actual.select(input_columns).equals(expected.select(input_columns))
    for column in (PREDICTED_READY_AT, PREDICTION_REASON, PREDICTION_BUNDLE, "prediction_fallback_level"):
        assert actual[column].to_list() == expected[column].to_list(), column
    for column in expected.columns:
        if column.startswith("predicted_") and column.endswith("_seconds"):
            difference = (actual[column] - expected[column]).abs().max()
            assert difference is None or float(str(difference)) <= 0.001, column
    assert (remote.rows, remote.predicted, remote.rejected, remote.fallback_level) == (
        local.rows,
        local.predicted,
        local.rejected,
        local.fallback_level,
    )
    assert remote.unknown_restaurants is None
    assert remote.restaurant_differs is None
    known = RemoteScorer(client, (), bundle.schema, bundle.history.restaurants)
    counted = score_file_remotely(source, tmp_path / "counted.parquet", known, orders_per_request=3)
    assert counted.unknown_restaurants == local.unknown_restaurants
    assert counted.restaurant_differs == local.restaurant_differs
    assert counted.missing_features == local.missing_features
    assert counted.invalid_features == local.invalid_features
    flagged, expected_flags = (pl.read_parquet(tmp_path / f"{name}.parquet") for name in ("counted", "local"))
    assert [name for name in flagged.columns if name == RESTAURANT_DIFFERS] == [
        name for name in expected_flags.columns if name == RESTAURANT_DIFFERS
    ]
    if RESTAURANT_DIFFERS in flagged.columns:
        assert flagged[RESTAURANT_DIFFERS].to_list() == expected_flags[RESTAURANT_DIFFERS].to_list()


@pytest.mark.parametrize("kind", ["csv", "typed.parquet", "naive.parquet"])
def test_remote_scoring_sends_values_in_the_schemas_formats(
    tmp_path: Path, delivery: tuple[Client, Bundle], kind: str
) -> None:
    client, bundle = delivery
    assert msgspec.convert(client.bundle().schema, Schema) == bundle.schema
    rows = delivery_frames()[0].head(40).drop("delivery_min")
    rows = rows.with_columns(
        area=pl.when(pl.int_range(40) < 4).then(pl.lit("Sydney")),
        distance=pl.when(pl.int_range(40) == 9).then(pl.lit("far")).otherwise("distance"),
    )
    if kind == "csv":
        rows.write_csv(tmp_path / "orders.csv", separator=";")
        source = str(tmp_path / "orders.csv")
    else:
        created = pl.col("created").str.to_datetime("%d/%m/%Y %I:%M %p")
        number = pl.col("distance").str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
        typed = rows.with_columns(
            created if kind == "naive.parquet" else created.dt.replace_time_zone("UTC"),
            number,
            pl.col("busy").cast(int),
        )
        source = write_orders(tmp_path / f"orders.{kind}", typed)
    local = score_file(source, tmp_path / "local.parquet", bundle)
    scorer = RemoteScorer(client, client.bundle().models, bundle.schema, bundle.history.restaurants)
    remote = score_file_remotely(source, tmp_path / "remote.parquet", scorer, orders_per_request=15)
    assert local.predicted == 40
    assert local.restaurant_differs == 4
    assert local.missing_features["busy_couriers"] > 0
    assert (local.invalid_features == {"distance": 1}) == (kind == "csv")
    expected, actual = (pl.read_parquet(tmp_path / f"{name}.parquet") for name in ("local", "remote"))
    assert actual.schema == expected.schema
    assert actual[PREDICTED_READY_AT].to_list() == expected[PREDICTED_READY_AT].to_list()
    assert actual[RESTAURANT_DIFFERS].to_list() == expected[RESTAURANT_DIFFERS].to_list() == [True] * 4 + [False] * 36
    assert msgspec.structs.replace(remote, out=local.out) == local


def test_remote_scoring_predicts_no_order_with_a_date(tmp_path: Path, delivery: tuple[Client, Bundle]) -> None:
    client, bundle = delivery
    rows = delivery_frames()[0].head(4).with_columns(created=dt.date(2015, 6, 12))
    source = write_orders(tmp_path / "orders.parquet", rows)
    scorer = RemoteScorer(client, client.bundle().models, bundle.schema, bundle.history.restaurants)
    remote = score_file_remotely(source, tmp_path / "remote.parquet", scorer, orders_per_request=15)
    local = score_file(source, tmp_path / "local.parquet", bundle)
    assert remote.rejected == local.rejected == {"unparsable_time": 4}


def test_remote_dispatch_equals_local_dispatch(tmp_path: Path, served: tuple[Client, Bundle]) -> None:
    client, bundle = served
    cells = ["240", "0", "", "soon", "21600", "60.5"]
    rows = mixed_rows().with_columns(travel=pl.Series([cells[row % len(cells)] for row in range(len(mixed_rows()))]))
    source, travel = write_orders(tmp_path / "orders.csv", rows), TravelColumn("travel", 2 / 3)
    local = score_file(source, tmp_path / "local.parquet", bundle, travel=travel)
    scorer = RemoteScorer(client, client.bundle().models, bundle.schema, travel=travel)
    remote = score_file_remotely(source, tmp_path / "remote.parquet", scorer, orders_per_request=3)
    assert remote.without_dispatch == local.without_dispatch
    assert set(local.without_dispatch) == {"missing_value", "unparsable_number"}
    expected, actual = (pl.read_parquet(tmp_path / f"{name}.parquet") for name in ("local", "remote"))
    assert actual.schema == expected.drop(RESTAURANT_DIFFERS, strict=False).schema
    for column in (DISPATCH_QUANTILE, DISPATCH_REASON):
        assert actual[column].to_list() == expected[column].to_list()
    for column in (COURIER_WAIT, FOOD_WAIT):
        np.testing.assert_allclose(actual[column].to_numpy(), expected[column].to_numpy(), rtol=0, atol=0.001)
    (actual_times, actual_offsets), (expected_times, expected_offsets) = (
        (frame[DISPATCH_AT].str.head(19).str.to_datetime(), frame[DISPATCH_AT].str.slice(19).to_list())
        for frame in (actual, expected)
    )
    assert actual_offsets == expected_offsets
    differences = (actual_times - expected_times).dt.total_seconds().drop_nulls().to_numpy()
    np.testing.assert_allclose(differences, 0, atol=1)


def test_remote_dispatch_without_its_column_is_an_error(tmp_path: Path, served: tuple[Client, Bundle]) -> None:
    client, bundle = served
    source = write_orders(tmp_path / "orders.csv", mixed_rows())
    scorer = RemoteScorer(client, (), bundle.schema, travel=TravelColumn("travel", 0.5))
    with pytest.raises(DataError, match="has no column 'travel'"):
        score_file_remotely(source, tmp_path / "out.csv", scorer, orders_per_request=10)


def test_remote_scoring_on_full_disk_leaves_no_file(tmp_path: Path, served: tuple[Client, Bundle]) -> None:
    client, bundle = served

    def stop(_: str, fraction: float) -> None:
        if fraction > 0.5:
            raise OSError(28, "No space left on device")

    source = write_orders(tmp_path / "orders.csv", mixed_rows())
    scorer = RemoteScorer(client, (), bundle.schema)
    with pytest.raises(OperationError, match="couldn't be written: No space left on device"):
        score_file_remotely(source, tmp_path / "out.parquet", scorer, orders_per_request=5, progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["orders.csv"]


def test_remote_scoring_rejects_malformed_line(tmp_path: Path, served: tuple[Client, Bundle]) -> None:
    client, bundle = served
    path = tmp_path / "orders.csv"
    line = "2015-06-20 19:00:00,21.4,1,3"
    path.write_text(
        f"order_acknowledged_at,order_value_gbp,restaurant_id,number_of_items\n{line}\n{line},more\n", encoding="utf-8"
    )
    scorer = RemoteScorer(client, (), bundle.schema)
    document = score_file_remotely(str(path), tmp_path / "out.csv", scorer, orders_per_request=10)
    assert document.rejected == {"malformed_line": 1}
    assert document.predicted == 1
    path.write_text(
        f"order_acknowledged_at,order_value_gbp,restaurant_id,number_of_items,{REJECT_SURPLUS}\n"
        f"{line},\n{line},line 3: more\n",
        encoding="utf-8",
    )
    document = score_file_remotely(str(path), tmp_path / "out.csv", scorer, orders_per_request=10)
    assert (document.rejected, document.predicted) == ({"malformed_line": 1}, 1)


def test_client_bundle_returns_served_bundle(served: tuple[Client, Bundle]) -> None:
    client, bundle = served
    response = client.bundle()
    assert (response.id, response.models, response.manifest.date) == (
        bundle.manifest.id,
        bundle.manifest.models,
        bundle.manifest.date,
    )
