"""The table is drawn once, and a week of daily runs is done once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from preptime.synthetic import SynthesisPlan, synthesize_frames
from tests.daily.factories import LAST, WEEK, Place, until
from tests.daily.fast_training import make_quick

PLAN = SynthesisPlan(orders=4_500, restaurants=40, days=21)


@pytest.fixture(scope="session", autouse=True)
def quick() -> Iterator[None]:
    """Trainings fit two small models, and reports have no pictures."""
    with pytest.MonkeyPatch.context() as patched:
        make_quick(patched)
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
def week(rows: pl.DataFrame, restaurants: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A week of daily runs, watched, each on the table as it stood at the end of that day. Nobody writes here."""
    folder = tmp_path_factory.mktemp("week")
    place = Place.below(folder, folder / "orders.csv", restaurants)
    for date in WEEK:
        until(rows, date).write_csv(place.orders)
        place.day(date)
        place.watch(date)
    return place


@pytest.fixture
def place(rows: pl.DataFrame, restaurants: Path, tmp_path: Path) -> Place:
    """An installation of one's own, its table as it stands at the end of the week."""
    until(rows, LAST).write_csv(tmp_path / "orders.csv")
    return Place.below(tmp_path, tmp_path / "orders.csv", restaurants)
