"""The bundle is made once: fitting takes longer than all that is asked of it."""

from __future__ import annotations

import pytest

from preptime.bundle.bundle import Bundle
from preptime.bundle.store import Store
from tests.scoring.factories import small_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A small bundle of `rf`, `xgb` and `quantile`."""
    return small_bundle(Store.open(str(tmp_path_factory.mktemp("store"))))
