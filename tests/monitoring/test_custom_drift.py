"""Drift of custom features: missing values, numbers, and categories, compared with the training data."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import msgspec
import numpy as np
import polars as pl
import pytest

from preptime.features.feature_set import FeatureSet
from preptime.monitoring.document import FeatureDrift
from preptime.monitoring.monitor import monitor_day
from preptime.monitoring.reference import BinnedDays
from preptime.schema.schema import TAKE_HOME_SCHEMA, CustomFeature
from preptime.synthetic import SynthesisPlan
from tests.monitoring.synthetic_months import ONE_DAY, FrameSource, Month, make_month

SCHEMA = msgspec.structs.replace(
    TAKE_HOME_SCHEMA,
    features=(
        CustomFeature(name="distance", column="km", type="number"),
        CustomFeature(name="desserts", column="desserts", type="number"),
        CustomFeature(name="protocol", column="protocol", type="category"),
    ),
)
DAYS = 38


def add_columns(orders: pl.DataFrame) -> pl.DataFrame:
    """Add a distance, of which 3% are missing, two protocols, and the number of desserts, which is 0 for 95%."""
    rng = np.random.default_rng(4)
    distance = pl.Series(rng.gamma(2.0, 2.0, len(orders)).round(2))
    return orders.with_columns(
        km=distance.set(pl.Series(rng.random(len(orders)) < 0.03), None),
        protocol=pl.Series(np.where(rng.random(len(orders)) < 0.7, "app", "phone").tolist()),
        desserts=pl.Series(np.where(rng.random(len(orders)) < 0.95, 0, 1)),
    )


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Month:
    """38 small days with predictions after day 23."""
    plan = SynthesisPlan(orders=9_000, restaurants=150, days=DAYS)
    root = tmp_path_factory.mktemp("month")
    return make_month(plan, root, trained_days=23, add_columns=add_columns, schema=SCHEMA)


@pytest.fixture(scope="module")
def date(month: Month) -> dt.date:
    """The as-of date after day 37."""
    return month.start + (DAYS - 1) * ONE_DAY


def drift_by_name(month: Month, date: dt.date, **changed: pl.Expr) -> dict[str, FeatureDrift]:
    """Return the drift by feature, with changed columns in the last seven days."""
    rows = month.known_orders(date).rows
    is_recent = pl.col("order_acknowledged_at") >= dt.datetime.combine(date - 7 * ONE_DAY, dt.time(), dt.UTC)
    rows = rows.with_columns(
        pl.when(is_recent).then(value).otherwise(pl.col(name)).alias(name) for name, value in changed.items()
    )
    document = monitor_day(replace(month.inputs(date), orders=FrameSource(rows, schema=SCHEMA)), date)
    return {feature.name: feature for feature in document.drift.features}


def drifted(features: dict[str, FeatureDrift]) -> set[str]:
    return {name for name, feature in features.items() if feature.drifted}


def test_drift_lists_custom_features_without_an_alert(month: Month, date: dt.date) -> None:
    features = drift_by_name(month, date)
    assert tuple(features) == (*FeatureSet.from_schema(SCHEMA).names, "predicted_seconds")
    assert not drifted(features)
    assert [bin_.label for bin_ in features["protocol"].bins] == ["app", "phone", "all others"]
    assert features["protocol"].bins[0].reference == pytest.approx(0.7, abs=0.04)
    assert features["protocol"].bins[0].recent == pytest.approx(0.7, abs=0.04)
    assert [bin_.label for bin_ in features["distance_missing"].bins] == ["present", "missing", "all others"]
    assert features["distance_missing"].bins[1].reference == pytest.approx(0.03, abs=0.015)
    assert (features["protocol"].reference_median, features["distance_missing"].reference_median) == (None, None)
    assert features["distance"].reference_median == pytest.approx(3.3, abs=0.2)  # the median of the gamma distribution


def test_drift_names_numbers_that_became_missing(month: Month, date: dt.date) -> None:
    """Every second distance is missing. Its deciles and its indicator differ."""
    every_second = pl.int_range(pl.len()) % 2 == 0
    features = drift_by_name(month, date, km=pl.when(every_second).then(None).otherwise(pl.col("km")))
    assert drifted(features) == {"distance", "distance_missing"}
    assert features["distance_missing"].bins[1].recent == pytest.approx(0.515, abs=0.05)


def test_drift_names_a_number_that_was_mostly_at_its_minimum(month: Month, date: dt.date) -> None:
    """Most deciles are the same value."""
    features = drift_by_name(month, date, desserts=5 - 5 * pl.col("desserts"))
    assert drifted(features) == {"desserts"}
    assert (features["desserts"].reference_median, features["desserts"].recent_median) == (0.0, 5.0)


def test_drift_names_a_new_category(month: Month, date: dt.date) -> None:
    """The models have no code for it, so it's among all others, and the mean of its cell differs too."""
    features = drift_by_name(month, date, protocol=pl.lit("kiosk"))
    assert {"protocol"} <= drifted(features) <= {"protocol", "protocol_mean_seconds"}
    assert features["protocol"].bins[2].recent == 1.0


def test_drift_never_tests_the_count_of_a_category(month: Month, date: dt.date) -> None:
    """It's the number of all past orders, which always rises."""
    features = drift_by_name(month, date)
    assert not features["protocol_orders"].tested
    assert features["protocol"].tested
    assert features["distance_missing"].tested


def test_binned_days_of_rare_values_have_bins_of_their_own() -> None:
    """All deciles are 0. The bins of an indicator have names."""
    days = [np.array([0.0] * 97 + [1.0] * 3)]
    assert BinnedDays.from_days(days).shares_of([np.ones(10)]).tolist() == [[0.0, 0.0, 1.0]]
    assert BinnedDays.from_days(days).shares_of([np.zeros(10)]).tolist() == [[0.0, 1.0, 0.0]]
    assert BinnedDays.from_days(days, ("present", "missing")).shares_of([np.ones(10)]).tolist() == [[0.0, 1.0, 0.0]]
