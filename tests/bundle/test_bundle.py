"""Loading, verifying, and predicting with a bundle."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

import preptime.bundle.bundle as bundle_module
from preptime.bundle.bundle import Bundle, fetch_verified
from preptime.bundle.golden import GoldenDocument, check_golden, decode_golden, to_order_columns
from preptime.bundle.manifest import MANIFEST_FILE
from preptime.bundle.store import Store
from preptime.domain.orders import OrderColumns, Predictions
from preptime.errors import BundleVerificationError, UsageError
from preptime.features.feature_set import TAKE_HOME_FEATURES
from preptime.features.history import History, feature_matrix
from preptime.features.kitchen import KitchenStates
from tests.bundle.factories import (
    MODELS,
    REPORT,
    SECONDS_PER_OPEN_ORDER,
    TRAINING_FILES,
    WEIGHTS,
    graph_files,
    put_bundle,
    replace_files,
    some_history,
    some_live_model,
    some_model,
    some_orders,
    write_manifest,
)

FILES = sorted(["manifest.json", "model.onnx", "quantile.onnx", "golden.json", *TRAINING_FILES])


NO_LIVE = np.empty((0, 4), np.float32)
"""The live quantiles of a bundle without a live model."""


def test_bundle_predict_uses_history_and_graph(bundle_folder: Path) -> None:
    bundle = Bundle.load(bundle_folder)
    orders = some_orders(30, seed=8)
    matrix = feature_matrix(orders, some_history())
    expected = matrix @ np.array([WEIGHTS.get(name, 0.0) for name in TAKE_HOME_FEATURES.names])

    predictions = bundle.predict(orders)

    np.testing.assert_allclose(predictions.points["rf"], expected, rtol=1e-6)
    np.testing.assert_allclose(predictions.default, expected, rtol=1e-6)
    assert predictions.quantiles.shape == (30, 4)
    np.testing.assert_array_equal(predictions.fallback_level, some_history().fallback_level_for(orders))
    assert bundle.training_files()["report.html"] == REPORT
    assert bundle.graph_files() == graph_files(some_model())


def test_bundle_predict_one_by_one_equals_batch(bundle_folder: Path) -> None:
    bundle = Bundle.load(bundle_folder)
    orders = some_orders(12)
    batch = bundle.predict(orders)
    for row in range(len(orders)):
        single = bundle.predict(orders.take(slice(row, row + 1)))
        np.testing.assert_array_equal(single.quantiles[0], batch.quantiles[row])
        assert single.points["rf"][0] == batch.points["rf"][row]


def test_bundle_predict_without_orders_is_empty(bundle_folder: Path) -> None:
    predictions = Bundle.load(bundle_folder).predict(some_orders(5).take(slice(0, 0)))
    assert predictions.quantiles.shape == (0, 4)
    assert predictions.quantiles.dtype == np.float32
    assert {name: len(values) for name, values in predictions.points.items()} == {"rf": 0}
    assert len(predictions.fallback_level) == 0


def test_loaded_bundle_ignores_changes_to_its_files(bundle_folder: Path) -> None:
    bundle = Bundle.load(bundle_folder)
    orders = some_orders(30)
    before = bundle.predict(orders)
    for path in bundle_folder.rglob("*.*"):
        with path.open("r+b") as file:  # in place, so that a mapping of the file would change
            file.write(b"\xff" * (path.stat().st_size // 2))
            file.truncate(path.stat().st_size // 2)
    after = bundle.predict(orders)
    np.testing.assert_array_equal(after.quantiles, before.quantiles)
    np.testing.assert_array_equal(after.points["rf"], before.points["rf"])
    np.testing.assert_array_equal(after.fallback_level, before.fallback_level)
    for read_again in (bundle.graph_files, bundle.golden_orders, bundle.training_files):
        with pytest.raises(BundleVerificationError, match=r"expected .* bytes, found"):
            read_again()


def test_loaded_arrays_are_read_only_and_not_mapped(bundle_folder: Path) -> None:
    arrays = Bundle.load(bundle_folder).history.arrays()
    del arrays["global_median_seconds"]  # not an array in the history
    for name, array in arrays.items():
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        assert not isinstance(owner, np.memmap), name
        assert not array.flags.writeable


def test_golden_orders_cover_unknown_restaurants(bundle_folder: Path) -> None:
    golden = decode_golden((bundle_folder / "golden.json").read_bytes())
    assert len(golden.fallback_level) == 50
    assert len(set(golden.fallback_level)) >= 4


def damage_file(folder: Path, name: str, how: str) -> None:
    path = folder / name
    content = path.read_bytes()
    if how == "a bit flipped":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif how == "cut short":
        path.write_bytes(content[:-1])
    elif how == "emptied":
        path.write_bytes(b"")
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["a bit flipped", "cut short", "emptied", "removed"])
def test_bundle_load_with_damaged_file_raises_with_its_name(bundle_folder: Path, tmp_path: Path, how: str) -> None:
    names = [path.relative_to(bundle_folder).as_posix() for path in bundle_folder.rglob("*") if path.is_file()]
    assert set(FILES) < set(names)
    for name in names:
        copy = tmp_path / "copy"
        shutil.copytree(bundle_folder, copy)
        damage_file(copy, name, how)
        if (name, how) == (MANIFEST_FILE, "removed"):
            with pytest.raises(UsageError, match=r"not a bundle: it has no manifest\.json"):
                Bundle.load(copy)
        else:
            with pytest.raises(BundleVerificationError) as error:
                Bundle.load(copy)
            assert error.value.facts.startswith(f"copy/{name}: expected "), error.value
            assert "found" in error.value.facts
        shutil.rmtree(copy)


@pytest.mark.parametrize("stray", ["notes.txt", "history/more.npy", "code/run.py"])
def test_bundle_load_with_additional_file_raises(bundle_folder: Path, stray: str) -> None:
    (bundle_folder / stray).parent.mkdir(exist_ok=True)
    (bundle_folder / stray).write_bytes(b"")
    with pytest.raises(BundleVerificationError, match=f"{stray}: expected no file, found a file"):
        Bundle.load(bundle_folder)


def test_bundle_load_checked_elsewhere_skips_golden_orders(bundle_folder: Path) -> None:
    replace_files(bundle_folder, {"model.onnx": some_model(shift=1.0)})  # golden orders differ
    sha256 = hashlib.sha256((bundle_folder / MANIFEST_FILE).read_bytes()).hexdigest()
    assert Bundle.load(bundle_folder, checked_sha256=sha256).manifest.models == MODELS
    with pytest.raises(BundleVerificationError, match=r"golden\.json: expected p10"):
        Bundle.load(bundle_folder)
    with pytest.raises(BundleVerificationError, match="expected the checked manifest, SHA-256 0123, found"):
        Bundle.load(bundle_folder, checked_sha256="0123")
    damage_file(bundle_folder, "report.html", "a bit flipped")
    with pytest.raises(BundleVerificationError, match=r"report\.html: expected SHA-256"):
        Bundle.load(bundle_folder, checked_sha256=sha256)


def golden_with(folder: Path, **fields: object) -> bytes:
    golden = json.loads((folder / "golden.json").read_bytes())
    return json.dumps(golden | fields).encode()


def test_bundle_load_with_changed_golden_prediction_raises(bundle_folder: Path) -> None:
    golden = decode_golden((bundle_folder / "golden.json").read_bytes())
    points = list(golden.points["rf"])
    points[7] += 0.5
    replace_files(bundle_folder, {"golden.json": golden_with(bundle_folder, points={"rf": points})})
    with pytest.raises(BundleVerificationError, match=r"golden\.json: expected rf = .* for golden order 7"):
        Bundle.load(bundle_folder)


def test_bundle_load_with_changed_golden_quantile_raises(bundle_folder: Path) -> None:
    golden = decode_golden((bundle_folder / "golden.json").read_bytes())
    quantiles = [list(row) for row in golden.quantiles]
    quantiles[3][2] -= 1.0
    replace_files(bundle_folder, {"golden.json": golden_with(bundle_folder, quantiles=quantiles)})
    with pytest.raises(BundleVerificationError, match=r"p80 = .* for golden order 3"):
        Bundle.load(bundle_folder)


def test_bundle_load_with_other_model_raises(bundle_folder: Path) -> None:
    replace_files(bundle_folder, {"model.onnx": some_model(shift=1.0)})
    with pytest.raises(BundleVerificationError, match=r"golden\.json: expected p10"):
        Bundle.load(bundle_folder)


def test_bundle_load_with_changed_feature_code_raises(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(
        orders: OrderColumns, history: History, subject: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        matrix = feature_matrix(orders, history, subject)
        matrix[11, 2] = np.nextafter(matrix[11, 2], np.float32(np.inf))
        return matrix

    Bundle.load(bundle_folder)
    monkeypatch.setattr(bundle_module, "feature_matrix", changed)
    with pytest.raises(BundleVerificationError, match=f"{TAKE_HOME_FEATURES.names[2]} = .* of golden order 11"):
        Bundle.load(bundle_folder)


def test_check_golden_tolerance_is_parity_limit(bundle_folder: Path) -> None:
    golden = decode_golden((bundle_folder / "golden.json").read_bytes())
    bundle = Bundle.load(bundle_folder)
    orders = to_order_columns(golden.orders)
    features, predictions = bundle.features(orders), bundle.predict(orders)

    def moved(by: float) -> Predictions:
        return Predictions(
            {"rf": predictions.points["rf"] + np.float32(by)}, predictions.quantiles, predictions.fallback_level
        )

    check_golden(golden, TAKE_HOME_FEATURES.names, features, moved(0.008), NO_LIVE)
    with pytest.raises(BundleVerificationError, match="rf = "):
        check_golden(golden, TAKE_HOME_FEATURES.names, features, moved(0.1), NO_LIVE)
    with pytest.raises(BundleVerificationError, match="rf = "):
        check_golden(golden, TAKE_HOME_FEATURES.names, features, moved(float("nan")), NO_LIVE)


def test_check_golden_with_other_shapes_raises(bundle_folder: Path) -> None:
    golden = decode_golden((bundle_folder / "golden.json").read_bytes())
    bundle = Bundle.load(bundle_folder)
    orders = to_order_columns(golden.orders)
    features, predictions = bundle.features(orders), bundle.predict(orders)
    wrong = {
        "features": [row[:-1] for row in golden.features],
        "points": {},
        "quantiles": [row[:-1] for row in golden.quantiles],
        "fallback_level": [4] * 50,
    }
    for name, value in wrong.items():
        other = msgspec.convert(msgspec.to_builtins(golden) | {name: value}, GoldenDocument)
        with pytest.raises(BundleVerificationError):
            check_golden(other, TAKE_HOME_FEATURES.names, features, predictions, NO_LIVE)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (b"not a graph", "a graph that ONNX Runtime can run"),
        (some_model(source="columns"), "one input 'features'"),
        (some_model(outputs=("gbr", "quantile")), "outputs rf, quantile"),
    ],
)
def test_bundle_load_with_graph_unlike_manifest_raises(bundle_folder: Path, model: bytes, reason: str) -> None:
    replace_files(bundle_folder, {"model.onnx": model})
    with pytest.raises(BundleVerificationError, match=rf"model\.onnx: expected {reason}"):
        Bundle.load(bundle_folder)


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros(4, np.int64), np.array([{}, {}, {}], object)])
def test_bundle_load_with_other_array_type_or_shape_raises(bundle_folder: Path, array: NDArray[np.generic]) -> None:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    replace_files(bundle_folder, {"history/restaurant_id.npy": file.getvalue()})
    with pytest.raises(
        BundleVerificationError, match=r"history/restaurant_id\.npy: expected (<i8\[3\], found|an array)"
    ):
        Bundle.load(bundle_folder)


def test_bundle_load_with_arrays_unlike_format_raises(bundle_folder: Path) -> None:
    fields = json.loads((bundle_folder / MANIFEST_FILE).read_bytes())
    whole = fields["arrays"]
    wrong = {
        "slots": whole | {"slots": {"dtype": "<f8", "shape": whole["slots"]["shape"]}},
        "rows": whole | {"rows": {"dtype": "<f4", "shape": [3, 2]}},
        "fallback_level": {name: array for name, array in whole.items() if name != "fallback_level"},
        "more": whole | {"more": {"dtype": "<f4", "shape": [1]}},
        "restaurant_id": {},
    }
    for name, arrays in wrong.items():
        write_manifest(bundle_folder, fields | {"arrays": arrays})
        with pytest.raises(BundleVerificationError, match=rf"history/{name if arrays else 'city'}\.npy: expected"):
            Bundle.load(bundle_folder)


def test_bundle_load_with_other_quantile_graph_raises(bundle_folder: Path) -> None:
    """The default prediction is that of all models, so another graph for it is damage."""
    other = graph_files(some_model(shift=1.0))["quantile.onnx"]
    replace_files(bundle_folder, {"quantile.onnx": other})
    with pytest.raises(BundleVerificationError, match=r"quantile\.onnx: expected the quantiles of model\.onnx"):
        Bundle.load(bundle_folder)
    replace_files(bundle_folder, {"quantile.onnx": some_model()})
    with pytest.raises(BundleVerificationError, match=r"quantile\.onnx: expected outputs quantile"):
        Bundle.load(bundle_folder)


def test_bundle_load_with_other_live_model_raises(folder_store: Store) -> None:
    folder = folder_store.fetch(put_bundle(folder_store, is_live=True))
    assert Bundle.load(folder).has_live_model
    replace_files(folder, {"live.onnx": some_live_model(shift=1.0)})
    with pytest.raises(BundleVerificationError, match=r"golden\.json: expected live p10 = .* for golden order 0"):
        Bundle.load(folder)
    replace_files(folder, {"live.onnx": graph_files(some_model())["quantile.onnx"]})
    with pytest.raises(BundleVerificationError, match=r"live\.onnx: expected one input 'features'"):
        Bundle.load(folder)


def test_bundle_predict_with_kitchens_changes_only_them(folder_store: Store) -> None:
    bundle = Bundle.load(folder_store.fetch(put_bundle(folder_store, is_live=True)))
    orders = some_orders(30)
    is_live = np.arange(30) % 3 == 0
    states = KitchenStates.from_rows([(number, 0, 0) for number in range(10)])
    plain = bundle.predict(orders)
    for models in (None, (), ("rf",)):
        live = bundle.predict(orders, models, (is_live, states))
        assert live.live is not None
        np.testing.assert_array_equal(live.live, is_live)
        np.testing.assert_array_equal(live.quantiles[~is_live], plain.quantiles[~is_live])
        assert all(np.array_equal(values, plain.points[name]) for name, values in live.points.items())
        expected = plain.default[is_live] + SECONDS_PER_OPEN_ORDER * states.open_orders
        np.testing.assert_allclose(live.default[is_live], expected, rtol=1e-6)
        np.testing.assert_array_equal(live.fallback_level, plain.fallback_level)
    assert plain.live is None
    without = Bundle.load(folder_store.fetch(put_bundle(folder_store))).predict(orders, (), (is_live, states))
    assert without.live is None
    np.testing.assert_array_equal(without.quantiles, plain.quantiles)


@pytest.mark.parametrize("name", ["model.onnx", "quantile.onnx", "live.onnx", "golden.json", "history/rows.npy"])
def test_bundle_load_with_missing_part_raises(folder_store: Store, name: str) -> None:
    bundle_folder = folder_store.fetch(put_bundle(folder_store, is_live=True))
    fields = json.loads((bundle_folder / MANIFEST_FILE).read_bytes())
    del fields["files"][name]
    (bundle_folder / name).unlink()
    write_manifest(bundle_folder, fields)
    with pytest.raises(BundleVerificationError, match=f"{name}: expected a file, found no file"):
        Bundle.load(bundle_folder)


def test_bundle_load_with_other_features_raises(bundle_folder: Path) -> None:
    fields = json.loads((bundle_folder / MANIFEST_FILE).read_bytes())
    fields["features"][0]["name"] = "phase_of_the_moon"
    write_manifest(bundle_folder, fields)
    with pytest.raises(BundleVerificationError, match=r"manifest\.json: expected the features .*phase_of_the_moon"):
        Bundle.load(bundle_folder)


def test_fetch_verified_with_wrong_bundle_id_raises(folder_store: Store, bundle_folder: Path) -> None:
    assert fetch_verified(folder_store, bundle_folder.name).manifest.models == MODELS
    wrong = "2015-06-17-000000000000"
    bundle_folder.rename(bundle_folder.parent / wrong)
    with pytest.raises(BundleVerificationError, match=rf"{wrong}/manifest\.json: expected id {wrong}"):
        fetch_verified(folder_store, wrong)
