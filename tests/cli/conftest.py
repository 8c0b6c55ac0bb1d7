"""Twelve days of orders, and one demo on them with all models. Other trainings use small models."""

from __future__ import annotations

import contextlib
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
"""The last of twelve days. `demo` scores it, and its bundle is as of this date."""
NEXT_DATE = "2015-06-13"


@dataclass(frozen=True)
class Files:
    """Orders and restaurants, as files and as options."""

    orders: Path
    restaurants: Path

    @property
    def options(self) -> tuple[str, ...]:
        """Options of any command that reads both."""
        return "--orders", str(self.orders), "--restaurants", str(self.restaurants)


@dataclass(frozen=True)
class Demo:
    """The folder and the result of `demo`."""

    folder: Path
    result: CommandResult


@pytest.fixture(scope="session", autouse=True)
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the default results folder of these tests, outside the working directory."""
    with pytest.MonkeyPatch.context() as patched:
        folder = tmp_path_factory.mktemp("results")
        patched.setenv("PREPTIME_RESULTS", str(folder))
        yield folder


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Return CSV files with 2,500 orders of 1 to 12 June."""
    out = tmp_path_factory.mktemp("data")
    preptime("synthesize", "--out", out, "--orders", "2500", "--days", "12").succeeded()
    return Files(out / "orders.csv", out / "restaurants.csv")


@pytest.fixture(scope="session")
def orders(files: Files) -> pl.DataFrame:
    """Return the orders as text, as they are in the file."""
    return pl.read_csv(files.orders, infer_schema=False)


@pytest.fixture(scope="session")
def demo_run(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """Run `demo` on these files once, with the models of a release."""
    folder = tmp_path_factory.mktemp("demo")
    with contextlib.chdir(folder):  # `demo` writes .env to the working directory
        return Demo(folder, preptime("demo", *files.options, "--out", folder, "--json").succeeded())


@pytest.fixture(scope="session")
def trained_bundle(demo_run: Demo) -> str:
    """Return the ID of the bundle that `demo` trained."""
    (bundle,) = Store.open(str(demo_run.folder / "models")).bundle_ids()
    return bundle


@pytest.fixture(scope="session")
def two_bundle_template(demo_run: Demo, files: Files, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with the bundle of `demo`, and a refreshed bundle as champion."""
    root = tmp_path_factory.mktemp("two") / "models"
    shutil.copytree(demo_run.folder / "models", root)
    preptime("refresh", *files.options, "--date", NEXT_DATE, "--store", root).succeeded()
    return root


@pytest.fixture
def store(demo_run: Demo, tmp_path: Path) -> Path:
    """Return a copy of a store whose champion is the bundle of `demo`."""
    return Path(shutil.copytree(demo_run.folder / "models", tmp_path / "models"))


@pytest.fixture
def two_bundle_store(two_bundle_template: Path, tmp_path: Path) -> Path:
    """Return a copy of a store with two bundles."""
    return Path(shutil.copytree(two_bundle_template, tmp_path / "two"))


@pytest.fixture
def quick_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let trainings of this test fit two small models instead of the catalogue."""
    monkeypatch.setattr(FitPlan, "default", quick_default_plan)


def quick_default_plan(threads: int) -> FitPlan:
    """Return a plan with small models, instead of `FitPlan.default`."""
    return quick_plan(threads=threads)


def champion(store: Path) -> str | None:
    """Return the ID of the champion."""
    entry = ChampionLog(Store.open(str(store))).current()
    return entry.bundle if entry else None


def damage_file(store: Path, bundle: str, name: str = "model.onnx") -> None:
    """Change the last byte of a file in a bundle."""
    path = store / "bundles" / bundle / name
    path.chmod(0o644)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
