"""Tiny .tflite models, assembled with the schema that LiteRT ships."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def save_tflite_dense(
    path: Path, features: int = 4, classes: int = 3, quantized: bool = False
) -> Path:
    """One fully connected layer with a free batch axis: `x` (any, features) to `y` (any, classes).

    Args:
        path: where to write it.
        features: inputs per sample.
        classes: outputs per sample.
        quantized: int8 inputs, weights and outputs, with scale 0.1 and zero point 0.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    kind = schema.TensorType.INT8 if quantized else schema.TensorType.FLOAT32
    weights = np.arange(classes * features).reshape(classes, features) - features
    data = weights.astype(np.int8) if quantized else weights.astype(np.float32) / 10

    def tensor(name: str, shape: list[int], buffer: int, free: bool) -> object:
        made = schema.TensorT()
        made.name, made.shape, made.buffer, made.type = name.encode(), shape, buffer, kind
        if free:
            made.shapeSignature = [-1, *shape[1:]]
        if quantized:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [0.1], [0]
        return made

    def buffer(content: bytes) -> object:
        made = schema.BufferT()
        made.data = np.frombuffer(content, np.uint8) if content else None
        return made

    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0, 1, -1], [2]
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    code = schema.OperatorCodeT()
    code.builtinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.deprecatedBuiltinCode, code.version = code.builtinCode, 4
    graph = schema.SubGraphT()
    graph.tensors = [
        tensor("x", [1, features], 1, free=True),
        tensor("w", [classes, features], 2, free=False),
        tensor("y", [1, classes], 3, free=True),
    ]
    graph.inputs, graph.outputs, graph.operators, graph.name = [0], [2], [operator], b"main"
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [buffer(b""), buffer(b""), buffer(data.tobytes()), buffer(b"")]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path
