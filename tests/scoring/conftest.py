"""A bundle for all tests of this folder, because fitting takes longer than the tests."""

from __future__ import annotations

import pytest

from preptime.bundle.bundle import Bundle
from preptime.bundle.store import Store
from tests.scoring.factories import small_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return a small bundle of `rf`, `xgb`, and `quantile`."""
    return small_bundle(Store.open(str(tmp_path_factory.mktemp("store"))))
