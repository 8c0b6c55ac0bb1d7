"""Files scored through a server come back as `score_file` writes them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from preptime.bundle.bundle import Bundle
from preptime.bundle.champion_log import ChampionLog, LogEntryDraft
from preptime.bundle.store import Store
from preptime.client import Client
from preptime.scoring.remote_scoring import RemoteScorer, score_file_remotely
from preptime.scoring.score_file import score_file
from preptime.scoring.scorer import PREDICTED_READY_AT, PREDICTION_BUNDLE, PREDICTION_REASON
from tests.api.processes import PLAIN_KEY, SERVE_COMMAND, running_server
from tests.scoring.factories import mixed_rows, write_orders, small_bundle


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, Bundle]]:
    """A server of a small bundle, and that bundle."""
    folder = tmp_path_factory.mktemp("served")
    store = Store.open(str(folder / "models"))
    bundle = small_bundle(store)
    entry = LogEntryDraft(
        bundle=bundle.manifest.id, date=bundle.manifest.date, action="promote", reason="test", by="test", at="now"
    )
    ChampionLog(store).append(entry, expected_champion=None)
    with running_server(folder, SERVE_COMMAND) as server:
        server.wait_until("/readyz")
        with Client(server.url, PLAIN_KEY) as client:
            yield client, bundle


def typed() -> pl.DataFrame:
    """Orders as a database gives them: instants in several zones, naive moments' microseconds, floats, a category."""
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
    "typed.parquet": typed(),
    "naive.parquet": typed().with_columns(pl.col("order_acknowledged_at").dt.replace_time_zone(None)),
}


@pytest.mark.parametrize("name", SOURCES)
def test_remote_scoring_equals_local_scoring(tmp_path: Path, served: tuple[Client, Bundle], name: str) -> None:
    client, bundle = served
    source = write_orders(tmp_path / name, SOURCES[name])
    here = score_file(source, tmp_path / "here.parquet", bundle)
    scorer = RemoteScorer(client, client.bundle().models)
    there = score_file_remotely(source, tmp_path / "there.parquet", scorer, orders_per_request=3)
    expected, found = (pl.read_parquet(tmp_path / f"{where}.parquet") for where in ("here", "there"))
    assert found.schema == expected.schema
    own = SOURCES[name].columns
    assert found.select(own).equals(expected.select(own))
    for column in (PREDICTED_READY_AT, PREDICTION_REASON, PREDICTION_BUNDLE, "prediction_fallback_level"):
        assert found[column].to_list() == expected[column].to_list(), column
    for column in expected.columns:
        if column.startswith("predicted_") and column.endswith("_seconds"):
            apart = (found[column] - expected[column]).abs().max()
            assert apart is None or float(str(apart)) <= 0.001, column
    assert (there.rows, there.predicted, there.rejected, there.fallback_level) == (
        here.rows,
        here.predicted,
        here.rejected,
        here.fallback_level,
    )


def test_remote_scoring_rejects_malformed_line(tmp_path: Path, served: tuple[Client, Bundle]) -> None:
    client, _ = served
    path = tmp_path / "orders.csv"
    line = "2015-06-20 19:00:00,21.4,1,3"
    path.write_text(
        f"order_acknowledged_at,order_value_gbp,restaurant_id,number_of_items\n{line}\n{line},more\n", encoding="utf-8"
    )
    document = score_file_remotely(str(path), tmp_path / "out.csv", RemoteScorer(client, ()), orders_per_request=10)
    assert document.rejected == {"malformed_line": 1}
    assert document.predicted == 1


def test_client_bundle_returns_served_bundle(served: tuple[Client, Bundle]) -> None:
    client, bundle = served
    found = client.bundle()
    assert (found.id, found.models, found.manifest.date) == (
        bundle.manifest.id,
        bundle.manifest.models,
        bundle.manifest.date,
    )
