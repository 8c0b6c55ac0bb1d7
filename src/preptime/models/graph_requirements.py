"""What the graph of a custom model must be, and how it becomes a part of a bundle's graph (decision 18).

The graph comes from a converter, or from any other program. Each error names the requirement that isn't met. The checks
here read the graph without running it.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper
from onnx.checker import ValidationError, check_model
from onnx.shape_inference import InferenceError
from onnx.version_converter import convert_version

from preptime.domain.orders import QUANTILE_LEVELS
from preptime.errors import UsageError
from preptime.models import onnx_export

MAX_GRAPH_BYTES = 32 * 1024 * 1024
"""Twice the size that the catalogue's models have together at most (tests/models/test_onnx_export.py)."""
MAX_NODES = 2_000

_ELEMENTWISE = (
    *("Abs", "Add", "And", "Ceil", "Clip", "Div", "Elu", "Equal", "Erf", "Exp", "Floor", "Greater", "GreaterOrEqual"),
    *("HardSigmoid", "HardSwish", "IsInf", "IsNaN", "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Mean", "Min"),
    *("Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign"),
    *("Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Tanh", "Where", "Xor"),
)
_SHAPES = (
    *("Cast", "Concat", "Constant", "Flatten", "Gather", "GatherElements", "Identity", "Reshape", "Shape", "Slice"),
    *("Split", "Squeeze", "Transpose", "Unsqueeze"),
)
_ROWS = (
    *("ArgMax", "ArgMin", "Gemm", "LayerNormalization", "MatMul", "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean"),
    *("ReduceMin", "ReduceProd", "ReduceSum", "Softmax"),
)
_TREES = ("ArrayFeatureExtractor", "Imputer", "LinearRegressor", "Scaler", "SVMRegressor", "TreeEnsembleRegressor")
ALLOWED_OPERATORS = {"": frozenset((*_ELEMENTWISE, *_SHAPES, *_ROWS)), "ai.onnx.ml": frozenset(_TREES)}
"""Deterministic operators by domain that compute row by row. None of them runs a subgraph, draws random numbers, or
makes a tensor whose size a value decides."""

_OPSET_HINT = 'Convert the model with target_opset={"": 17, "ai.onnx.ml": 3}.'
_DOCUMENTATION = "The requirements are in docs/custom-models.md."


def parse_graph(content: bytes, name: str) -> ModelProto:
    """Return an ONNX model, without its external data. Raises `UsageError` if it's too large or isn't one."""
    if len(content) > MAX_GRAPH_BYTES:
        size = f"{len(content) / 2**20:,.1f} MB"
        raise refused(name, "size", f"at most {MAX_GRAPH_BYTES // 2**20} MB", size, "Use fewer or smaller trees.")
    try:
        model: ModelProto = ModelProto.FromString(content)
    except Exception as error:  # the class of protobuf's error, which isn't a dependency of its own
        raise refused(name, "format", "an ONNX model", "other bytes", "Export the model again.") from error
    if not model.graph.node:
        raise refused(name, "format", "an ONNX model with nodes", "none", "Export the model again.")
    return model


def check_graph(model: ModelProto, name: str, n_features: int) -> None:
    """Raise `UsageError` unless a graph reads [N, F] float32 and has only allowed operators and no external data."""
    if model.functions:
        raise refused(name, "operators", "no functions of its own", f"{model.functions[0].name}", _DOCUMENTATION)
    if len(model.graph.node) > MAX_NODES:
        found = f"{len(model.graph.node):,}"
        raise refused(name, "number of nodes", f"at most {MAX_NODES:,}", found, "Simplify the graph.")
    _check_operators(model.graph, name)
    _check_data(model.graph, name)
    _check_versions(model, name)
    _check_input(model.graph, name, n_features)
    if len(model.graph.output) != 1:
        found = ", ".join(output.name for output in model.graph.output) or "none"
        raise refused(name, "output", "one output of seconds, [N] or [N, 4]", found, "Keep only this output.")
    output = model.graph.output[0].type.tensor_type.elem_type
    if output not in {TensorProto.FLOAT, TensorProto.DOUBLE}:
        raise refused(name, "output", "float32 or float64", _type_name(output), "Cast the output to float.")
    try:
        check_model(model)
    except (ValidationError, InferenceError) as error:
        first = (str(error).splitlines() or ["unknown"])[0]
        raise refused(name, "format", "a valid ONNX model", first, "Export the model again.") from error


def point_model(model: ModelProto, n_features: int, name: str = "the graph of to_onnx") -> ModelProto:
    """Return a checked graph with one column as a point model: `features` to `seconds`, [N], never negative."""
    nodes, constants, output = _inlined(model, n_features, name)
    nodes += [
        helper.make_node("Reshape", [output, "preptime_vector"], ["preptime_raw"]),
        helper.make_node("Relu", ["preptime_raw"], [onnx_export.OUTPUT_NAME]),
    ]
    constants.append(_int_constant("preptime_vector", [-1]))
    inputs = [onnx_export.features_info(n_features)]
    return onnx_export.make_model(nodes, constants, inputs, [onnx_export.vector_info(onnx_export.OUTPUT_NAME)])


def quantile_nodes(
    model: ModelProto, n_features: int, name: str = "the graph of to_onnx"
) -> tuple[list[NodeProto], list[TensorProto]]:
    """Return the nodes and constants of a checked graph with four columns. They compute `raw` from `features`."""
    nodes, constants, output = _inlined(model, n_features, name)
    nodes.append(helper.make_node("Reshape", [output, "preptime_matrix"], ["raw"]))
    return nodes, [*constants, _int_constant("preptime_matrix", [-1, len(QUANTILE_LEVELS)])]


def _inlined(model: ModelProto, n_features: int, name: str) -> tuple[list[NodeProto], list[TensorProto], str]:
    """Return the nodes, the constants, and the name of the output as float32. Own names start with `in_`."""
    check_graph(model, name, n_features)
    graph = _with_opset(model, name).graph
    constants = list(graph.initializer)
    constant_names = {constant.name for constant in constants}
    (source,) = (value.name for value in graph.input if value.name not in constant_names)
    names = {source: onnx_export.INPUT_NAME, "": ""}
    nodes = [_renamed(node, names) for node in graph.node]
    for constant in constants:
        constant.name = f"in_{constant.name}"
    output = names.get(graph.output[0].name, f"in_{graph.output[0].name}")
    nodes.append(helper.make_node("Cast", [output], ["preptime_float"], to=TensorProto.FLOAT))
    return nodes, constants, "preptime_float"


def _renamed(node: NodeProto, names: dict[str, str]) -> NodeProto:
    node.input[:] = [names.get(tensor, f"in_{tensor}") for tensor in node.input]
    node.output[:] = [names.get(tensor, f"in_{tensor}") for tensor in node.output]
    return node


def _check_operators(graph: GraphProto, name: str) -> None:
    for node in graph.node:
        domain = "" if node.domain == "ai.onnx" else node.domain
        if domain not in ALLOWED_OPERATORS:
            domains = "those of ONNX and ai.onnx.ml"
            raise refused(name, "operators", domains, f"{node.op_type} of the domain {domain!r}", _DOCUMENTATION)
        if node.op_type not in ALLOWED_OPERATORS[domain]:
            expected = "only allowed operators, which are deterministic and compute row by row"
            raise refused(name, "operators", expected, node.op_type, _DOCUMENTATION)
        if any(_has_subgraph(attribute) for attribute in node.attribute):
            raise refused(name, "operators", "no subgraphs", f"one in {node.op_type}", _DOCUMENTATION)


def _has_subgraph(attribute: AttributeProto) -> bool:
    return attribute.type in {AttributeProto.GRAPH, AttributeProto.GRAPHS} or bool(attribute.ref_attr_name)


def _check_data(graph: GraphProto, name: str) -> None:
    """Raise `UsageError` for tensors in other files, and for sparse ones."""
    attributes = [attribute for node in graph.node for attribute in node.attribute]
    tensors = [*graph.initializer, *(attribute.t for attribute in attributes)]
    tensors += [tensor for attribute in attributes for tensor in attribute.tensors]
    if any(tensor.data_location == TensorProto.EXTERNAL or tensor.external_data for tensor in tensors):
        raise refused(
            name, "no external data", "all constants in the file", "one in another file", "Save them in the model."
        )
    is_sparse = any(
        attribute.type in {AttributeProto.SPARSE_TENSOR, AttributeProto.SPARSE_TENSORS} for attribute in attributes
    )
    if graph.sparse_initializer or is_sparse:
        raise refused(name, "constants", "dense constants", "a sparse one", "Export the model with dense constants.")


def _with_opset(model: ModelProto, name: str) -> ModelProto:
    """Return the graph with the version of operators that bundles have. Converters declare the oldest that they can."""
    newest = onnx_export.OPSETS[""]
    versions = {opset.version for opset in model.opset_import if opset.domain in {"", "ai.onnx"}}
    if versions <= {newest}:
        return model
    try:
        return convert_version(model, newest)
    except Exception as error:  # an internal error of onnx, whose class isn't documented
        found = ", ".join(map(str, sorted(versions)))
        raise refused(name, "opset", f"one that can be converted to {newest}", found, _OPSET_HINT) from error


def _check_versions(model: ModelProto, name: str) -> None:
    versions = {"" if opset.domain == "ai.onnx" else opset.domain: opset.version for opset in model.opset_import}
    newest = onnx_export.OPSETS
    trees = versions.get("ai.onnx.ml", 1)
    if trees > newest["ai.onnx.ml"]:
        raise refused(name, "opset of ai.onnx.ml", f"at most {newest['ai.onnx.ml']}", str(trees), _OPSET_HINT)


def _check_input(graph: GraphProto, name: str, n_features: int) -> None:
    constants = {constant.name for constant in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    expected = f"one input, float32 [N, {n_features}]"
    hint = "The columns are those of preptime.features (docs/custom-models.md)."
    if len(inputs) != 1:
        raise refused(name, "input", expected, f"{len(inputs)} inputs", hint)
    found = _describe(inputs[0])
    dimensions = inputs[0].type.tensor_type.shape.dim
    is_matrix = inputs[0].type.tensor_type.elem_type == TensorProto.FLOAT and len(dimensions) == 2
    if not is_matrix or dimensions[1].dim_value != n_features:
        raise refused(name, "input", expected, found, hint)
    if dimensions[0].HasField("dim_value"):
        raise refused(name, "input", "any number of rows N", found, "Export the model with a dynamic first dimension.")


def _describe(value: ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    sizes = [str(size.dim_value) if size.HasField("dim_value") else size.dim_param or "?" for size in tensor.shape.dim]
    return f"{value.name}, {_type_name(tensor.elem_type)} [{', '.join(sizes)}]"


def _type_name(element: int) -> str:
    if element in {TensorProto.FLOAT, TensorProto.DOUBLE}:
        return "float32" if element == TensorProto.FLOAT else "float64"
    return str(TensorProto.DataType.Name(element)).lower()


def _int_constant(name: str, values: Sequence[int]) -> TensorProto:
    return helper.make_tensor(name, TensorProto.INT64, [len(values)], list(values))


def refused(name: str, requirement: str, expected: str, found: str, hint: str) -> UsageError:
    """Return the error for a graph that breaks a requirement."""
    return UsageError(
        f"{name} doesn't meet the requirement on {requirement}: expected {expected}, found {found}.", hint
    )
