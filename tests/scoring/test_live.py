"""`preptime score --live`: the states of kitchens are replayed from the orders of the file."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import polars as pl
import pytest

from preptime.bundle.bundle import Bundle
from preptime.bundle.store import Store
from preptime.errors import DataError, UsageError
from preptime.scoring.score_file import score_file
from tests.bundle.factories import SECONDS_PER_OPEN_ORDER, put_bundle

START = dt.datetime(2015, 6, 17, 12, tzinfo=dt.timezone(dt.timedelta(hours=1)))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    store = Store.open(str(tmp_path_factory.mktemp("live") / "models"))
    return Bundle.load(store.fetch(put_bundle(store, is_live=True)))


def write_orders(path: Path, minutes: list[tuple[int, int | None]], restaurant: int = 10) -> str:
    """Write orders of one restaurant: minutes of acknowledgement after noon, and of preparation, or None."""
    rows = [
        {
            "order_acknowledged_at": str(START + dt.timedelta(minutes=start)),
            "order_ready_at": None if prep is None else str(START + dt.timedelta(minutes=start + prep)),
            "restaurant_id": restaurant,
            "order_value_gbp": 20.0,
            "number_of_items": 2,
        }
        for start, prep in minutes
    ]
    pl.DataFrame(rows, schema_overrides={"order_ready_at": pl.String}).write_csv(path)
    return str(path)


@pytest.mark.parametrize("chunk_rows", [2, 1_000])
def test_live_scores_depend_on_open_orders_before_each_row(bundle: Bundle, tmp_path: Path, chunk_rows: int) -> None:
    """The rows aren't sorted by time. The third order is never ready, so it's open for three hours."""
    orders = write_orders(tmp_path / "orders.csv", [(30, 20), (0, 60), (10, None), (40, 5), (50, 10), (200, 10)])
    for name, live in (("plain", False), ("live", True)):
        out = tmp_path / f"{name}.parquet"
        score_file(orders, out, bundle, live=live, chunk_rows=chunk_rows, workers=2)
    plain, live_scores = (pl.read_parquet(tmp_path / f"{name}.parquet") for name in ("plain", "live"))
    added = live_scores["predicted_p50_seconds"] - plain["predicted_p50_seconds"]
    # Ready at the moment of an acknowledgement still counts as open: the state is strictly before it.
    open_orders = [2, 0, 1, 3, 3, 0]
    assert added.round(1).to_list() == [SECONDS_PER_OPEN_ORDER * count for count in open_orders]
    assert live_scores["prediction_live"].all()
    assert "prediction_live" not in plain.columns


def test_live_counts_repeated_orders_once(bundle: Bundle, tmp_path: Path) -> None:
    """A day that is delivered twice has the predictions of the day."""
    minutes = [(0, 60), (10, 20), (20, 5), (40, None), (50, 10)]
    days = tmp_path / "once", tmp_path / "twice"
    for folder, names in zip(days, (["day"], ["day", "day again"]), strict=True):
        folder.mkdir()
        for name in names:
            path = folder / f"{name}.csv"
            numbered = pl.read_csv(write_orders(path, minutes)).with_row_index("order_id")
            numbered.write_csv(path)
    once, twice = (tmp_path / f"{folder.name}.parquet" for folder in days)
    score_file(str(days[0]), once, bundle, live=True)
    for chunk_rows in (2, 3, 1_000):
        score_file(str(days[1]), twice, bundle, live=True, chunk_rows=chunk_rows)
        predicted = pl.read_parquet(once)
        assert pl.read_parquet(twice).equals(pl.concat([predicted, predicted]))


def test_live_without_outcomes_is_rejected(bundle: Bundle, tmp_path: Path) -> None:
    orders = write_orders(tmp_path / "orders.csv", [(0, None), (5, None)])
    with pytest.raises(DataError, match="have no outcomes, so every order of the latest 3 hours would count as open"):
        score_file(orders, tmp_path / "out.csv", bundle, live=True)
    assert not (tmp_path / "out.csv").exists()


def test_live_without_live_model_is_rejected(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "models"))
    without = Bundle.load(store.fetch(put_bundle(store)))
    orders = write_orders(tmp_path / "orders.csv", [(0, 10)])
    with pytest.raises(UsageError, match="has no live model") as caught:
        score_file(orders, tmp_path / "out.csv", without, live=True)
    assert caught.value.hint.startswith("Omit --live")
