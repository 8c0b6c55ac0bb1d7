"""Offered graphs: each broken requirement is named, and hostile graphs run only in a separate process with limits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from preptime.bundle.store import CheckLimits
from preptime.errors import UsageError
from preptime.models.graph_requirements import ALLOWED_OPERATORS
from preptime.models.onnx_export import merge_to_onnx
from preptime.models.quantile import QuantileModel
from preptime.training.offered_graph import check_offered_graph, with_extreme_rows
from tests.models.custom_models import Fitted, FittedLevels, graph
from tests.models.rows import SEED, training_rows

F = 12
X, Y = training_rows(120, F)
X = np.abs(X) + np.float32(1)
LIMITS = CheckLimits(timeout_seconds=30, memory_mb=512)
Node = helper.make_node


@pytest.fixture(scope="module")
def reference() -> bytes:
    return merge_to_onnx({"quantile": QuantileModel(tree_count=100).fit(X, Y, threads=1, seed=SEED)}, F)


def point(**changes: object) -> onnx.ModelProto:
    """Return a valid point model."""
    return Fitted(2.5, F).to_onnx()


def of_nodes(
    *nodes: onnx.NodeProto, constants: dict[str, NDArray[np.generic]] | None = None, columns: int | None = None
) -> onnx.ModelProto:
    return graph(nodes, F, constants, columns)


def first_column(node: onnx.NodeProto, **constants: NDArray[np.generic]) -> onnx.ModelProto:
    """Return a graph that applies a node to `first`, the first column."""
    gather = Node("Gather", ["x", "column"], ["first"], axis=1)
    return of_nodes(gather, node, constants={"column": np.array(0), **constants})


@pytest.mark.parametrize(("model", "columns"), [(point(), 1), (FittedLevels((1.0, 2.0, 3.0, 4.0), F, 0).to_onnx(), 4)])
def test_valid_graph_passes(model: onnx.ModelProto | bytes, columns: int, reference: bytes) -> None:
    content = model if isinstance(model, bytes) else model.SerializeToString()
    result = check_offered_graph(content, "model.onnx", with_extreme_rows(X), reference, LIMITS)
    assert result.columns == columns
    assert 0 < result.relative_time < 20


def external_data() -> onnx.ModelProto:
    model = point()
    tensor = model.graph.initializer[1]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")
    return model


def loop() -> onnx.ModelProto:
    body = helper.make_graph(
        [Node("Identity", ["go"], ["again"]), Node("Identity", ["value"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, ["N"]),
        ],
        [
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, ["N"]),
        ],
    )
    constants: dict[str, NDArray[np.generic]] = {"n": np.array(2**62), "true": np.array(True)}
    return first_column(Node("Loop", ["n", "true", "first"], ["y"], body=body), **constants)


def fixed_rows() -> onnx.ModelProto:
    model = point()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    return model


def two_outputs() -> onnx.ModelProto:
    model = point()
    model.graph.output.append(helper.make_tensor_value_info("median", TensorProto.FLOAT, ["N"]))
    return model


def whole_seconds() -> onnx.ModelProto:
    model = first_column(Node("Cast", ["first"], ["y"], to=TensorProto.INT64))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    return model


def function() -> onnx.ModelProto:
    model = point()
    model.functions.append(
        helper.make_function("own", "f", ["a"], ["b"], [Node("Identity", ["a"], ["b"])], [helper.make_opsetid("", 17)])
    )
    return model


def slow() -> onnx.ModelProto:
    """Multiply two matrices of constants many times."""
    side = 300
    nodes = [Node("MatMul", ["w", "w"], ["m0"])]
    nodes += [Node("MatMul", [f"m{i}", "first_of_x"], [f"m{i + 1}"]) for i in range(60)]
    nodes.insert(0, Node("ReduceMean", ["x"], ["mean"], axes=[0, 1], keepdims=1))
    nodes.insert(1, Node("Mul", ["mean", "zero"], ["nothing_yet"]))
    nodes.insert(2, Node("Add", ["w", "nothing_yet"], ["first_of_x"]))
    nodes += [
        Node("ReduceMean", ["m60"], ["one"], axes=[0, 1], keepdims=0),
        Node("Mul", ["one", "zero"], ["nothing"]),
        Node("Gather", ["x", "column"], ["first"], axis=1),
        Node("Clip", ["nothing", "zero", "zero"], ["clipped"]),
        Node("Add", ["first", "clipped"], ["y"]),
    ]
    constants: dict[str, NDArray[np.generic]] = {
        "w": np.full((side, side), 1e-3, np.float32),
        "zero": np.array(0, np.float32),
        "column": np.array(0),
    }
    return of_nodes(*nodes, constants=constants)


def huge() -> onnx.ModelProto:
    """Needs 40 GB for the product of two small constants."""
    nodes = (
        Node("Gather", ["x", "column"], ["first"], axis=1),
        Node("Unsqueeze", ["first", "axis"], ["rows"]),
        Node("ReduceMean", ["rows"], ["mean"], axes=[0], keepdims=1),
        Node("Mul", ["long", "mean"], ["scaled"]),
        Node("MatMul", ["scaled", "wide"], ["square"]),
        Node("ReduceMax", ["square"], ["one"], axes=[0, 1], keepdims=0),
        Node("Add", ["first", "one"], ["y"]),
    )
    constants: dict[str, NDArray[np.generic]] = {
        "column": np.array(0),
        "axis": np.array([1]),
        "long": np.ones((100_000, 1), np.float32),
        "wide": np.ones((1, 100_000), np.float32),
    }
    return of_nodes(*nodes, constants=constants)


def sparse() -> onnx.ModelProto:
    model = point()
    values = numpy_helper.from_array(np.ones(1, np.float32), "s")
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(values, numpy_helper.from_array(np.array([0]), "i"), [5])
    )
    return model


BROKEN: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "external data": (external_data, r"no external data: expected all constants in the file"),
    "loop": (loop, r"operators: expected only allowed operators.*found Loop"),
    "random": (lambda: first_column(Node("RandomNormalLike", ["first"], ["y"])), r"operators: .*RandomNormalLike"),
    "custom operator": (
        lambda: first_column(Node("Own", ["first"], ["y"], domain="com.company")),
        r"operators: expected those of ONNX and ai\.onnx\.ml, found Own of the domain 'com\.company'",
    ),
    "function": (function, r"operators: expected no functions of its own, found f"),
    "sparse": (sparse, r"constants: expected dense constants"),
    "other columns": (lambda: Fitted(2.5, F + 1).to_onnx(), rf"input: .* \[N, {F}\], found x, float32 \[N, {F + 1}\]"),
    "fixed rows": (fixed_rows, r"input: expected any number of rows N, found x, float32 \[1, 12\]"),
    "two outputs": (two_outputs, r"output: expected one output of seconds, .* found y, median"),
    "whole seconds": (whole_seconds, r"output: expected float32 or float64, found int64"),
    "three columns": (
        lambda: of_nodes(
            Node("Gather", ["x", "columns"], ["y"], axis=1), constants={"columns": np.arange(3)}, columns=3
        ),
        r"output: expected \[N\] or \[N, 4\] seconds, found shape \(123, 3\)",
    ),
    "nan": (
        lambda: first_column(Node("Log", ["first"], ["y"])),
        r"finite: expected finite seconds, found -inf in row 120",
    ),
    "negative": (
        lambda: first_column(Node("Neg", ["first"], ["y"])),
        r"non-negative: expected non-negative seconds, found -\d+",
    ),
    "batch": (
        lambda: of_nodes(
            Node(
                "LinearRegressor",
                ["x"],
                ["y"],
                domain="ai.onnx.ml",
                coefficients=[float(value) / 7 for value in np.linspace(0.1, 3.1, F)],
                intercepts=[3.7],
            ),
            columns=1,
        ),
        r"batches: Expected the same bits in every batch\. Row \d+ .*Use Mul and ReduceSum instead",
    ),
    "mean of the batch": (
        lambda: of_nodes(
            Node("Gather", ["x", "column"], ["first"], axis=1),
            Node("ReduceMean", ["first"], ["mean"], axes=[0], keepdims=1),
            Node("Add", ["first", "mean"], ["y"]),
            constants={"column": np.array(0)},
        ),
        r"batches: Expected the same bits in every batch",
    ),
    "slow": (slow, r"speed: expected at most 20 times the time of the model quantile, found [\d,]+ times"),
    "memory": (huge, r"memory: expected a graph that runs with 512 MB"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_graph_is_refused_with_the_requirement(name: str, reference: bytes) -> None:
    make, message = BROKEN[name]
    content = make().SerializeToString()
    with pytest.raises(UsageError, match=rf"model\.onnx doesn't meet the requirement on {message}"):
        check_offered_graph(content, "model.onnx", with_extreme_rows(X), reference, LIMITS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "format: expected an ONNX model"),
        (b"\x80\x04pickle", "format: expected an ONNX model"),
        (bytes(33 * 2**20), r"size: expected at most 32 MB, found 33\.0 MB"),
        (point().SerializeToString()[:-40], "format: expected"),
    ],
)
def test_other_bytes_are_refused(content: bytes, message: str, reference: bytes) -> None:
    with pytest.raises(UsageError, match=rf"requirement on {message}"):
        check_offered_graph(content, "model.onnx", with_extreme_rows(X), reference, LIMITS)


def test_graph_that_needs_too_long_is_refused(reference: bytes) -> None:
    """The time limit covers the start of the process, so a limit below it stops every graph."""
    with pytest.raises(UsageError, match=r"requirement on time: expected a graph that runs within 0\.05 s"):
        check_offered_graph(point().SerializeToString(), "model.onnx", X, reference, CheckLimits(0.05, 512))


def test_documented_operators_are_the_allowed_ones() -> None:
    page = (Path(__file__).parents[2] / "docs" / "custom-models.md").read_text(encoding="utf-8")
    block = page.partition("Allowed operators:\n\n```text\n")[2].partition("```")[0]
    lists = [part.partition(": ") for part in block.split("\n\n")]
    documented = {"" if domain == "ONNX" else domain: {*names.split()} for domain, _, names in lists}
    assert documented == ALLOWED_OPERATORS
