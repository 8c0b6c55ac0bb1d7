"""The table is drawn once, and a week of daily runs is done once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from preptime.synthetic import SynthesisPlan, synthesize_frames
from tests.daily.factories import LAST, WEEK, Installation, orders_through
from tests.daily.fast_training import use_fast_training

PLAN = SynthesisPlan(orders=4_500, restaurants=40, days=21)


@pytest.fixture(scope="session", autouse=True)
def quick() -> Iterator[None]:
    """Trainings fit two small models, and reports have no pictures."""
    with pytest.MonkeyPatch.context() as patched:
        use_fast_training(patched)
        yield


@pytest.fixture(scope="session")
def restaurants(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The restaurants file."""
    path = tmp_path_factory.mktemp("restaurants") / "restaurants.csv"
    synthesize_frames(PLAN)[1].write_csv(path)
    return path


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """1 to 21 June as a csv has them: text, in order."""
    path = tmp_path_factory.mktemp("rows") / "orders.csv"
    synthesize_frames(PLAN)[0].write_csv(path)
    return pl.read_csv(path, infer_schema=False).sort("order_acknowledged_at")


@pytest.fixture(scope="session")
def week(rows: pl.DataFrame, restaurants: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """A week of daily runs, watched, each on the table as it stood at the end of that day. Nobody writes here."""
    folder = tmp_path_factory.mktemp("week")
    place = Installation.in_folder(folder, folder / "orders.csv", restaurants)
    for date in WEEK:
        orders_through(rows, date).write_csv(place.orders)
        place.run_day(date)
        place.run_monitoring(date)
    return place


@pytest.fixture
def place(rows: pl.DataFrame, restaurants: Path, tmp_path: Path) -> Installation:
    """An installation of one's own, its table as it stands at the end of the week."""
    orders_through(rows, LAST).write_csv(tmp_path / "orders.csv")
    return Installation.in_folder(tmp_path, tmp_path / "orders.csv", restaurants)
