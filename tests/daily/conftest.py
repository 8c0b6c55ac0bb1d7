"""Session fixtures: synthetic orders, and an installation after a week of daily runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from preptime.synthetic import SynthesisPlan, synthesize_frames
from tests.daily.factories import LAST, WEEK, Installation, orders_through
from tests.daily.fast_training import use_fast_training

PLAN = SynthesisPlan(orders=4_500, restaurants=40, days=21, seed=3)
"""With this seed, the week has several promotions, and refreshes between them."""


@pytest.fixture(scope="module", autouse=True)
def fast_training() -> Iterator[None]:
    """Fit two small models in each training, and skip the charts of the report. Other folders train in full."""
    with pytest.MonkeyPatch.context() as patched:
        use_fast_training(patched)
        yield


@pytest.fixture(scope="session")
def restaurants(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the restaurants file."""
    path = tmp_path_factory.mktemp("restaurants") / "restaurants.csv"
    synthesize_frames(PLAN)[1].write_csv(path)
    return path


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """Return the orders of 1 to 21 June as text cells, sorted by acknowledgement."""
    path = tmp_path_factory.mktemp("rows") / "orders.csv"
    synthesize_frames(PLAN)[0].write_csv(path)
    return pl.read_csv(path, infer_schema=False).sort("order_acknowledged_at")


@pytest.fixture(scope="session")
def week(rows: pl.DataFrame, restaurants: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Return an installation after a week of daily runs, each with the orders known at that time. Read only."""
    folder = tmp_path_factory.mktemp("week")
    installation = Installation.in_folder(folder, folder / "orders.csv", restaurants)
    with pytest.MonkeyPatch.context() as patched:
        use_fast_training(patched)  # this fixture is older than that of the module
        for date in WEEK:
            orders_through(rows, date).write_csv(installation.orders)
            installation.run_day(date)
            installation.run_monitoring(date)
    return installation


@pytest.fixture
def installation(rows: pl.DataFrame, restaurants: Path, tmp_path: Path) -> Installation:
    """Return an empty installation with the orders through the end of the week."""
    orders_through(rows, LAST).write_csv(tmp_path / "orders.csv")
    return Installation.in_folder(tmp_path, tmp_path / "orders.csv", restaurants)
