"""Small bundles for tests: an ONNX graph, a history, and orders of three restaurants."""

from __future__ import annotations

import datetime as dt
import json
import secrets
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
from fsspec.implementations.memory import MemoryFileSystem
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, load_model_from_string, numpy_helper
from onnx.utils import Extractor

from preptime.bundle.golden import choose_golden_orders
from preptime.bundle.manifest import (
    LIVE_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    QUANTILE_FILE,
    Manifest,
    ManifestDraft,
    TrainingWindow,
    compute_bundle_id,
    decode_manifest,
    describe_files,
    encode_manifest,
)
from preptime.bundle.store import Store
from preptime.bundle.writer import build_bundle_files, write_bundle
from preptime.domain.orders import OrderColumns
from preptime.domain.restaurant_ids import restaurant_key
from preptime.features.feature_set import TAKE_HOME_FEATURES, FeatureSet
from preptime.features.history import History
from preptime.features.history_state import CompletedOrders, HistoryState
from preptime.features.kitchen import LIVE_FEATURES
from preptime.features.restaurant_index import RestaurantIndex, Vocabularies
from preptime.features.restaurant_names import RestaurantNames
from preptime.features.shrinkage import build_history
from preptime.schema.schema import TAKE_HOME_SCHEMA, CustomFeature

DAY = dt.date(2015, 6, 17)
MODELS = ("rf", "quantile")
REPORT = b"<html>training report</html>"
TRAINING_FILES = {"report.html": REPORT, "evaluation.json": b'{"format":1}'}


def some_orders(n: int = 200, seed: int = 5) -> OrderColumns:
    """Return orders of restaurants 10, 20, and 30, from June 1 to 11, 2015."""
    rng = np.random.default_rng(seed)
    index = rng.integers(0, 3, n)
    return OrderColumns(
        acknowledged_at=rng.integers(1_433_116_800, 1_434_060_000, n),
        restaurant_id=(index + 1) * 10,
        order_value=rng.gamma(2.0, 13.0, n),
        number_of_items=rng.integers(1, 9, n),
        country=(1 - index // 2).astype(np.int32),
        city=(index // 2).astype(np.int32),
        type_of_food=index.astype(np.int32),
    )


CUSTOM_SCHEMA = msgspec.structs.replace(
    TAKE_HOME_SCHEMA,
    features=(
        CustomFeature(name="distance", column="km", type="number"),
        CustomFeature(name="protocol", column="protocol", type="category"),
        CustomFeature(name="seats", column="seats", type="number", of="restaurant", range=(-5.0, 500.0)),
        CustomFeature(name="menu", column="menu", type="category", of="restaurant"),
    ),
)
CUSTOM_FEATURES = FeatureSet.from_schema(CUSTOM_SCHEMA)
TEXT_IDS = tuple(sorted(("café 1", "store-7"), key=restaurant_key))
"""The identifiers of the first two restaurants of `custom_history`, in the order of their keys."""


def custom_orders(n: int = 200, seed: int = 5) -> OrderColumns:
    """Return the orders of `some_orders` with custom features. Each value of a custom feature is sometimes missing."""
    orders, rng = some_orders(n, seed), np.random.default_rng(seed)
    distance = np.where(rng.random(n) < 0.3, np.nan, rng.gamma(2.0, 2.0, n))
    categories = np.column_stack([rng.integers(-1, 3, n), orders.type_of_food % 2])
    return replace(orders, numbers=distance[:, None], categories=categories.astype(np.int32))


def custom_history(day: dt.date = DAY) -> History:
    """Return a history with custom features, and two restaurants with a text as identifier before 10, 20, and 30."""
    plain = some_history(day).restaurants
    first = [0, 0]
    restaurants = RestaurantIndex(
        replace(plain.vocabularies, custom=(("app", "phone", "web"), ("long", "short"))),
        np.array([*map(restaurant_key, TEXT_IDS), 10, 20, 30]),
        *(
            np.append(first, getattr(plain, name)).astype(np.int32)
            for name in ("country", "city", "type_of_food", "time_zone")
        ),
        feature_set=CUSTOM_FEATURES,
        numbers=np.array([[-5.0], [np.nan], [20.0], [40.0], [np.nan]]),
        categories=np.array([[-1], [0], [0], [1], [0]], np.int32),
        names=RestaurantNames.from_texts(TEXT_IDS),
    )
    orders = custom_orders(60, seed=1)
    seconds = 600 + 40 * orders.number_of_items
    completed = CompletedOrders(orders, orders.acknowledged_at + seconds, seconds)
    return build_history(HistoryState.from_orders(restaurants, completed), restaurants, day)


def some_history(day: dt.date = DAY, slower_seconds: int = 0) -> History:
    """Return a history as of `day` with forty orders of restaurants 10 and 20, and none of 30."""
    foods = ("burgers", "sushi", "thai")
    restaurants = RestaurantIndex(
        Vocabularies(("France", "UK"), ("London", "Paris"), foods, ("Europe/London", "Europe/Paris")),
        np.array([10, 20, 30]),
        *(np.array(codes, np.int32) for codes in ([1, 1, 0], [0, 0, 1], [0, 1, 2], [0, 0, 1])),
    )
    orders = some_orders(60, seed=1)
    orders = orders.take(orders.restaurant_id < 30)
    seconds = 600 + 40 * orders.number_of_items + slower_seconds
    completed = CompletedOrders(orders, orders.acknowledged_at + seconds, seconds)
    return build_history(HistoryState.from_orders(restaurants, completed), restaurants, day)


WEIGHTS = {"restaurant_mean_seconds": 1.0, "number_of_items": 10.0}
SECONDS_PER_OPEN_ORDER = 30.0
"""What the live model of `some_live_model` adds for each open order."""


def some_model(
    shift: float = 0.0,
    source: str = "features",
    outputs: tuple[str, ...] = MODELS,
    features: FeatureSet = TAKE_HOME_FEATURES,
) -> bytes:
    """Return a graph that predicts the restaurant's mean plus 10 s per item, and quantiles around it plus `shift`."""
    weights = np.array([[WEIGHTS.get(name, 0.0)] for name in features.names], np.float32)
    shapes: dict[str, list[str | int | None]] = {name: ["N", 4] if name == "quantile" else ["N"] for name in outputs}
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", [source, "weights"], ["column"]),
            helper.make_node("Add", ["column", "steps"], ["around"]),
            helper.make_node("Relu", ["around"], [outputs[-1]]),
            helper.make_node("Squeeze", ["column", "axis"], [outputs[0]]),
        ],
        "test",
        [helper.make_tensor_value_info(source, TensorProto.FLOAT, ["N", len(features)])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [
            numpy_helper.from_array(np.array([1]), "axis"),
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(_quantile_steps(shift), "steps"),
        ],
    )
    model: ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


def some_live_model(shift: float = 0.0, features: FeatureSet = TAKE_HOME_FEATURES) -> bytes:
    """Return a graph that predicts the quantiles of `some_model` plus 30 s per open order."""
    names = (*features.names, *(feature.name for feature in LIVE_FEATURES))
    weights = WEIGHTS | {"open_orders": SECONDS_PER_OPEN_ORDER}
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["features", "weights"], ["column"]),
            helper.make_node("Add", ["column", "steps"], ["around"]),
            helper.make_node("Relu", ["around"], ["quantile"]),
        ],
        "live",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", len(names)])],
        [helper.make_tensor_value_info("quantile", TensorProto.FLOAT, ["N", 4])],
        [
            numpy_helper.from_array(np.array([[weights.get(name, 0.0)] for name in names], np.float32), "weights"),
            numpy_helper.from_array(_quantile_steps(shift), "steps"),
        ],
    )
    model: ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


def _quantile_steps(shift: float) -> NDArray[np.float32]:
    return np.array([[-200.0, 0.0, 200.0, 400.0]], np.float32) + np.float32(shift)


def graph_files(model: bytes, live_model: bytes | None = None) -> dict[str, bytes]:
    """Return the graphs of a bundle by file name, for a graph of all models and an optional live model."""
    extracted: ModelProto = Extractor(load_model_from_string(model)).extract_model(["features"], ["quantile"])
    files = {MODEL_FILE: model, QUANTILE_FILE: extracted.SerializeToString()}
    return files if live_model is None else files | {LIVE_FILE: live_model}


def some_draft(day: dt.date = DAY) -> ManifestDraft:
    """Return the draft of a manifest for a training as of `day`."""
    last = day - dt.timedelta(days=1)
    return ManifestDraft(
        kind="training",
        date=day,
        window=TrainingWindow(
            first_day=last - dt.timedelta(days=15),
            last_day=last,
            fitted_through=last,
            gated_from=last - dt.timedelta(days=6),
            gated_through=last,
        ),
        models=MODELS,
        calibration={"orders": 3000},
        data_fingerprint="sha256:0123",
        metrics={"scores": [{"name": "quantile", "mae": 433.25}]},
        libraries={"numpy": "2", "onnxruntime": "1"},
    )


def live_draft(day: dt.date = DAY) -> ManifestDraft:
    """Return the draft of a manifest for a training with a live model."""
    return msgspec.structs.replace(some_draft(day), live_calibration={"orders": 3000})


def some_files(day: dt.date = DAY, shift: float = 0.0, *, is_live: bool = False) -> tuple[Manifest, dict[str, bytes]]:
    """Return the manifest and the files of a small bundle. Another `shift` gives another bundle."""
    return build_bundle_files(
        live_draft(day) if is_live else some_draft(day),
        graphs=graph_files(some_model(shift), some_live_model(shift) if is_live else None),
        history=some_history(day),
        golden_orders=choose_golden_orders(some_orders()),
        extra_files=TRAINING_FILES,
    )


def put_bundle(store: Store, day: dt.date = DAY, shift: float = 0.0, *, is_live: bool = False) -> str:
    """Write a small bundle to the store, with a live model if `is_live`, and return its id."""
    manifest = write_bundle(
        store,
        live_draft(day) if is_live else some_draft(day),
        graphs=graph_files(some_model(shift), some_live_model(shift) if is_live else None),
        history=some_history(day),
        golden_orders=choose_golden_orders(some_orders()),
        extra_files=TRAINING_FILES,
    )
    return manifest.id


def put_custom_bundle(store: Store, shift: float = 0.0) -> str:
    """Write a small bundle with custom features and texts as identifiers to the store, and return its id."""
    manifest = write_bundle(
        store,
        msgspec.structs.replace(some_draft(), schema=CUSTOM_SCHEMA),
        graphs=graph_files(some_model(shift, features=CUSTOM_FEATURES)),
        history=custom_history(),
        golden_orders=choose_golden_orders(custom_orders()),
        extra_files=TRAINING_FILES,
    )
    return manifest.id


def put_endless_bundle(store: Store, day: dt.date = DAY) -> str:
    """Write a bundle whose graph never ends, with correct hashes and a correct id. Return its id."""
    manifest, files = some_files(day)
    files |= {MODEL_FILE: endless_model()}
    del files[MANIFEST_FILE]
    manifest = msgspec.structs.replace(manifest, files=describe_files(files))
    manifest = msgspec.structs.replace(manifest, id=compute_bundle_id(manifest))
    store.write_bundle_files(manifest.id, files | {MANIFEST_FILE: encode_manifest(manifest)})
    return manifest.id


def endless_model() -> bytes:
    """Return the graph of `some_model`, but with a loop of 2**62 rounds before it."""
    model: ModelProto = load_model_from_string(some_model())
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["condition_in"], ["condition_out"]),
            helper.make_node("Identity", ["value_in"], ["value_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("condition_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value_in", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("condition_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value_out", TensorProto.FLOAT, None),
        ],
    )
    loop = helper.make_node("Loop", ["rounds", "condition", "features"], ["looped"], body=body)
    multiplication = model.graph.node[0]
    multiplication.input[0] = "looped"
    model.graph.node.insert(0, loop)
    model.graph.initializer.append(numpy_helper.from_array(np.array(2**62), "rounds"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "condition"))
    content: bytes = model.SerializeToString()
    return content


def put_placeholder(store: Store, day: dt.date, digit: str) -> str:
    """Write a folder that the store lists as a bundle, and return its id. It can't be loaded."""
    bundle_id = f"{day.isoformat()}-{digit * 12}"
    store.write_bundle_files(bundle_id, {"model.onnx": b"model", MANIFEST_FILE: b"{}"})
    return bundle_id


def remote_store(folder: Path) -> Store:
    """Return an empty remote store, whose cache is in a folder."""
    return Store.open(f"memory://{secrets.token_hex(4)}", cache=folder / "cache")


def damage_remote_bundle(store: Store, bundle_id: str, content: bytes | None = b"damaged") -> None:
    """Change or delete a file of a bundle in a store of `remote_store`. The cached copy doesn't change."""
    path = f"{store.url.removeprefix('memory:/')}/bundles/{bundle_id}/golden.json"
    if content is None:
        MemoryFileSystem().rm_file(path)
    else:
        MemoryFileSystem().pipe_file(path, content)


def replace_files(folder: Path, changed: dict[str, bytes]) -> None:
    """Replace files of a bundle and update its manifest, so that hashes and id are consistent."""
    manifest = decode_manifest((folder / MANIFEST_FILE).read_bytes())
    for name, content in changed.items():
        (folder / name).write_bytes(content)
    files = manifest.files | describe_files(changed)
    write_manifest(folder, json.loads(encode_manifest(msgspec.structs.replace(manifest, files=files))))


def write_manifest(folder: Path, fields: dict[str, object]) -> None:
    """Write a manifest with these fields and the id that matches them."""
    manifest = msgspec.convert(fields, Manifest)
    manifest = msgspec.structs.replace(manifest, id=compute_bundle_id(manifest))
    (folder / MANIFEST_FILE).write_bytes(encode_manifest(manifest))
