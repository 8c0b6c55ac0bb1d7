"""CatBoost: the model `cat` with the notebook's hyperparameters, and the trees that `quantile` uses."""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from preptime.errors import OperationError, UsageError
from preptime.explanations.tree_shap import LEAF, TreeEnsemble
from preptime.formatting import format_count
from preptime.models.model import as_seconds, check_training_rows, normalized_shares

if TYPE_CHECKING:
    from catboost import CatBoostRegressor
    from onnx import ModelProto, NodeProto, TensorProto

    from preptime.models.model import Estimator

ONE_CATBOOST_CALL = threading.RLock()
"""Held during each call to CatBoost, so that no two threads are in the library.

Each call replaces the library's process-wide log and restores it at the end. A call that ends while another one logs
can therefore crash the process: SIGSEGV in `_train` while another thread was in `_calc_fstr`, version 1.2.10, in two
runs of all tests, and in one of 935 small fits, five at a time. CatBoost uses several threads well, with the same
result, so `train` takes as long as with concurrent fits (`python -m benchmarks training_time`).
"""


_SOURCE_LINE = re.compile(r"^\S+:\d+: ")
"""The position in CatBoost's source at the start of its errors."""


@dataclass(frozen=True, slots=True)
class CatBoostTrees:
    """CatBoost's hyperparameters for any loss that predicts one or several numbers. The defaults are the notebook's."""

    loss: str = "RMSE"
    """CatBoost's `loss_function`."""
    tree_count: int = 100
    learning_rate: float = 0.1
    depth: int = 6
    column_fraction: float = 1.0
    """Share of the features that each split can choose from: CatBoost's `rsm`."""
    border_count: int = 254
    """Maximum number of thresholds per feature. The default is the library's on a CPU."""

    def fit(self, X: NDArray[np.float32], y: NDArray[np.float64], *, threads: int, seed: int) -> FittedCatBoostTrees:
        """Return the trees fitted on X [N, F] and y [N] seconds.

        A constant label is allowed. No files are written. Raises `DataError` as `check_training_rows`, and
        `UsageError` if CatBoost can't fit the rows with these hyperparameters.
        """
        from catboost import CatBoostError, CatBoostRegressor

        check_training_rows(X, y)
        is_constant = bool((y == y[0]).all())
        estimator = CatBoostRegressor(
            loss_function=self.loss,
            iterations=self.tree_count,
            learning_rate=self.learning_rate,
            depth=self.depth,
            rsm=self.column_fraction,
            border_count=self.border_count,
            thread_count=threads,
            random_seed=seed,
            allow_writing_files=False,
            allow_const_label=True,
            bootstrap_type="No" if is_constant else None,  # CatBoost can't sample rows whose gradients are all 0
            verbose=False,
        )
        try:
            with ONE_CATBOOST_CALL:
                return FittedCatBoostTrees(estimator.fit(X, y))
        except CatBoostError as error:
            cause = _SOURCE_LINE.sub("", (str(error).splitlines() or ["unknown cause"])[0])
            raise UsageError(
                f"CatBoost can't fit {format_count(len(y), 'order')} with labels from {y.min():g} to {y.max():g} s: "
                f"{cause}.",
                "Change the model's hyperparameters in [models] of schema.toml, or its orders.",
            ) from error


@dataclass(frozen=True, slots=True)
class FittedCatBoostTrees:
    """One fitted CatBoost model with unclipped predictions."""

    estimator: CatBoostRegressor

    @property
    def n_features(self) -> int:
        """The number of feature columns, F."""
        return self.estimator.n_features_in_

    def predict_raw(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the sum of the trees for each row, [N] or [N, targets] seconds, unclipped."""
        with ONE_CATBOOST_CALL:
            return self.estimator.predict(X, thread_count=1)

    def importance(self) -> NDArray[np.float64]:
        """Return how much the prediction changes with each feature, [F], as shares with the sum 1."""
        with ONE_CATBOOST_CALL:
            return normalized_shares(self.estimator.get_feature_importance())

    def to_tree_node(self) -> NodeProto:
        """Return the trees as an ONNX node that reads `features` and returns [N, targets].

        CatBoost's converter writes graphs with a wrong output shape, and those of several targets are rejected by ONNX
        Runtime. Therefore, the node is built from CatBoost's JSON.
        """
        from preptime.models import onnx_export

        document = self._to_document()
        scale, base_values = document.scale_and_bias
        columns = [feature.flat_feature_index for feature in document.features_info.float_features]
        trees = [
            onnx_export.ObliviousTree(
                features=[columns[split.float_feature_index] for split in tree.splits or ()],
                borders=[split.border for split in tree.splits or ()],
                leaf_values=scale * np.reshape(tree.leaf_values, (-1, len(base_values))),
            )
            for tree in document.oblivious_trees
        ]
        return onnx_export.oblivious_tree_node(trees, base_values)

    def raw_nodes(self) -> tuple[list[NodeProto], list[TensorProto]]:
        """Return the nodes and constants that compute `raw`, float32 [N, targets]."""
        from preptime.models import onnx_export

        return [onnx_export.with_output_name(self.to_tree_node(), "raw")], []

    @property
    def leaf_count(self) -> int:
        """The number of leaves of all trees."""
        return int(self.estimator.get_tree_leaf_counts().sum())

    def to_ensemble(self, target: int = 0) -> TreeEnsemble:
        """Return the trees of one target, with the weights of the training rows in their leaves, for explanations."""
        document = self._to_document()
        scale, base_values = document.scale_and_bias
        columns = [feature.flat_feature_index for feature in document.features_info.float_features]
        feature, number, cover = [LEAF], [base_values[target]], [1.0]
        for tree in document.oblivious_trees:
            splits = tree.splits or ()
            depth = len(splits)
            values = scale * np.reshape(tree.leaf_values, (-1, len(base_values)))[:, target]
            # In preorder, the last split is the root. A node's number in binary is the path to it.
            for level, path in _preorder(depth):
                if level == depth:
                    feature.append(LEAF)
                    number.append(float(values[path]))
                    cover.append(tree.leaf_weights[path])
                else:
                    split = splits[depth - 1 - level]
                    feature.append(columns[split.float_feature_index])
                    number.append(split.border)
        return TreeEnsemble(np.array(feature, np.int16), np.array(number, np.float32), np.array(cover, np.float32))

    def _to_document(self) -> _CatBoostDocument:
        """Return the trees. Raises `OperationError` if the temporary file can't be written."""
        from catboost import CatBoostError

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.json"
            try:
                with ONE_CATBOOST_CALL:
                    self.estimator.save_model(str(path), format="json")
            except CatBoostError as error:
                raise OperationError(
                    f"{path} couldn't be written: {error}", "Free space in the folder of temporary files (TMPDIR)."
                ) from error
            return msgspec.json.decode(path.read_bytes(), type=_CatBoostDocument)


def _preorder(depth: int, level: int = 0, path: int = 0) -> Iterator[tuple[int, int]]:
    """Return the level and the path of each node of an oblivious tree: bit `depth` - 1 is the first decision."""
    yield level, path
    if level < depth:
        yield from _preorder(depth, level + 1, path)
        yield from _preorder(depth, level + 1, path | 1 << (depth - 1 - level))


class _Split(msgspec.Struct):
    border: float
    float_feature_index: int


class _Tree(msgspec.Struct):
    leaf_values: list[float]
    """[leaves * targets], leaf by leaf. Bit k of a leaf's number is set if split k is above its border."""
    leaf_weights: list[float]
    """[leaves] the weight of the training rows in each leaf."""
    splits: list[_Split] | None = None
    """None for a tree with only one leaf."""


class _FloatFeature(msgspec.Struct):
    flat_feature_index: int


class _FeaturesInfo(msgspec.Struct):
    float_features: list[_FloatFeature]


class _CatBoostDocument(msgspec.Struct):
    """The parts of CatBoost's JSON that describe the trees."""

    features_info: _FeaturesInfo
    oblivious_trees: list[_Tree]
    scale_and_bias: tuple[float, list[float]]


@dataclass(frozen=True, slots=True)
class CatBoostModel:
    """The model `cat`: CatBoost with squared error and the notebook's hyperparameters."""

    libraries: ClassVar[tuple[str, ...]] = ("catboost",)

    name: str = "cat"
    tree_count: int = 100
    learning_rate: float = 0.1
    depth: int = 6
    column_fraction: float = 1.0
    border_count: int = 254

    def fit(self, X: NDArray[np.float32], y: NDArray[np.float64], *, threads: int, seed: int) -> FittedCatBoostModel:
        """Return the fitted model. The number of threads affects only the duration."""
        trees = CatBoostTrees(
            tree_count=self.tree_count,
            learning_rate=self.learning_rate,
            depth=self.depth,
            column_fraction=self.column_fraction,
            border_count=self.border_count,
        )
        return FittedCatBoostModel(trees.fit(X, y, threads=threads, seed=seed))


@dataclass(frozen=True, slots=True)
class FittedCatBoostModel:
    """A fitted CatBoost model as a point model."""

    trees: FittedCatBoostTrees

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return seconds, [N]."""
        return as_seconds(self.trees.predict_raw(X))

    def importance(self) -> NDArray[np.float64]:
        """Return how much the prediction changes with each feature, [F], as shares with the sum 1."""
        return self.trees.importance()

    def to_onnx(self) -> ModelProto:
        """Return the ONNX model. CatBoost's borders are float32, so both compare the same numbers."""
        from preptime.models import onnx_export

        return onnx_export.point_model(self.trees.to_tree_node(), self.trees.n_features)


def notebook_estimator() -> Estimator:
    """Return the notebook's CatBoost estimator, unfitted, with the library's default seed, for `training.notebook`."""
    from catboost import CatBoostRegressor

    class NotebookCatBoost(CatBoostRegressor):
        """CatBoost that several threads can use: scikit-learn calls these methods of its copies."""

        def fit(self, X: ArrayLike, y: ArrayLike) -> NotebookCatBoost:
            with ONE_CATBOOST_CALL:
                super().fit(X, y)
            return self

        def predict(self, data: ArrayLike, *, thread_count: int = 1) -> NDArray[np.float64]:
            with ONE_CATBOOST_CALL:
                return super().predict(data, thread_count=thread_count)

    hyperparameters = CatBoostTrees()
    return NotebookCatBoost(
        iterations=hyperparameters.tree_count,
        learning_rate=hyperparameters.learning_rate,
        depth=hyperparameters.depth,
        thread_count=1,
        allow_writing_files=False,
        verbose=False,
    )
