"""The inputs and outputs of a .tflite file: names, order, layout and types as callers know them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Final

from fitment_compress.converter.flatbuffer import tools
from fitment_compress.errors import TechniqueError

_VERSIONS: Final = {
    ("QUANTIZE", "INT8"): 1,
    ("QUANTIZE", "INT16"): 3,
    ("DEQUANTIZE", "INT8"): 2,
    ("DEQUANTIZE", "INT16"): 3,
}
"""Since which version of an operator it takes such a tensor."""


class Ends:
    """A .tflite file with one graph and one signature, whose ends are changed.

    Args:
        content: the file.
    """

    def __init__(self, content: bytes) -> None:
        self._model = tools().read_model_from_bytearray(bytearray(content))
        self._graph = self._model.subgraphs[0]
        self._signature = self._model.signatureDefs[0]

    def content(self) -> bytes:
        """The changed file."""
        return bytes(tools().convert_object_to_bytearray(self._model))

    @property
    def inputs(self) -> list[str]:
        """The names of the inputs, in their order."""
        return self._names(self._graph.inputs)

    @property
    def outputs(self) -> list[str]:
        """The names of the outputs, in their order."""
        return self._names(self._graph.outputs)

    def rename(self, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> None:
        """Give the ends other names, and another order.

        Args:
            inputs: new names by those of the signature, in the order that they are to have.
            outputs: the same of outputs.

        Raises:
            TechniqueError: the file has other ends.
        """
        taken = {name.encode() for name in (*inputs.values(), *outputs.values())}
        for tensor in self._graph.tensors:
            if tensor.name in taken:
                tensor.name += b".inner"
        self._signature.inputs = self._renamed(self._signature.inputs, inputs)
        self._signature.outputs = self._renamed(self._signature.outputs, outputs)
        self._graph.inputs = [entry.tensorIndex for entry in self._signature.inputs]
        self._graph.outputs = [entry.tensorIndex for entry in self._signature.outputs]

    def reshape_outputs(self, shapes: Mapping[str, Sequence[int]]) -> None:
        """Append a reshaping to the outputs that are named.

        Args:
            shapes: as many elements as the output has, by its name in the signature.

        Raises:
            TechniqueError: an output has another number of elements.
        """
        for entry in self._signature.outputs:
            shape = shapes.get(entry.name.decode())
            if shape is None:
                continue
            flat = self._graph.tensors[entry.tensorIndex]
            if prod(int(length) for length in flat.shape) != prod(shape):
                raise TechniqueError(
                    f"The conversion changed the size of an output from {tuple(shape)} to "
                    f"{tuple(int(length) for length in flat.shape)}."
                )
            made = self._tensor(flat, flat.type, flat.name + b".shaped")
            self._graph.tensors[made].shape = list(shape)
            self._operator("RESHAPE", [entry.tensorIndex, self._stored(shape)], made, 1)
            self._move(entry, self._graph.outputs, made)

    def make_float(self) -> None:
        """Quantise behind integer inputs, and dequantise behind integer outputs."""
        # An output that a float operator reads on is moved by the quantiser, in the graph alone.
        self._graph.outputs = [entry.tensorIndex for entry in self._signature.outputs]
        for entry in self._signature.inputs:
            kind = self._kind(entry.tensorIndex)
            if ("QUANTIZE", kind) in _VERSIONS:
                made = self._float_like(entry.tensorIndex)
                version = _VERSIONS["QUANTIZE", kind]
                self._operator("QUANTIZE", [made], entry.tensorIndex, version, first=True)
                self._move(entry, self._graph.inputs, made)
        for entry in self._signature.outputs:
            kind = self._kind(entry.tensorIndex)
            if ("DEQUANTIZE", kind) in _VERSIONS:
                made = self._float_like(entry.tensorIndex)
                version = _VERSIONS["DEQUANTIZE", kind]
                self._operator("DEQUANTIZE", [entry.tensorIndex], made, version)
                self._move(entry, self._graph.outputs, made)

    def _names(self, indices: Sequence[int]) -> list[str]:
        return [self._graph.tensors[index].name.decode() for index in indices]

    def _renamed(self, entries: Any, names: Mapping[str, str]) -> list[Any]:
        """The signature's entries in the order of `names`, they and their tensors renamed."""
        by_name = {entry.name.decode(): entry for entry in entries}
        if by_name.keys() != names.keys():
            raise TechniqueError(
                f"The conversion lost inputs or outputs: the file has "
                f"{', '.join(sorted(by_name))} in place of {', '.join(sorted(names))}."
            )
        for old, new in names.items():
            entry = by_name[old]
            entry.name = self._graph.tensors[entry.tensorIndex].name = new.encode()
        return [by_name[old] for old in names]

    def _kind(self, index: int) -> str:
        return str(tools().type_to_name(self._graph.tensors[index].type))

    def _float_like(self, index: int) -> int:
        tensor = self._graph.tensors[index]
        return self._tensor(tensor, tools().schema_fb.TensorType.FLOAT32, tensor.name + b".float")

    def _tensor(self, like: Any, kind: int, name: bytes) -> int:
        """A new tensor of the shape of another."""
        made = tools().schema_fb.TensorT()
        made.name, made.shape, made.type = name, list(like.shape), kind
        made.buffer = self._buffer(None)
        self._graph.tensors.append(made)
        return len(self._graph.tensors) - 1

    def _stored(self, values: Sequence[int]) -> int:
        """A stored vector of int32."""
        import numpy as np

        made = tools().schema_fb.TensorT()
        made.name, made.shape = b"shape", [len(values)]
        made.type = tools().schema_fb.TensorType.INT32
        made.buffer = self._buffer(np.array(values, "<i4").tobytes())
        self._graph.tensors.append(made)
        return len(self._graph.tensors) - 1

    def _buffer(self, data: bytes | None) -> int:
        import numpy as np

        buffer = tools().schema_fb.BufferT()
        buffer.data = None if data is None else np.frombuffer(data, np.uint8)
        self._model.buffers.append(buffer)
        return len(self._model.buffers) - 1

    def _operator(
        self, kind: str, inputs: list[int], output: int, version: int, first: bool = False
    ) -> None:
        schema = tools().schema_fb
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), version
        self._model.operatorCodes.append(code)
        made = schema.OperatorT()
        made.opcodeIndex = len(self._model.operatorCodes) - 1
        made.inputs, made.outputs = inputs, [output]
        self._graph.operators.insert(0 if first else len(self._graph.operators), made)

    def _move(self, entry: Any, indices: list[int], index: int) -> None:
        """Let an end be another tensor."""
        indices[indices.index(entry.tensorIndex)] = index
        entry.tensorIndex = index
