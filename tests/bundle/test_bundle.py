"""A bundle predicts what it promised, or is refused with the reason."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

import preptime.bundle.bundle as bundle_module
from preptime.bundle.bundle import Bundle, GoldenDocument, check_golden, decode_golden, fetch_verified, to_order_columns
from preptime.bundle.manifest import MANIFEST_FILE
from preptime.bundle.store import Store
from preptime.domain.orders import OrderColumns, Predictions
from preptime.errors import BundleVerificationError, UsageError
from preptime.features.history import History, feature_matrix
from preptime.features.spec import FEATURE_NAMES
from tests.bundle.factories import MODELS, REPORT, TOLD, WEIGHTS, forge, sign, some_history, some_model, some_orders

FILES = sorted(["manifest.json", "model.onnx", "golden.json", *TOLD])


def test_a_bundle_predicts_from_its_history_and_its_graph(bundle_folder: Path) -> None:
    bundle = Bundle.load(bundle_folder)
    orders = some_orders(30, seed=8)
    matrix = feature_matrix(orders, some_history())
    expected = matrix @ np.array([WEIGHTS.get(name, 0.0) for name in FEATURE_NAMES])

    predictions = bundle.predict(orders)

    np.testing.assert_allclose(predictions.points["rf"], expected, rtol=1e-6)
    np.testing.assert_allclose(predictions.default, expected, rtol=1e-6)
    assert predictions.quantiles.shape == (30, 4)
    np.testing.assert_array_equal(predictions.fallback_level, some_history().fallback_level_for(orders))
    assert bundle.training_files()["report.html"] == REPORT
    assert bundle.model_bytes() == some_model()


def test_one_by_one_is_all_at_once(bundle_folder: Path) -> None:
    bundle = Bundle.load(bundle_folder)
    orders = some_orders(12)
    together = bundle.predict(orders)
    for row in range(len(orders)):
        alone = bundle.predict(orders.take(slice(row, row + 1)))
        np.testing.assert_array_equal(alone.quantiles[0], together.quantiles[row])
        assert alone.points["rf"][0] == together.points["rf"][row]


def test_no_orders_make_no_predictions(bundle_folder: Path) -> None:
    predictions = Bundle.load(bundle_folder).predict(some_orders(5).take(slice(0, 0)))
    assert predictions.quantiles.shape == (0, 4)
    assert predictions.quantiles.dtype == np.float32
    assert {name: len(values) for name, values in predictions.points.items()} == {"rf": 0}
    assert len(predictions.fallback_level) == 0


def test_the_history_is_mapped_not_read(bundle_folder: Path) -> None:
    arrays = Bundle.load(bundle_folder).history.arrays()
    del arrays["global_median_seconds"]  # a number in the history
    for name, array in arrays.items():
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        assert isinstance(owner, np.memmap), name
        assert not array.flags.writeable


def test_the_golden_orders_cover_strangers_to_the_history(bundle_folder: Path) -> None:
    golden = decode_golden((bundle_folder / "golden.json").read_bytes())
    assert len(golden.fallback_level) == 50
    assert len(set(golden.fallback_level)) >= 4


def damaged(folder: Path, name: str, how: str) -> None:
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
def test_damage_to_any_file_is_refused_by_its_name(bundle_folder: Path, tmp_path: Path, how: str) -> None:
    names = [path.relative_to(bundle_folder).as_posix() for path in bundle_folder.rglob("*") if path.is_file()]
    assert set(FILES) < set(names)
    for name in names:
        copy = tmp_path / "copy"
        shutil.copytree(bundle_folder, copy)
        damaged(copy, name, how)
        if (name, how) == (MANIFEST_FILE, "removed"):
            with pytest.raises(UsageError, match=r"not a bundle: it has no manifest\.json"):
                Bundle.load(copy)
        else:
            with pytest.raises(BundleVerificationError) as refusal:
                Bundle.load(copy)
            assert refusal.value.facts.startswith(f"copy/{name}: expected "), refusal.value
            assert "found" in refusal.value.facts
        shutil.rmtree(copy)


@pytest.mark.parametrize("stray", ["notes.txt", "history/more.npy", "code/run.py"])
def test_a_stray_file_is_refused(bundle_folder: Path, stray: str) -> None:
    (bundle_folder / stray).parent.mkdir(exist_ok=True)
    (bundle_folder / stray).write_bytes(b"")
    with pytest.raises(BundleVerificationError, match=f"{stray}: expected no such file, found one"):
        Bundle.load(bundle_folder)


def test_without_hashing_sizes_and_golden_orders_are_still_checked(bundle_folder: Path) -> None:
    Bundle.load(bundle_folder, verify=False)
    damaged(bundle_folder, "report.html", "a bit flipped")
    Bundle.load(bundle_folder, verify=False)
    damaged(bundle_folder, "report.html", "cut short")
    with pytest.raises(BundleVerificationError, match=r"report\.html: expected \d+ bytes"):
        Bundle.load(bundle_folder, verify=False)


def changed_golden(folder: Path, **fields: object) -> bytes:
    golden = json.loads((folder / "golden.json").read_bytes())
    return json.dumps(golden | fields).encode()


def test_a_changed_prediction_is_found_though_all_hashes_agree(bundle_folder: Path) -> None:
    golden = decode_golden((bundle_folder / "golden.json").read_bytes())
    points = list(golden.points["rf"])
    points[7] += 0.5
    forge(bundle_folder, {"golden.json": changed_golden(bundle_folder, points={"rf": points})})
    with pytest.raises(BundleVerificationError, match=r"golden\.json: expected rf = .* for golden order 7"):
        Bundle.load(bundle_folder)


def test_a_changed_quantile_is_found(bundle_folder: Path) -> None:
    golden = decode_golden((bundle_folder / "golden.json").read_bytes())
    quantiles = [list(row) for row in golden.quantiles]
    quantiles[3][2] -= 1.0
    forge(bundle_folder, {"golden.json": changed_golden(bundle_folder, quantiles=quantiles)})
    with pytest.raises(BundleVerificationError, match=r"p80 = .* for golden order 3"):
        Bundle.load(bundle_folder)


def test_another_model_under_the_same_golden_orders_is_found(bundle_folder: Path) -> None:
    forge(bundle_folder, {"model.onnx": some_model(shift=1.0)})
    with pytest.raises(BundleVerificationError, match=r"golden\.json: expected p10"):
        Bundle.load(bundle_folder)


def test_feature_code_that_changed_by_one_bit_is_found(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(
        orders: OrderColumns, history: History, subject: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        matrix = feature_matrix(orders, history, subject)
        matrix[11, 2] = np.nextafter(matrix[11, 2], np.float32(np.inf))
        return matrix

    Bundle.load(bundle_folder)
    monkeypatch.setattr(bundle_module, "feature_matrix", changed)
    with pytest.raises(BundleVerificationError, match=f"{FEATURE_NAMES[2]} = .* of golden order 11"):
        Bundle.load(bundle_folder)


def test_the_bound_on_predictions_is_the_parity_bound(bundle_folder: Path) -> None:
    golden = decode_golden((bundle_folder / "golden.json").read_bytes())
    bundle = Bundle.load(bundle_folder)
    orders = to_order_columns(golden.orders)
    features, found = bundle.features(orders), bundle.predict(orders)

    def moved(by: float) -> Predictions:
        return Predictions({"rf": found.points["rf"] + np.float32(by)}, found.quantiles, found.fallback_level)

    check_golden(golden, FEATURE_NAMES, features, moved(0.008))
    with pytest.raises(BundleVerificationError, match="rf = "):
        check_golden(golden, FEATURE_NAMES, features, moved(0.1))
    with pytest.raises(BundleVerificationError, match="rf = "):
        check_golden(golden, FEATURE_NAMES, features, moved(float("nan")))


def test_golden_orders_of_another_shape_are_refused(bundle_folder: Path) -> None:
    golden = decode_golden((bundle_folder / "golden.json").read_bytes())
    bundle = Bundle.load(bundle_folder)
    orders = to_order_columns(golden.orders)
    features, found = bundle.features(orders), bundle.predict(orders)
    wrong = {
        "features": [row[:-1] for row in golden.features],
        "points": {},
        "quantiles": [row[:-1] for row in golden.quantiles],
        "fallback_level": [4] * 50,
    }
    for name, value in wrong.items():
        other = msgspec.convert(msgspec.to_builtins(golden) | {name: value}, GoldenDocument)
        with pytest.raises(BundleVerificationError):
            check_golden(other, FEATURE_NAMES, features, found)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (b"not a graph", "a graph that ONNX Runtime can run"),
        (some_model(source="columns"), "one input 'features'"),
        (some_model(outputs=("gbr", "quantile")), "outputs rf, quantile"),
    ],
)
def test_a_graph_that_is_not_what_the_manifest_says_is_refused(bundle_folder: Path, model: bytes, reason: str) -> None:
    forge(bundle_folder, {"model.onnx": model})
    with pytest.raises(BundleVerificationError, match=rf"model\.onnx: expected {reason}"):
        Bundle.load(bundle_folder)


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros(4, np.int64), np.array([{}, {}, {}], object)])
def test_an_array_of_another_type_or_shape_is_refused(bundle_folder: Path, array: NDArray[np.generic]) -> None:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    forge(bundle_folder, {"history/restaurant_id.npy": file.getvalue()})
    with pytest.raises(
        BundleVerificationError, match=r"history/restaurant_id\.npy: expected (<i8\[3\], found|an array)"
    ):
        Bundle.load(bundle_folder)


def test_arrays_that_are_not_those_of_the_format_are_refused(bundle_folder: Path) -> None:
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
        sign(bundle_folder, fields | {"arrays": arrays})
        with pytest.raises(
            BundleVerificationError, match=rf"history/{name if arrays else 'city'}\.npy: expected"
        ):
            Bundle.load(bundle_folder)


@pytest.mark.parametrize("name", ["model.onnx", "golden.json", "history/rows.npy"])
def test_a_bundle_that_never_had_a_part_is_refused(bundle_folder: Path, name: str) -> None:
    fields = json.loads((bundle_folder / MANIFEST_FILE).read_bytes())
    del fields["files"][name]
    (bundle_folder / name).unlink()
    sign(bundle_folder, fields)
    with pytest.raises(BundleVerificationError, match=f"{name}: expected a file, found none"):
        Bundle.load(bundle_folder)


def test_other_features_are_refused(bundle_folder: Path) -> None:
    fields = json.loads((bundle_folder / MANIFEST_FILE).read_bytes())
    fields["features"][0]["name"] = "phase_of_the_moon"
    sign(bundle_folder, fields)
    with pytest.raises(BundleVerificationError, match=r"manifest\.json: expected the features .*phase_of_the_moon"):
        Bundle.load(bundle_folder)


def test_a_bundle_under_another_name_is_refused(folder_store: Store, bundle_folder: Path) -> None:
    assert fetch_verified(folder_store, bundle_folder.name).manifest.models == MODELS
    wrong = "2015-06-17-000000000000"
    bundle_folder.rename(bundle_folder.parent / wrong)
    with pytest.raises(BundleVerificationError, match=rf"{wrong}/manifest\.json: expected id {wrong}"):
        fetch_verified(folder_store, wrong)
