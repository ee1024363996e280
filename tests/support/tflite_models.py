"""Small float .tflite classifiers, assembled with the schema that LiteRT ships."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from numpy.typing import NDArray

Array = NDArray[Any]

CHANNELS, SIDE, WIDTH, CLASSES = 2, 8, 64, 5
MACS = SIDE * SIDE * WIDTH * 9 * CHANNELS + SIDE * SIDE * WIDTH * 9 + WIDTH * CLASSES
PARAMETERS = (9 * CHANNELS + 1) * WIDTH + (9 + 1) * WIDTH + (WIDTH + 1) * CLASSES


def weights(seed: int, *shape: int) -> Array:
    """Normal float32 numbers, as large as weights are."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32) / np.float32(3)


class Assembler:
    """Adds tensors and operators to a graph, and writes the file."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version, self.model.operatorCodes = 3, []
        self.model.buffers = [schema.BufferT()]
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators, self.graph.name = [], [], b"main"
        self.model.subgraphs = [self.graph]

    def tensor(self, name: str, shape: Sequence[int], values: Array | None = None) -> int:
        """A float tensor, or a stored one with `values`."""
        made = schema.TensorT()
        made.name, made.shape, made.type = name.encode(), list(shape), schema.TensorType.FLOAT32
        buffer = schema.BufferT()
        if values is not None:
            buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
            if values.dtype == np.int32:
                made.type = schema.TensorType.INT32
        self.model.buffers.append(buffer)
        made.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def constant(self, name: str, values: Array) -> int:
        """A stored tensor."""
        return self.tensor(name, values.shape, values)

    def operator(
        self,
        kind: str,
        inputs: Sequence[int],
        output: int,
        options: Any = None,
        custom: str | None = None,
    ) -> int:
        """An operator that writes `output`, which is given back."""
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
        code.customCode = custom
        self.model.operatorCodes.append(code)
        made = schema.OperatorT()
        made.opcodeIndex = len(self.model.operatorCodes) - 1
        made.inputs, made.outputs = list(inputs), [output]
        if options is not None:
            made.builtinOptions = options
            kind_of = type(options).__name__.removesuffix("T")
            made.builtinOptionsType = getattr(schema.BuiltinOptions, kind_of)
        self.graph.operators.append(made)
        return output

    def content(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """The file, with one signature under the tensors' own names."""
        self.graph.inputs, self.graph.outputs = list(inputs), list(outputs)
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
        signature.inputs = [self._entry(index) for index in inputs]
        signature.outputs = [self._entry(index) for index in outputs]
        self.model.signatureDefs = [signature]
        return bytes(flatbuffer_utils.convert_object_to_bytearray(self.model))

    def _entry(self, index: int) -> Any:
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = self.graph.tensors[index].name, index
        return entry


def classifier(padded_pool: bool = False, seed: int = 0) -> bytes:
    """`image` (1, 2, 8, 8), channels first, to `logits` (1, 5).

    A convolution with ReLU, a depthwise one, the mean over the image, a matrix product.

    Args:
        padded_pool: a max-pooling behind the first convolution, padded with the smallest float.
        seed: of the weights.
    """
    made = Assembler()
    image = made.tensor("image", [1, CHANNELS, SIDE, SIDE])
    order = made.constant("order", np.array([0, 2, 3, 1], np.int32))
    x = made.tensor("nhwc", [1, SIDE, SIDE, CHANNELS])
    made.operator("TRANSPOSE", [image, order], x, schema.TransposeOptionsT())
    kernel = made.constant("kernel", weights(seed, WIDTH, 3, 3, CHANNELS))
    y = made.tensor("conv", [1, SIDE, SIDE, WIDTH])
    bias = made.constant("bias", weights(seed + 1, WIDTH))
    x = made.operator("CONV_2D", [x, kernel, bias], y, _same(schema.Conv2DOptionsT(), relu=True))
    if padded_pool:
        x = _pool(made, x)
    kernel = made.constant("depthwise-kernel", weights(seed + 2, 1, 3, 3, WIDTH))
    bias = made.constant("depthwise-bias", weights(seed + 3, WIDTH))
    y = made.tensor("depthwise", [1, SIDE, SIDE, WIDTH])
    options = _same(schema.DepthwiseConv2DOptionsT())
    options.depthMultiplier = 1
    x = made.operator("DEPTHWISE_CONV_2D", [x, kernel, bias], y, options)
    axes = made.constant("axes", np.array([1, 2], np.int32))
    x = made.operator("MEAN", [x, axes], made.tensor("mean", [1, WIDTH]), schema.ReducerOptionsT())
    kernel = made.constant("dense", weights(seed + 4, CLASSES, WIDTH))
    bias = made.constant("dense-bias", weights(seed + 5, CLASSES))
    logits = made.tensor("logits", [1, CLASSES])
    made.operator("FULLY_CONNECTED", [x, kernel, bias], logits, schema.FullyConnectedOptionsT())
    return made.content([image], [logits])


def elementwise(custom: str | None = None) -> bytes:
    """`x` (1, 6) to `y` (1, 6), the sum with itself, without any weight.

    Args:
        custom: the name of an operator to use in place of the sum.
    """
    made = Assembler()
    x, y = made.tensor("x", [1, 6]), made.tensor("y", [1, 6])
    if custom is not None:
        made.operator("CUSTOM", [x], y, custom=custom)
    else:
        made.operator("ADD", [x, x], y, schema.AddOptionsT())
    return made.content([x], [y])


def two_by_two() -> bytes:
    """`a` and `b` (1, 4) to `sum` and `product`."""
    made = Assembler()
    a, b = made.tensor("a", [1, 4]), made.tensor("b", [1, 4])
    total, product = made.tensor("sum", [1, 4]), made.tensor("product", [1, 4])
    made.operator("ADD", [a, b], total, schema.AddOptionsT())
    made.operator("MUL", [a, b], product, schema.MulOptionsT())
    return made.content([a, b], [total, product])


def transposed_convolution() -> bytes:
    """`x` (1, 4, 4, 3), channels last, to `y` (1, 8, 8, 6)."""
    made = Assembler()
    x, y = made.tensor("x", [1, 4, 4, 3]), made.tensor("y", [1, 8, 8, 6])
    shape = made.constant("shape", np.array([1, 8, 8, 6], np.int32))
    kernel = made.constant("kernel", weights(0, 6, 3, 3, 3))
    options = _same(schema.TransposeConvOptionsT(), strides=2)
    made.operator("TRANSPOSE_CONV", [shape, kernel, x], y, options)
    return made.content([x], [y])


def images(count: int, seed: int = 7) -> list[dict[str, Array]]:
    """Samples for `classifier`."""
    values = np.random.default_rng(seed).normal(size=(count, 1, CHANNELS, SIDE, SIDE))
    return [{"image": sample.astype(np.float32)} for sample in values]


def save(path: Path, content: bytes) -> Path:
    """Write a file."""
    path.write_bytes(content)
    return path


def _same(options: Any, relu: bool = False, strides: int = 1) -> Any:
    options.padding = schema.Padding.SAME
    options.strideH = options.strideW = strides
    if relu:
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU
    return options


def _pool(made: Assembler, x: int) -> int:
    """Three by three, padded by one on each side beforehand."""
    sides = made.constant("sides", np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
    lowest = made.constant("lowest", np.array([np.finfo(np.float32).min], np.float32))
    padded = made.tensor("padded", [1, SIDE + 2, SIDE + 2, WIDTH])
    made.operator("PADV2", [x, sides, lowest], padded, schema.PadV2OptionsT())
    options = schema.Pool2DOptionsT()
    options.padding, options.strideH, options.strideW = schema.Padding.VALID, 1, 1
    options.filterHeight = options.filterWidth = 3
    return made.operator(
        "MAX_POOL_2D", [padded], made.tensor("pooled", [1, SIDE, SIDE, WIDTH]), options
    )
