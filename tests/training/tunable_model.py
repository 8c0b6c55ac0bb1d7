"""The file of custom models that tests of `tune` search."""

MODEL_SOURCE = '''
import os
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

@dataclass(frozen=True)
class Scaled:
    """Predicts `factor` times the median label."""

    factor: float = 3.0
    shift: float = 0.0
    search_space: ClassVar[dict] = {"factor": (0.1, 10.0, "log")}

    def fit(self, X, y, *, threads, seed):
        counter = os.environ.get("EXIT_AT_FIT")
        if counter is not None:
            os.environ["EXIT_AT_FIT"] = str(int(counter) - 1)
            if int(counter) == 1:
                os._exit(9)
        interrupt = os.environ.get("INTERRUPT_AT_FIT")
        if interrupt is not None:
            os.environ["INTERRUPT_AT_FIT"] = str(int(interrupt) - 1)
            if int(interrupt) == 1:
                raise KeyboardInterrupt
        return Fitted(self.factor * float(np.median(y)) + self.shift, X.shape[1])


@dataclass(frozen=True)
class Picky(Scaled):
    def fit(self, X, y, *, threads, seed):
        if self.factor > 4:
            raise ValueError("the factor is too large")
        return super().fit(X, y, threads=threads, seed=seed)


@dataclass(frozen=True)
class NoSpace(Scaled):
    search_space: ClassVar[None] = None


@dataclass(frozen=True)
class WrongField(Scaled):
    search_space: ClassVar[dict] = {"faktor": (0.1, 10.0)}


@dataclass(frozen=True)
class WrongRange(Scaled):
    search_space: ClassVar[dict] = {"factor": (3, 1)}


@dataclass(frozen=True)
class WrongLog(Scaled):
    search_space: ClassVar[dict] = {"factor": (0, 1, "log")}


@dataclass(frozen=True)
class NoRange(Scaled):
    search_space: ClassVar[dict] = {"factor": 5}


@dataclass(frozen=True)
class Fitted:
    seconds: float
    columns: int

    def predict(self, X):
        return np.full(len(X), self.seconds, np.float32)

    def to_onnx(self):
        return constant_graph([self.seconds], self.columns, keepdims=0)


@dataclass(frozen=True)
class Quantiles:
    """Predicts quantiles of the labels."""

    spread: str = "narrow"
    search_space: ClassVar[dict] = {"spread": ["narrow", "wide"]}

    def fit(self, X, y, *, threads, seed):
        levels = (0.4, 0.5, 0.6, 0.7) if self.spread == "narrow" else (0.1, 0.5, 0.8, 0.9)
        return FittedQuantiles(tuple(np.quantile(y, levels)), X.shape[1])


@dataclass(frozen=True)
class FittedQuantiles:
    seconds: tuple
    columns: int

    def predict(self, X):
        return np.tile(np.array(self.seconds, np.float32), (len(X), 1))

    def to_onnx(self):
        return constant_graph(self.seconds, self.columns, keepdims=1)


def constant_graph(seconds, columns, keepdims):
    """Return a graph with the same seconds for each row."""
    from onnx import TensorProto, helper

    shape = [len(seconds)] if keepdims else []
    nodes = [
        helper.make_node("ReduceMax", ["features"], ["largest"], axes=[1], keepdims=keepdims),
        helper.make_node("Mul", ["largest", "zero"], ["zeros"]),
        helper.make_node("Add", ["zeros", "constant"], ["seconds"]),
    ]
    constants = [
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
        helper.make_tensor("constant", TensorProto.FLOAT, shape, list(seconds)),
    ]
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, columns])
    output = helper.make_tensor_value_info("seconds", TensorProto.FLOAT, [None, *shape])
    graph = helper.make_graph(nodes, "constant", [features], [output], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
'''
