"""Small questions about an ONNX graph, and small changes to it, that several steps share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from fitment_contract.variant import TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

MAIN_DOMAINS: Final = ("", "ai.onnx")
"""Two spellings of the standard's own domain."""

WEIGHTED_OPERATORS: Final = ("Conv", "ConvTranspose", "MatMul", "Gemm")
"""Operators whose second input is a weight."""


def opset(model: ModelProto) -> int:
    """The ai.onnx opset that the file declares; 0 when it declares none."""
    return max(
        (entry.version for entry in model.opset_import if entry.domain in MAIN_DOMAINS), default=0
    )


def attribute(node: NodeProto, name: str, default: Any) -> Any:
    """The value of a node's attribute."""
    from onnx import helper

    found = next((entry for entry in node.attribute if entry.name == name), None)
    return default if found is None else helper.get_attribute_value(found)


def walk(graph: GraphProto) -> Iterator[GraphProto]:
    """The graph and the bodies of its Ifs, Loops and Scans, outermost first."""
    yield graph
    for node in graph.node:
        for entry in node.attribute:
            for inner in (entry.g, *entry.graphs):
                if inner.node:
                    yield from walk(inner)


def tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every stored tensor: initializers and the values of Constant nodes, everywhere."""
    for graph in walk(model.graph):
        yield from graph.initializer
        for node in graph.node:
            if node.op_type == "Constant":
                yield from (entry.t for entry in node.attribute if entry.name == "value")


def constants(model: ModelProto) -> dict[str, NDArray[Any]]:
    """The values that are known without running the main graph."""
    from onnx import numpy_helper

    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        value = attribute(node, "value", None) if node.op_type == "Constant" else None
        if value is not None:
            known[node.output[0]] = numpy_helper.to_array(value)
    return known


def standard_nodes(model: ModelProto) -> list[NodeProto]:
    """The nodes of the main graph whose operators the standard defines."""
    return [node for node in model.graph.node if node.domain in MAIN_DOMAINS]


def weighted_operators(model: ModelProto) -> set[str]:
    """The types of the standard nodes whose second input is known without running the graph."""
    known = constants(model)
    return {
        node.op_type
        for node in standard_nodes(model)
        if len(node.input) > 1 and node.input[1] in known
    }


def weight_initializers(model: ModelProto) -> dict[str, NDArray[Any]]:
    """The float weights (not biases) of convolutions and matrix products, by initializer."""
    from onnx import numpy_helper

    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    names = [
        node.input[1]
        for node in model.graph.node
        if node.op_type in WEIGHTED_OPERATORS and node.input[1] in stored
    ]
    arrays = {name: numpy_helper.to_array(stored[name]) for name in dict.fromkeys(names)}
    return {name: values for name, values in arrays.items() if values.dtype.kind == "f"}


def replace_initializer(model: ModelProto, name: str, values: NDArray[Any]) -> None:
    """Store `values` under `name`, which must be an initializer already."""
    from onnx import numpy_helper

    tensor = next(entry for entry in model.graph.initializer if entry.name == name)
    tensor.CopyFrom(numpy_helper.from_array(values, name))


def sort_nodes(model: ModelProto) -> None:
    """Put every node behind those whose outputs it reads, as the standard asks.

    Some converters append what they insert at the end; shape inference then finds nothing.
    """
    made = {name for node in model.graph.node for name in node.output}
    waiting = [(node, _reads(node) & made) for node in model.graph.node]
    ordered: list[NodeProto] = []
    available: set[str] = set()
    while waiting:
        later = []
        for node, needed in waiting:
            if needed <= available:
                ordered.append(node)
                available.update(node.output)
            else:
                later.append((node, needed))
        if len(later) == len(waiting):  # a cycle: no order would help, and the runtime says so
            return
        waiting = later
    del model.graph.node[:]
    model.graph.node.extend(ordered)


def _reads(node: NodeProto) -> set[str]:
    """The tensors that a node needs, those of the graphs inside it included."""
    names = set(node.input)
    for entry in node.attribute:
        for inner in (entry.g, *entry.graphs):
            for nested in inner.node:
                names |= _reads(nested)
    return names


def drop_unused_initializers(model: ModelProto) -> None:
    """Forget stored tensors that no node reads and no output shows."""
    used = {name for graph in walk(model.graph) for node in graph.node for name in node.input}
    used.update(output.name for output in model.graph.output)
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def strip_metadata(model: ModelProto) -> None:
    """Remove what no runtime reads: doc strings, exporters' notes, inferred shapes.

    Exporters' notes have been seen to be half of a small model's file.
    """
    model.doc_string = ""
    del model.metadata_props[:]
    for graph in walk(model.graph):
        graph.doc_string = ""
        del graph.value_info[:]
        del graph.metadata_props[:]
        for node in graph.node:
            node.doc_string = ""
            del node.metadata_props[:]
        for entry in (*graph.input, *graph.output, *graph.initializer):
            entry.doc_string = ""
            del entry.metadata_props[:]


def input_values(model: ModelProto) -> list[ValueInfoProto]:
    """What a caller must feed: inputs that have no stored default."""
    stored = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in stored]


def tensor_spec(value: ValueInfoProto) -> TensorSpec:
    """Name, numpy type and shape of an input or output; free axes are None."""
    from onnx import helper

    tensor = value.type.tensor_type
    shape = tuple(
        axis.dim_value if axis.HasField("dim_value") and axis.dim_value > 0 else None
        for axis in tensor.shape.dim
    )
    dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    return TensorSpec(name=value.name, dtype=str(dtype), shape=shape)


def count_parameters(model: ModelProto) -> int:
    """Stored numbers that were learnt, in whatever precision; not scales and zero points.

    Integers count where they stand for learnt numbers: behind DequantizeLinear, as the weights of
    MatMulInteger and DynamicQuantizeLSTM, and packed in MatMulNBits.
    """
    from onnx import TensorProto

    learnt = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
    scales: set[str] = set()
    integers: set[str] = set()
    packed = 0
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scales.update(node.input[1:])
        if node.op_type == "DequantizeLinear":
            integers.add(node.input[0])
        elif node.op_type == "MatMulInteger":
            integers.add(node.input[1])
        elif node.op_type == "MatMulNBits":
            scales.update(node.input[1:4])
            packed += attribute(node, "K", 0) * attribute(node, "N", 0)
        elif node.op_type == "DynamicQuantizeLSTM":
            integers.update(node.input[1:3])
            scales.update(node.input[8:])
    stored = (
        tensor
        for tensor in tensors(model)
        if tensor.name in integers or (tensor.data_type in learnt and tensor.name not in scales)
    )
    return packed + sum(_elements(tensor) for tensor in stored)


def dominant_precision(model: ModelProto) -> str:
    """The precision of most of the stored weights, by element: what the file mostly is."""
    from onnx import TensorProto

    names: dict[int, str] = {
        TensorProto.FLOAT: "fp32",
        TensorProto.DOUBLE: "fp64",
        TensorProto.FLOAT16: "fp16",
        TensorProto.BFLOAT16: "bf16",
        TensorProto.INT8: "int8",
        TensorProto.UINT8: "int8",
        TensorProto.INT4: "int4",
        TensorProto.UINT4: "int4",
    }
    packed = {
        node.input[1]
        for node in model.graph.node
        if node.op_type == "MatMulNBits" and attribute(node, "bits", 4) == 4
    }
    counts: Counter[str] = Counter()
    for tensor in tensors(model):
        if tensor.name in packed:
            counts["int4"] += 2 * _elements(tensor)
        elif tensor.data_type in names:
            counts[names[tensor.data_type]] += _elements(tensor)
    return counts.most_common(1)[0][0] if counts else "fp32"


def _elements(tensor: TensorProto) -> int:
    count = 1
    for length in tensor.dims:
        count *= length
    return count
