"""Reads the model that was handed in and refuses, with the fix, what cannot be compressed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fitment_compress.errors import SourceError
from fitment_compress.graph import MAIN_DOMAINS, attribute, input_values, opset, tensors, walk
from fitment_contract.base import sha256_hex

if TYPE_CHECKING:
    from onnx import ModelProto

KNOWN_DOMAINS: Final = (*MAIN_DOMAINS, "ai.onnx.ml", "com.microsoft")
"""Domains whose operators the stock runtimes implement."""

QUANTISED: Final = frozenset(
    {
        *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulNBits"),
        *("MatMulInteger", "ConvInteger", "QLinearConv", "QLinearMatMul"),
    }
)
"""Operators that only a model has that is quantised already."""

_FIRST_BYTE: Final = 0x08
"""How files of ModelProto begin: the key of their first field, `ir_version`."""


@dataclass(frozen=True)
class Source:
    """The model that was handed in, checked.

    Attributes:
        path: where it was read.
        model: what it says; private to whoever reads it, so it may be changed.
        digest, size_bytes: of the file.
    """

    path: Path
    model: ModelProto
    digest: str
    size_bytes: int


def read_source(path: Path) -> Source:
    """The model in `path`.

    Raises:
        SourceError: there is no such file, it is no complete ONNX model, or it holds what cannot
            be compressed: external data, custom operators, layers in training mode, integer
            weights, no inputs, ends that are no tensors.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(
            f"Cannot read {path}: {error.strerror or error}.", "Name an ONNX file that exists."
        ) from error
    model = _parse(path, content)
    for check in (
        _refuse_external_data,
        _refuse_unknown_operators,
        _refuse_training_mode,
        _refuse_quantised,
        _check_standard,
        _refuse_other_ends,
    ):
        check(model)
    return Source(path, model, sha256_hex(content), len(content))


def _parse(path: Path, content: bytes) -> ModelProto:
    import onnx

    export = "Export the model again, for example with torch.onnx.export."
    if not content:
        raise SourceError(f"{path} is empty.", export)
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's own class, which ships without types
        if content[0] == _FIRST_BYTE:
            raise SourceError(
                f"{path} begins like an ONNX file and is cut short or damaged.",
                "Copy it again and compare the sizes, or export it again.",
            ) from error
        raise SourceError(f"{path} is not an ONNX file.", export) from error
    if not model.graph.node:
        raise SourceError(
            f"{path} holds no graph: it is not an ONNX model, or it is empty.", export
        )
    return model


def _refuse_external_data(model: ModelProto) -> None:
    from onnx import TensorProto

    outside = [
        tensor.name for tensor in tensors(model) if tensor.data_location == TensorProto.EXTERNAL
    ]
    if outside:
        raise SourceError(
            f"{len(outside)} weights (the first is {outside[0]!r}) are kept in another file.",
            'Save everything in one file: python -c "import onnx; '
            "onnx.save(onnx.load('model.onnx'), 'single.onnx')\"",
        )


def _refuse_unknown_operators(model: ModelProto) -> None:
    known = {*KNOWN_DOMAINS, *(function.domain for function in model.functions)}
    unknown = {
        f"{node.domain}.{node.op_type}"
        for graph in walk(model.graph)
        for node in graph.node
        if node.domain not in known
    }
    if unknown:
        raise SourceError(
            f"The model uses custom operators: {', '.join(sorted(unknown))}.",
            "Export it with standard operators only: no stock runtime on a device has these.",
        )


def _refuse_training_mode(model: ModelProto) -> None:
    for graph in walk(model.graph):
        for node in graph.node:
            if node.op_type != "BatchNormalization":
                continue
            if (
                attribute(node, "training_mode", 0)
                or len([name for name in node.output if name]) > 1
            ):
                raise SourceError(
                    f"The layer {node.name or node.output[0]!r} (BatchNormalization) was exported "
                    "in training mode: it would normalise by each batch it sees.",
                    "Call model.eval() before the export.",
                )


def _refuse_quantised(model: ModelProto) -> None:
    found = {node.op_type for graph in walk(model.graph) for node in graph.node} & QUANTISED
    if found:
        raise SourceError(
            f"The model is quantised already ({', '.join(sorted(found))}).",
            "Hand in the floating-point model that it was made from.",
        )


def _check_standard(model: ModelProto) -> None:
    import onnx

    if not opset(model):
        raise SourceError(
            "The model declares no ai.onnx opset.", "Export it again with opset_version=17."
        )
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        first_line = str(error).strip().splitlines()[0]
        raise SourceError(
            f"The model breaks the ONNX standard: {first_line}",
            "Export it again; when it is newer than the installed onnx, upgrade onnx.",
        ) from error


def _refuse_other_ends(model: ModelProto) -> None:
    """Models without inputs, and ends that are sequences, maps or optional."""
    inputs = input_values(model)
    if not inputs:
        raise SourceError(
            "The model has no inputs: there is nothing to run it on.",
            "Export it again with its inputs free, not stored as weights.",
        )
    for what, values in (("input", inputs), ("output", model.graph.output)):
        for value in values:
            if value.type.WhichOneof("value") != "tensor_type":
                raise SourceError(
                    f"The {what} {value.name!r} is no tensor, and no device feeds or reads it.",
                    "Export the model with tensors only; from scikit-learn with "
                    "options={'zipmap': False}.",
                )
