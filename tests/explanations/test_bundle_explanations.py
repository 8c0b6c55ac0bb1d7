"""Explanations of a bundle: they add up to the p50, and loading verifies their trees."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from preptime.bundle.bundle import Bundle
from preptime.bundle.explanations_file import decode_explanations
from preptime.bundle.manifest import EXPLANATIONS_FILE, MANIFEST_FILE
from preptime.bundle.store import Store
from preptime.errors import BundleVerificationError, OperationError, UsageError
from preptime.explanations.explanations import explanation_sentences
from preptime.explanations.groups import feature_groups
from preptime.explanations.p50_trees import P50Trees
from preptime.explanations.tree_shap import LEAF
from preptime.features.feature_set import TAKE_HOME_FEATURES, FeatureSet
from preptime.features.kitchen import LIVE_FEATURES, KitchenStates
from preptime.scoring.explanation_columns import explanation_columns
from preptime.scoring.score_file import score_file
from preptime.synthetic import synthesize_frames
from preptime.training.publishing import write_refreshed_bundle
from scripts.make_release_bundle import SYNTHESIS_PLAN
from tests.bundle.factories import CUSTOM_FEATURES, put_bundle, replace_files
from tests.bundle.test_damage import RANDOM_DAMAGE, WHOLE_FILES
from tests.explanations.bundles import release_folder, release_store
from tests.explanations.trees import make_ensemble

SUM_SECONDS = 1e-3
Document = dict[str, Any]
Numbers = NDArray[np.float32]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.load(release_folder())


@pytest.mark.parametrize("features", [TAKE_HOME_FEATURES, CUSTOM_FEATURES])
@pytest.mark.parametrize("with_kitchen", [False, True])
def test_each_feature_is_in_exactly_one_group(features: FeatureSet, with_kitchen: bool) -> None:
    groups = feature_groups(features, with_kitchen=with_kitchen)
    grouped = [feature.name for group in groups for feature in group.features]
    live = [feature.name for feature in LIVE_FEATURES] if with_kitchen else []
    assert sorted(grouped) == sorted([*features.names, *live])
    assert len({group.name for group in groups}) == len(groups)
    titles = [group.title for group in groups if group.name.startswith("custom_")]
    assert titles == [
        *(custom.display_name for custom in features.custom),
        *(ratio.display_name for ratio in features.ratios),
    ]


def test_explanations_add_up_to_the_p50(bundle: Bundle) -> None:
    orders = bundle.golden_orders()
    is_known = np.arange(len(orders)) % 3 == 0
    count = int(is_known.sum())
    kitchens = is_known, KitchenStates.from_rows([(row % 5, 1, 7_000_000) for row in range(count)])
    for states in (None, kitchens):
        explanations = bundle.explain(orders, states)
        predictions = bundle.predict(orders, (), states)
        np.testing.assert_array_equal(explanations.p50, predictions.default)
        assert explanations.is_live.tolist() == ([False] * len(orders) if states is None else is_known.tolist())
        # This bundle's labels take many values, so only float32 is rounded.
        assert np.abs(explanations.rounding).max() < SUM_SECONDS
        columns = explanation_columns(explanations)
        by_feature = explanation_columns(explanations, by_feature=True)
        for frame in (columns, by_feature):
            total = frame.sum_horizontal().to_numpy()
            np.testing.assert_allclose(total, predictions.default, atol=SUM_SECONDS)
        kitchen = columns["explain_kitchen_seconds"].to_numpy()
        assert (kitchen[~explanations.is_live] == 0).all()
        assert kitchen.any() == (states is not None)
        assert len(set(explanations.base.tolist())) == (1 if states is None else 2)
        names = ("base", "restaurant", "time", "basket", "place", "kitchen", "rounding")
        assert columns.columns == [f"explain_{name}_seconds" for name in names]


def test_score_file_explains_the_live_model(tmp_path: Path, bundle: Bundle) -> None:
    orders, _, _ = synthesize_frames(SYNTHESIS_PLAN)
    orders.write_csv(tmp_path / "orders.csv")
    kitchens = {}
    for live in (False, True):
        score_file(str(tmp_path / "orders.csv"), tmp_path / "out.parquet", bundle, live=live, explain=True)
        scored = pl.read_parquet(tmp_path / "out.parquet")
        total = scored.select(pl.sum_horizontal(pl.col("^explain_.*_seconds$")))
        np.testing.assert_allclose(total.to_series(), scored["predicted_seconds"], atol=SUM_SECONDS)
        kitchens[live] = scored["explain_kitchen_seconds"].to_numpy()
    assert (kitchens[False] == 0).all()
    assert (kitchens[True] != 0).any()


def test_base_value_is_the_mean_of_the_training_rows() -> None:
    ensemble = make_ensemble([(0, 5.0, 0.0), (LEAF, 300.0, 30.0), (LEAF, 900.0, 10.0)])
    trees = P50Trees(ensemble, 1, 0.1)
    assert trees.base_seconds == pytest.approx(1.1 * (300 * 30 + 900 * 10) / 40)
    assert trees.contributions(np.array([[9.0]], np.float32))[0, 0] == pytest.approx(1.1 * 900 - trees.base_seconds)


@pytest.mark.parametrize(
    ("raw", "p50"),
    [
        (1000.0, 1100.0),
        (30.0, 36.0),  # under 60 s, calibration shifts by a share of 60 s
        (-20.0, 0.0),
    ],
)
def test_distance_follows_the_steps_after_the_trees(raw: float, p50: float) -> None:
    trees = P50Trees(make_ensemble([(LEAF, raw, 1.0)]), 1, 0.1)
    X = np.zeros((2, 1), np.float32)
    distance = trees.distance(X, np.array([p50, p50 + 3], np.float32))
    np.testing.assert_allclose(distance, [0, 3], atol=1e-4)


@pytest.mark.parametrize(("p50", "distance"), [(600.0, 0.0), (900.0, 100.0), (850.0, np.inf)])
def test_distance_of_label_values_accepts_only_the_nearest(p50: float, distance: float) -> None:
    trees = P50Trees(make_ensemble([(LEAF, 700.0, 1.0)]), 1, 0.0, (300.0, 600.0, 900.0))
    X = np.zeros((1, 1), np.float32)
    assert trees.distance(X, np.array([p50], np.float32)).tolist() == [pytest.approx(distance)]


@pytest.mark.parametrize(
    "change", [{"scale": -1.5}, {"scale": float("nan")}, {"label_values": (2.0, 1.0)}, {"n_features": 0}]
)
def test_p50_trees_rejects_invalid_values(change: dict[str, Any]) -> None:
    trees = P50Trees(make_ensemble([(0, 5.0, 0.0), (LEAF, 3.0, 1.0), (LEAF, 9.0, 1.0)]), 1, 0.1)
    with pytest.raises(ValueError, match=r"the scale|label values|feature 0 of 0"):
        replace(trees, **change)


def test_sentence_names_the_largest_contributions(bundle: Bundle) -> None:
    explanations = bundle.explain(bundle.golden_orders().take(slice(2)))
    changed = replace(
        explanations,
        p50=np.array([1500.0, 605.0], np.float32),
        base=np.array([780.0, 600.0]),
        contributions=np.zeros_like(explanations.contributions),
    )
    names = [feature.name for feature in explanations.features]
    changed.contributions[0, [names.index("restaurant_mean_seconds"), names.index("weekday")]] = 780.0, -60.0
    longer, equal = explanation_sentences(changed)
    assert longer == (
        "12 min longer than the average order: the restaurant's usual time (+13 min), "
        "the time of day and weekday (−1 min)."
    )
    assert equal == "About as long as the average order."


def test_bundle_without_trees_has_no_explanations(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    plain = Bundle.load(store.fetch(put_bundle(store)))
    assert not plain.has_explanations
    with pytest.raises(UsageError, match=r"has no explanations: its model quantile doesn't consist of trees of Cat"):
        plain.explain(plain.golden_orders())


def test_refresh_keeps_the_explanations(tmp_path: Path, bundle: Bundle) -> None:
    store, bundle_id = release_store(tmp_path)
    champion = Bundle.load(store.fetch(bundle_id))
    history = replace(champion.history, date="2015-06-16")
    manifest = write_refreshed_bundle(store, champion, history)
    assert manifest.files[EXPLANATIONS_FILE] == champion.manifest.files[EXPLANATIONS_FILE]
    assert Bundle.load(store.fetch(manifest.id)).has_explanations


def _edit(change: Callable[[Document], object]) -> Callable[[bytes], bytes]:
    """Return a function that decodes the file, changes its trees of `quantile`, and encodes it."""

    def edit(content: bytes) -> bytes:
        document = msgspec.msgpack.decode(content)
        change(document["quantile"])
        return msgspec.msgpack.encode(document)

    return edit


def _set(name: str, value: object) -> Callable[[bytes], bytes]:
    return _edit(lambda trees: trees.update({name: value}))


def _numbers(change: Callable[[Numbers], object]) -> Callable[[bytes], bytes]:
    def edit(trees: Document) -> None:
        numbers = np.frombuffer(trees["number"], np.float32).copy()
        change(numbers)
        trees["number"] = numbers.tobytes()

    return _edit(edit)


def _add(numbers: Numbers, seconds: float) -> None:
    numbers[0] += seconds  # the first tree is the bias


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda content: content[:-1], r"expected trees of the p50, found an error"),
        (lambda content: content + b"\0", r"expected trees of the p50, found an error"),
        (lambda _: msgspec.msgpack.encode({"quantile": 1, "live": None}), r"expected trees of the p50"),
        (_set("feature", b""), r"found an error \(0 nodes"),
        (_set("feature", b"\0"), r"found an error"),
        (_set("cover", b""), r"nodes, \d+ numbers, and 0 covers"),
        (_set("scale", -2.0), r"the scale -2.0"),
        (_set("scale", 0.5), r"expected trees that give the p50 of .* s of golden order 0, found a difference of"),
        (_set("label_values", [300.0, 600.0]), r"expected trees that give the p50"),
        (_set("other", 1), r"unknown field"),
        (_numbers(lambda numbers: _add(numbers, 1.0)), r"expected trees that give the p50 .* a difference of"),
        (_numbers(lambda numbers: _add(numbers, np.inf)), r"isn't finite"),
    ],
)
def test_load_rejects_damaged_explanations(tmp_path: Path, edit: Callable[[bytes], bytes], message: str) -> None:
    store, bundle_id = release_store(tmp_path)
    folder = store.fetch(bundle_id)
    replace_files(folder, {EXPLANATIONS_FILE: edit((folder / EXPLANATIONS_FILE).read_bytes())})
    with pytest.raises(BundleVerificationError, match=rf"explanations\.msgpack: .*{message}"):
        Bundle.load(folder)


@pytest.mark.parametrize("damage", RANDOM_DAMAGE)
def test_random_damage_is_refused_or_keeps_the_sum(tmp_path: Path, damage: Callable[..., bytes]) -> None:
    """The hashes are correct, so only the checks of the content can find damage. Covers may have any value."""
    store, bundle_id = release_store(tmp_path)
    folder = store.fetch(bundle_id)
    content = (folder / EXPLANATIONS_FILE).read_bytes()
    expected = Bundle.load(folder)
    manifest, refusals = (folder / MANIFEST_FILE).read_bytes(), list[str]()
    for seed in range(6):
        (folder / MANIFEST_FILE).write_bytes(manifest)
        replace_files(folder, {EXPLANATIONS_FILE: damage(content, random.Random(seed))})  # noqa: S311
        try:
            damaged = Bundle.load(folder)
        except BundleVerificationError as error:
            refusals.append(error.facts)
        else:
            explained = damaged.explain(expected.golden_orders())
            assert np.abs(explained.rounding).max() < 0.05
    assert all("explanations.msgpack: expected" in facts for facts in refusals), refusals


@pytest.mark.parametrize("content", WHOLE_FILES.values(), ids=WHOLE_FILES)
def test_other_content_is_refused(bundle: Bundle, content: bytes) -> None:
    with pytest.raises(BundleVerificationError, match=r"^explanations\.msgpack: expected trees of the p50, found"):
        decode_explanations(content, len(bundle.manifest.features), has_live_model=True)


def test_explanations_match_the_live_model_and_the_features(bundle: Bundle) -> None:
    content = (bundle.folder / EXPLANATIONS_FILE).read_bytes()
    with pytest.raises(BundleVerificationError, match=r"expected no trees, found trees of a live model"):
        decode_explanations(content, len(bundle.manifest.features), has_live_model=False)
    with pytest.raises(BundleVerificationError, match=r"feature \d+ of 5 features"):
        decode_explanations(content, 3, has_live_model=True)


def test_refresh_with_other_explanations_is_refused(tmp_path: Path) -> None:
    store, bundle_id = release_store(tmp_path)
    champion = Bundle.load(store.fetch(bundle_id))
    del (files := champion.model_files())[EXPLANATIONS_FILE]
    champion.model_files = lambda: files  # type: ignore[method-assign]
    with pytest.raises(OperationError, match="The models of the refresh differ from those of its parent"):
        write_refreshed_bundle(store, champion, replace(champion.history, date="2015-06-16"))
