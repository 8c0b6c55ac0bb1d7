"""Session fixtures: synthetic data, fitted models, and stores with a champion."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from preptime.bundle.store import Store
from preptime.training.as_of_features import FeatureMatrix, build_feature_matrix
from preptime.training.fitting import FittedWindow, fit_window
from tests.training.factories import (
    IDLE_QUANTILE,
    WEAK_DATE,
    SyntheticData,
    TrainedStore,
    june,
    make_synthetic_data,
    override_champion,
    quick_plan,
    run_training,
)


@pytest.fixture(scope="session")
def data() -> SyntheticData:
    """Return 3,000 orders from 1 to 15 June."""
    return make_synthetic_data()


@pytest.fixture(scope="session")
def features(data: SyntheticData) -> FeatureMatrix:
    """Return the features of all fifteen days."""
    return build_feature_matrix(data.training_data, june(1), june(15))


@pytest.fixture(scope="session")
def fitted(features: FeatureMatrix) -> FittedWindow:
    """Return two small models fitted through 10 June."""
    return fit_window(features, june(10), quick_plan())


@pytest.fixture
def folder_store(tmp_path: Path) -> Store:
    """Return an empty store in a folder."""
    return Store.open(str(tmp_path / "models"))


@pytest.fixture
def memory_store(tmp_path: Path) -> Iterator[Store]:
    """Yield an empty store in memory."""
    root = secrets.token_hex(4)
    yield Store.open(f"memory://{root}/models", cache=tmp_path / "cache")
    objects = MemoryFileSystem().store
    for name in [name for name in objects if name.startswith(f"/{root}/")]:
        del objects[name]


@pytest.fixture(scope="session")
def good(data: SyntheticData, tmp_path_factory: pytest.TempPathFactory) -> TrainedStore:
    """Return a store in which a bundle of 13 June was promoted."""
    root = tmp_path_factory.mktemp("good") / "models"
    return TrainedStore(root, run_training(data, june(13), Store.open(str(root))))


@pytest.fixture(scope="session")
def weak(data: SyntheticData, tmp_path_factory: pytest.TempPathFactory) -> TrainedStore:
    """Return a store in which an inaccurate bundle of 11 June was promoted by override.

    It serves on the three days of the gate of 14 June.
    """
    root = tmp_path_factory.mktemp("weak") / "models"
    store = Store.open(str(root))
    document = run_training(data, WEAK_DATE, store, plan=quick_plan(IDLE_QUANTILE))
    override_champion(store, document.bundle, WEAK_DATE)
    return TrainedStore(root, document)


@pytest.fixture
def good_store(good: TrainedStore, tmp_path: Path) -> Store:
    """Return a copy of the store of `good`."""
    return good.copy(tmp_path / "good")


@pytest.fixture
def weak_store(weak: TrainedStore, tmp_path: Path) -> Store:
    """Return a copy of the store of `weak`."""
    return weak.copy(tmp_path / "weak")
