"""Training, refresh, and comparison with custom features, missing values, and other targets."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from preptime.bundle.bundle import fetch_verified
from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.golden import decode_golden
from preptime.bundle.manifest import BUNDLE_FORMAT, GOLDEN_FILE, MANIFEST_FILE
from preptime.bundle.store import Store
from preptime.domain.orders import UNKNOWN_CODE
from preptime.domain.validation_reasons import MAX_LABEL_SECONDS
from preptime.errors import BundleVerificationError, UsageError
from preptime.features.feature_set import FeatureSet
from preptime.models.onnx_export import PARITY_ABSOLUTE_SECONDS, PARITY_RELATIVE
from preptime.schema.schema import TAKE_HOME_SCHEMA, CustomFeature, OrderColumn, Ratio, Target
from preptime.training.as_of_features import build_feature_matrix
from preptime.training.comparison import compare_bundles, evaluate_bundle
from preptime.training.publishing import build_champion_history, explain_stale_history
from preptime.training.training_data import MIN_CATEGORY_ORDERS
from tests.features.factories import history_bytes
from tests.training.custom_data import SCHEMA, custom_frames, make_custom_data
from tests.training.factories import (
    IDLE_QUANTILE,
    SyntheticData,
    TrainedStore,
    bundle_bytes,
    full_plan,
    june,
    make_challenger,
    override_champion,
    quick_plan,
    run_refresh,
    run_training,
)

FEATURES = FeatureSet.from_schema(SCHEMA)


@pytest.fixture(scope="module")
def custom_data() -> SyntheticData:
    """Return 3,000 orders with custom features."""
    return make_custom_data()


@pytest.fixture(scope="module")
def custom(custom_data: SyntheticData, tmp_path_factory: pytest.TempPathFactory) -> TrainedStore:
    """Return a store with a champion of 13 June that has every model of the catalogue."""
    root = tmp_path_factory.mktemp("custom") / "models"
    store = Store.open(str(root))
    document = run_training(custom_data, june(13), store, plan=full_plan())
    override_champion(store, document.bundle, june(13))
    return TrainedStore(root, document)


def test_train_exports_every_model_with_missing_values(custom: TrainedStore) -> None:
    assert custom.document.parity_seconds.keys() == set(full_plan().models)
    limit = PARITY_ABSOLUTE_SECONDS + PARITY_RELATIVE * MAX_LABEL_SECONDS
    assert max(custom.document.parity_seconds.values()) < limit


def test_bundle_has_schema_features_and_missing_golden_values(custom: TrainedStore) -> None:
    bundle = fetch_verified(Store.open(str(custom.root)), custom.document.bundle)
    assert bundle.schema == SCHEMA
    assert tuple(feature.name for feature in bundle.manifest.features) == FEATURES.names
    golden = decode_golden((bundle.folder / GOLDEN_FILE).read_bytes())
    assert {len(row) for row in golden.orders.numbers} == {3}
    assert all(row == (None, None, None) for row in golden.orders.numbers[-8:])
    known = golden.orders.numbers[:-8]
    assert None not in [row[0] for row in known]
    assert None in [row[2] for row in known]
    np.testing.assert_array_equal(np.array(golden.features, np.float32), bundle.features(bundle.golden_orders()))


def test_train_with_custom_features_is_byte_identical(
    custom_data: SyntheticData, custom: TrainedStore, folder_store: Store
) -> None:
    document = run_training(custom_data.as_of(june(13)), june(13), folder_store, plan=full_plan())
    assert bundle_bytes(folder_store, document.bundle) == bundle_bytes(
        Store.open(str(custom.root)), custom.document.bundle
    )


def test_train_on_canonical_rows_gives_the_same_bundle(
    custom_data: SyntheticData, custom: TrainedStore, folder_store: Store
) -> None:
    """The rows of a database have canonical names. The bundle has the company's, as with files."""
    names = {column.column: name for name, column in SCHEMA.orders.items()}
    names |= {feature.column: feature.name for feature in SCHEMA.features}
    orders, restaurants = (frame.rename(names, strict=False) for frame in (custom_data.orders, custom_data.restaurants))
    rows = SyntheticData.from_frames(orders, restaurants, SCHEMA.canonical())
    document = run_training(rows, june(13), folder_store, plan=full_plan(), schema=SCHEMA)
    assert bundle_bytes(folder_store, document.bundle) == bundle_bytes(
        Store.open(str(custom.root)), custom.document.bundle
    )


def test_vocabulary_has_common_values_without_missing(custom: TrainedStore) -> None:
    """`channel` has ten values with one order each. A missing protocol or style isn't a value."""
    manifest = fetch_verified(Store.open(str(custom.root)), custom.document.bundle).manifest
    assert manifest.vocabularies.custom == (("app", "phone", "web"), ("web",), ("fast", "fine"))


@pytest.mark.parametrize(
    ("orders_before", "is_common"), [(MIN_CATEGORY_ORDERS - 1, False), (MIN_CATEGORY_ORDERS, True)]
)
def test_common_categories_count_orders_before_the_date(
    custom_data: SyntheticData, orders_before: int, *, is_common: bool
) -> None:
    """Later orders with the same value don't count."""
    data = custom_data.training_data
    position = FEATURES.categories.index(next(feature for feature in FEATURES.categories if feature.name == "channel"))
    codes = np.array(data.orders.categories)
    vocabulary = data.restaurants.vocabularies.custom[position]
    day = data.acknowledged_day
    first_rows = np.flatnonzero(day < day[-1] - 5)[:orders_before]
    codes[:, position] = vocabulary.index("web")
    codes[first_rows, position] = vocabulary.index("rare 3")
    codes[day >= day[-1] - 5, position] = vocabulary.index("rare 3")
    changed = replace(data, completed=replace(data.completed, orders=replace(data.orders, categories=codes)))
    before = dt.date(1970, 1, 1) + dt.timedelta(days=int(day[-1]) - 5)
    kept = changed.with_common_categories(before)
    assert kept.restaurants.vocabularies.custom[position] == (("rare 3", "web") if is_common else ("web",))
    assert kept.orders.categories is not None
    assert set(kept.orders.categories[first_rows, position].tolist()) == {0 if is_common else UNKNOWN_CODE}


def test_category_means_never_include_later_orders(custom_data: SyntheticData) -> None:
    """Changing the labels of orders that are ready later changes no row of earlier days."""
    data = custom_data.training_data.with_common_categories(june(13))
    later = data.ready_day >= (june(10) - dt.date(1970, 1, 1)).days
    seconds = np.where(later, data.completed.prep_time_seconds * 2 + 600, data.completed.prep_time_seconds)
    changed = replace(data, completed=replace(data.completed, prep_time_seconds=seconds))
    before, after = (build_feature_matrix(part, june(1), june(10)).X for part in (data, changed))
    np.testing.assert_array_equal(before, after)
    control = [build_feature_matrix(part, june(11), june(12)).X for part in (data, changed)]
    column = FEATURES.names.index("protocol_mean_seconds")
    assert (control[0][:, column] < control[1][:, column]).all()


def test_refresh_equals_the_history_of_a_training(
    custom_data: SyntheticData, custom: TrainedStore, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = custom.copy(tmp_path_factory.mktemp("copy") / "models")
    champion = fetch_verified(store, custom.document.bundle)
    refreshed = fetch_verified(store, run_refresh(custom_data, june(15), store).bundle)
    expected = build_champion_history(champion, custom_data.training_data.as_of(june(15)), june(15))
    assert history_bytes(refreshed.history) == history_bytes(expected)
    assert refreshed.schema == SCHEMA
    assert refreshed.manifest.vocabularies.custom == champion.manifest.vocabularies.custom


def test_lost_comparison_without_features_keeps_history(
    custom_data: SyntheticData, custom: TrainedStore, tmp_path: Path
) -> None:
    """The history of orders that were read without the champion's features has none of their values."""
    store = custom.copy(tmp_path / "models")
    schema = msgspec.structs.replace(SCHEMA, features=())
    plain = SyntheticData.from_frames(custom_data.orders, custom_data.restaurants, schema)
    plan = quick_plan(IDLE_QUANTILE)
    lost = run_training(plain, june(14), store, plan=plan)
    assert (lost.outcome, lost.champion) == ("kept", custom.document.bundle)
    assert lost.reason.startswith("Failed: ")
    assert "needs outstanding, protocol, channel, seats, style, which the schema lacks" in lost.reason
    assert "run preptime refresh --date 2015-06-14" in lost.reason
    assert len(ChampionLog(store).entries()) == 1

    refreshed = run_refresh(custom_data, june(14), store).bundle
    again = run_training(plain, june(14), store, plan=plan)
    assert (again.outcome, again.champion) == ("refreshed", refreshed)
    run_refresh(custom_data, june(15), store)
    assert run_training(plain, june(14), store, plan=plan) == again


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, None),
        ({"target": Target(title="time")}, None),
        ({"ratios": (Ratio(name="load", dividend="outstanding", divisor="order_value"),)}, None),
        ({"features": (*SCHEMA.features, CustomFeature(name="more", column="more", type="category"))}, None),
        ({"features": tuple(feature for feature in SCHEMA.features if feature.name != "driving")}, None),
        (
            {"features": tuple(msgspec.structs.replace(feature, title="New title") for feature in SCHEMA.features)},
            None,
        ),
        ({"features": tuple(feature for feature in SCHEMA.features if feature.name != "seats")}, "seats"),
        (
            {"features": tuple(msgspec.structs.replace(feature, column=feature.name) for feature in SCHEMA.features)},
            "outstanding",
        ),
        ({"orders": {"restaurant_id": SCHEMA.orders["restaurant_id"]}}, "order_value"),
        (
            {"orders": {**SCHEMA.orders, "order_value": OrderColumn(column="order_value_gbp", currency="EUR")}},
            "the currency",
        ),
    ],
)
def test_stale_history_names_what_the_schema_changes(
    custom: TrainedStore, changes: dict[str, object], named: str | None
) -> None:
    manifest = Store.open(str(custom.root)).read_manifest(custom.document.bundle)
    reason = explain_stale_history(manifest, msgspec.structs.replace(SCHEMA, **changes), june(14))
    assert (reason is None) == (named is None)
    assert named is None or f"needs {named}, which" in str(reason)


def test_stale_history_does_not_need_more_than_the_champion(custom: TrainedStore) -> None:
    orders = {"restaurant_id": SCHEMA.orders["restaurant_id"]}
    manifest = Store.open(str(custom.root)).read_manifest(custom.document.bundle)
    manifest = msgspec.structs.replace(manifest, schema=msgspec.structs.replace(SCHEMA, orders=orders, features=()))
    assert explain_stale_history(manifest, SCHEMA, june(14)) is None


def test_comparison_evaluates_champion_with_its_own_vocabulary(
    custom_data: SyntheticData, custom: TrainedStore, folder_store: Store
) -> None:
    """A value that is rare for the challenger and common for the champion keeps the champion's code."""
    orders, restaurants = custom_frames()
    is_web = pl.int_range(pl.len()) % 500 == 0
    changed = SyntheticData.from_frames(
        orders.with_columns(channel=pl.when(is_web).then(pl.lit("web")).otherwise(pl.lit("kiosk"))), restaurants, SCHEMA
    )
    champion = fetch_verified(Store.open(str(custom.root)), custom.document.bundle)
    data = changed.training_data.as_of(june(15))
    challenger = make_challenger(changed.audited, data, june(15), folder_store, quick_plan())
    assert challenger.manifest.vocabularies.custom[1] == ("kiosk",)
    recoded = data.recoded(data.restaurants.recoded(champion.manifest.vocabularies, champion.history.feature_set))
    assert recoded.orders.categories is not None
    assert set(recoded.orders.categories[:, 1].tolist()) == {UNKNOWN_CODE, 0}
    bundle = fetch_verified(folder_store, challenger.manifest.id)
    comparison = compare_bundles(changed.training_data, bundle, champion, june(15), target=Target())
    assert comparison.first_day == june(15)
    assert comparison.champion_mae is not None


def test_champion_of_another_schema_gets_missing_features(data: SyntheticData, custom: TrainedStore) -> None:
    champion = fetch_verified(Store.open(str(custom.root)), custom.document.bundle)
    plain = data.training_data
    evaluated = evaluate_bundle(plain, champion, june(13), june(14))
    assert len(evaluated.actual)
    recoded = plain.recoded(plain.restaurants.recoded(champion.manifest.vocabularies, champion.history.feature_set))
    assert recoded.orders.numbers is not None
    assert np.isnan(recoded.orders.numbers).all()
    assert recoded.orders.categories is not None
    assert (recoded.orders.categories == UNKNOWN_CODE).all()


def test_train_refuses_to_compare_another_target(data: SyntheticData, good: TrainedStore, good_store: Store) -> None:
    schema = msgspec.structs.replace(TAKE_HOME_SCHEMA, target=Target(name="delivery", title="delivery time"))
    delivery = SyntheticData.from_frames(data.orders, data.restaurants, schema)
    before = good_store.log_file_names()
    with pytest.raises(UsageError, match=r"predicts delivery \(delivery time\).*predicts preparation") as error:
        run_training(delivery, june(14), good_store)
    assert "--store" in error.value.hint
    assert good_store.log_file_names() == before


def test_train_with_champion_of_format_1_names_the_command(data: SyntheticData, good_store: Store) -> None:
    entry = ChampionLog(good_store).current()
    assert entry is not None
    path = good_store.fetch(entry.bundle) / MANIFEST_FILE
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b'"format": 2', b'"format": 1'))
    with pytest.raises(BundleVerificationError, match=f"expected format {BUNDLE_FORMAT}, found format 1") as error:
        run_training(data, june(14), good_store)
    assert "preptime bundles promote" in error.value.hint
    challengers = [bundle_id for bundle_id in good_store.bundle_ids() if bundle_id != entry.bundle]
    assert len(challengers) == 1
    assert challengers[0] in error.value.hint
    assert override_champion(good_store, challengers[0], june(14)).bundle == challengers[0]
