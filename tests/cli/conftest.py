"""One month's beginning of orders and one demo on them, the real catalogue; other trainings use quick recipes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.store import Store
from preptime.training.fitting import FitPlan
from tests.cli.run_command import CommandResult, preptime
from tests.training.factories import quick_plan

DATE = "2015-06-12"
"""The last of twelve days: what `demo` scores, and the date of its bundle."""
NEXT_DATE = "2015-06-13"


@dataclass(frozen=True)
class Files:
    """Orders and restaurants, as options."""

    orders: Path
    restaurants: Path

    @property
    def options(self) -> tuple[str, ...]:
        """For any verb that reads both."""
        return "--orders", str(self.orders), "--restaurants", str(self.restaurants)


@dataclass(frozen=True)
class Demo:
    """The demo's folder and what it said."""

    folder: Path
    result: CommandResult


@pytest.fixture(scope="session", autouse=True)
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where these tests' trainings leave their results when no option says otherwise: not in the working folder."""
    with pytest.MonkeyPatch.context() as patched:
        folder = tmp_path_factory.mktemp("results")
        patched.setenv("PREPTIME_RESULTS", str(folder))
        yield folder


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """2,500 orders of 1 to 12 June, csv."""
    out = tmp_path_factory.mktemp("data")
    preptime("synthesize", "--out", out, "--orders", "2500", "--days", "12").succeeded()
    return Files(out / "orders.csv", out / "restaurants.csv")


@pytest.fixture(scope="session")
def orders(files: Files) -> pl.DataFrame:
    """The orders as text, as they stand in the file."""
    return pl.read_csv(files.orders, infer_schema=False)


@pytest.fixture(scope="session")
def demo(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """`demo` on these files, once: every model as it ships."""
    folder = tmp_path_factory.mktemp("demo")
    return Demo(folder, preptime("demo", *files.options, "--out", folder, "--json").succeeded())


@pytest.fixture(scope="session")
def trained(demo: Demo) -> str:
    """The id of the bundle that the demo trained."""
    (bundle,) = Store.open(str(demo.folder / "models")).bundle_ids()
    return bundle


@pytest.fixture(scope="session")
def two_bundles(demo: Demo, files: Files, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the demo's champion, and its refresh as the champion after it."""
    root = tmp_path_factory.mktemp("two") / "models"
    shutil.copytree(demo.folder / "models", root)
    preptime("refresh", *files.options, "--date", NEXT_DATE, "--store", root).succeeded()
    return root


@pytest.fixture
def store(demo: Demo, tmp_path: Path) -> Path:
    """A store of one's own with the demo's bundle as its champion."""
    return Path(shutil.copytree(demo.folder / "models", tmp_path / "models"))


@pytest.fixture
def two(two_bundles: Path, tmp_path: Path) -> Path:
    """A store of one's own with two bundles."""
    return Path(shutil.copytree(two_bundles, tmp_path / "two"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings of this test fit two small models instead of the catalogue."""
    monkeypatch.setattr(FitPlan, "default", quick_default_plan)


def quick_default_plan(threads: int) -> FitPlan:
    """In place of `FitPlan.default`."""
    return quick_plan(threads=threads)


def champion(store: Path) -> str | None:
    """The bundle that serves."""
    entry = ChampionLog(Store.open(str(store))).current()
    return entry.bundle if entry else None


def damage_file(store: Path, bundle: str, name: str = "model.onnx") -> None:
    """Change the last byte of one of a bundle's files."""
    path = store / "bundles" / bundle / name
    path.chmod(0o644)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
