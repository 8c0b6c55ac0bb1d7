"""Classes of custom models, with the protocol of docs/custom-models.md or without a part of it.

Tests name this file in `[models]`, so it's also executed as a user's file.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Matrix = NDArray[np.float32]
Vector = NDArray[np.float64]


def graph(
    nodes: Sequence[onnx.NodeProto],
    n_features: int,
    constants: dict[str, NDArray[np.generic]] | None = None,
    columns: int | None = None,
    opset: int = 17,
) -> onnx.ModelProto:
    """Return a model that computes `y` from `x` [N, F]."""
    return helper.make_model(
        helper.make_graph(
            list(nodes),
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", n_features])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"] if columns is None else ["N", columns])],
            [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
        ),
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)],
        ir_version=8,
    )


@dataclass(frozen=True)
class Fitted:
    """Predicts a column times a factor, and the same in ONNX."""

    factor: float
    n_features: int
    column: int = 0

    def predict(self, X: Matrix) -> NDArray[np.floating]:
        return X[:, self.column] * np.float32(self.factor)

    def to_onnx(self) -> onnx.ModelProto:
        constants: dict[str, NDArray[np.generic]] = {
            "column": np.array(self.column),
            "factor": np.array(self.factor, np.float32),
        }
        nodes = [
            helper.make_node("Gather", ["x", "column"], ["median"], axis=1),
            helper.make_node("Mul", ["median", "factor"], ["y"]),
        ]
        return graph(nodes, self.n_features, constants)


@dataclass(frozen=True)
class Scaled:
    """A point model: the label's mean, divided by the mean of a column, times the column."""

    factor: float = 1.0
    column: int = 0

    def fit(self, X: Matrix, y: Vector, *, threads: int, seed: int) -> Fitted:
        del threads, seed
        return Fitted(float(self.factor * y.mean() / max(X[:, self.column].mean(), 1.0)), X.shape[1], self.column)


@dataclass(frozen=True)
class FittedLevels:
    """Quantiles as factors of a column."""

    factors: tuple[float, float, float, float]
    n_features: int
    column: int

    def predict(self, X: Matrix) -> NDArray[np.floating]:
        return X[:, self.column, None] * np.array(self.factors, np.float32)

    def importance(self) -> Vector:
        importance: Vector = np.eye(self.n_features)[self.column]
        return importance

    def to_onnx(self) -> bytes:
        constants: dict[str, NDArray[np.generic]] = {
            "column": np.array([self.column]),
            "factors": np.array(self.factors, np.float32),
        }
        nodes = [
            helper.make_node("Gather", ["x", "column"], ["median"], axis=1),
            helper.make_node("Mul", ["median", "factors"], ["y"]),
        ]
        content: bytes = graph(nodes, self.n_features, constants, 4).SerializeToString()
        return content


@dataclass(frozen=True)
class Levels:
    """A model of quantiles: a column times the quantiles of the label's ratio to it."""

    column: int = 0
    spread: float = 1.0

    def fit(self, X: Matrix, y: Vector, *, threads: int, seed: int) -> FittedLevels:
        del threads, seed
        ratios = y / np.maximum(X[:, self.column].astype(np.float64), 1.0)
        p10, p50, p80, p90 = (float(value) for value in np.quantile(ratios, [0.1, 0.5, 0.8, 0.9]) * self.spread)
        return FittedLevels((p10, p50, p80, p90), X.shape[1], self.column)


class WithoutFit:
    """Lacks the method fit."""


@dataclass(frozen=True)
class ReturnsNone:
    """Its fit returns no object."""

    def fit(self, X: Matrix, y: Vector, *, threads: int, seed: int) -> None:
        del X, y, threads, seed


@dataclass(frozen=True)
class Broken(Scaled):
    """A model with one broken part, which `what` names."""

    what: str = ""

    def fit(self, X: Matrix, y: Vector, *, threads: int, seed: int) -> Fitted:
        del y, seed
        if self.what == "fit":
            raise RuntimeError("the library failed")
        factor = self.factor + (threads / 10 if self.what == "seed" else 0.0)
        return FittedBroken(factor, X.shape[1], self.column, self.what)


@dataclass(frozen=True)
class FittedBroken(Fitted):
    what: str = ""

    def predict(self, X: Matrix) -> NDArray[np.floating]:
        seconds = super().predict(X)
        if self.what == "finite":
            seconds[-1] = np.nan
        if self.what == "shape":
            return np.column_stack([seconds, seconds])
        if self.what == "quantiles":
            return np.column_stack([seconds] * 4)
        if self.what == "batch":
            return seconds + np.float32(len(X))
        return seconds

    def importance(self) -> Vector:
        return np.ones(3 if self.what == "importance" else self.n_features)

    def to_onnx(self) -> onnx.ModelProto:
        model = super().to_onnx()
        if self.what == "export":
            return "a graph"  # type: ignore[return-value]
        if self.what == "parity":
            model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.array(9.5, np.float32), "factor"))
        if self.what == "random":
            model.graph.node[1].op_type = "RandomNormalLike"
            del model.graph.node[1].input[1:]
        if self.what == "cast":  # the seconds are truncated
            model.graph.node[1].output[0] = "seconds"
            model.graph.node.append(helper.make_node("Cast", ["seconds"], ["whole"], to=TensorProto.INT64))
            model.graph.node.append(helper.make_node("Cast", ["whole"], ["y"], to=TensorProto.FLOAT))
        if self.what == "matmul":
            weights = np.linspace(0.1, 3.1, self.n_features * 1).astype(np.float32)[:, None]
            return graph([helper.make_node("MatMul", ["x", "w"], ["y"])], self.n_features, {"w": weights}, columns=1)
        return model


class ReturnsSelf:
    """A point model whose fit returns the object itself, as in scikit-learn. The count of fits is one of its object."""

    fits: int = 0

    def fit(self, X: Matrix, y: Vector, *, threads: int, seed: int) -> ReturnsSelf:
        del threads, seed
        self.fits += 1
        self.factor, self.n_features = float(y.mean()) * self.fits, X.shape[1]
        return self

    def predict(self, X: Matrix) -> NDArray[np.floating]:
        return Fitted(self.factor, self.n_features).predict(X)

    def to_onnx(self) -> onnx.ModelProto:
        return Fitted(self.factor, self.n_features).to_onnx()


class UnseededSelf(ReturnsSelf):
    """Draws other random numbers in each fit."""

    def fit(self, X: Matrix, y: Vector, *, threads: int, seed: int) -> ReturnsSelf:
        return super().fit(X, y + np.random.default_rng().normal(0, 50), threads=threads, seed=seed)


class SharedResult(ReturnsSelf):
    """Keeps its results in the class, and a fit changes the first one."""

    results: ClassVar[list[ReturnsSelf]] = []

    def fit(self, X: Matrix, y: Vector, *, threads: int, seed: int) -> ReturnsSelf:
        self.results.append(super().fit(X, y, threads=threads, seed=seed))
        self.results[0].factor += len(self.results) - 1
        return self


class ChangesArrays(Scaled):
    """Changes the rows and labels that it gets, in fit and in predict."""

    def fit(self, X: Matrix, y: Vector, *, threads: int, seed: int) -> Fitted:
        fitted = super().fit(X, y, threads=threads, seed=seed)
        X *= np.float32(0.5)
        np.clip(y, 300, 1_200, out=y)
        return FittedChangesArrays(fitted.factor, fitted.n_features)


class FittedChangesArrays(Fitted):
    def predict(self, X: Matrix) -> NDArray[np.floating]:
        seconds = super().predict(X)
        X[:] = 0.0
        return seconds


class Exits(Scaled):
    """Ends the program, or is interrupted."""

    def fit(self, X: Matrix, y: Vector, *, threads: int, seed: int) -> Fitted:
        del X, y, threads, seed
        raise SystemExit(3) if self.factor == 1.0 else KeyboardInterrupt


class Prints(Scaled):
    """Prints from Python, from a native library, and from a process."""

    def fit(self, X: Matrix, y: Vector, *, threads: int, seed: int) -> Fitted:
        print("from Python")
        os.write(1, b"from a native library\n")
        subprocess.run([sys.executable, "-c", "print('from a process')"], check=True)
        return super().fit(X, y, threads=threads, seed=seed)
