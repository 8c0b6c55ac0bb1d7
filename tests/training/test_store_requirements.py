"""Tests of what a training needs from the store, checked together with the data before any fit."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import msgspec
import pytest

from preptime.bundle.store import Store
from preptime.errors import DataError, StoreError, UsageError
from preptime.models.quantile import QuantileModel
from preptime.schema.schema import TAKE_HOME_SCHEMA, Target
from preptime.training.fitting import FitPlan
from preptime.validation.data_gate import GateThresholds
from tests.training.factories import SyntheticData, june, run_training

DELIVERY = msgspec.structs.replace(TAKE_HOME_SCHEMA, target=Target(name="delivery", title="delivery time"))


class NeverFitted(QuantileModel):
    """A model that fails the test if it's fitted."""

    def fit(self, *_data: object, **_options: object) -> NoReturn:
        """Fail."""
        raise AssertionError("A model was fitted before all requirements were checked.")


PLAN = FitPlan({"quantile": NeverFitted()}, threads=1)


@pytest.fixture
def unwritable_store(tmp_path: Path) -> Store:
    """Return a store whose parent is a file, which no user can write to."""
    (tmp_path / "file").write_text("")
    return Store.open(str(tmp_path / "file" / "models"))


def test_unwritable_store_is_refused_before_any_fit(data: SyntheticData, unwritable_store: Store) -> None:
    with pytest.raises(StoreError, match="This user can't write to the store") as refused:
        run_training(data, june(13), unwritable_store, plan=PLAN)
    assert refused.value.hint == "Allow it, or use another store (--store)."


def test_another_target_is_refused_before_any_fit(data: SyntheticData, weak_store: Store) -> None:
    before = weak_store.bundle_ids(), weak_store.log_file_names()
    with pytest.raises(UsageError, match=r"predicts delivery \(delivery time\), and the champion .* preparation"):
        run_training(data, june(14), weak_store, plan=PLAN, schema=DELIVERY)
    assert (weak_store.bundle_ids(), weak_store.log_file_names()) == before


def test_data_and_store_are_refused_in_one_message(data: SyntheticData, weak_store: Store) -> None:
    """If the data is refused too, the error is one of the data, and it names everything."""
    with pytest.raises(DataError) as refused:
        run_training(
            data, june(14), weak_store, plan=PLAN, schema=DELIVERY, thresholds=GateThresholds(min_orders=9_999)
        )
    assert "the minimum is 9,999." in refused.value.facts
    assert "The new bundle predicts delivery" in refused.value.facts
    assert "Use another store for delivery (--store)." in refused.value.hint
    assert "--gate min_orders=" in refused.value.hint
