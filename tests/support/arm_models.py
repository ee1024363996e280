"""The toy classifier in the forms that ARM devices run: int8 for onnxruntime, and .tflite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from support.runtime_models import save_mlp
from support.system_portfolio import CLASSES, FEATURES

Array = NDArray[Any]


def save_int8(path: Path) -> Path:
    """The classifier with int8 weights and activations, each operator between QDQ pairs."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    reference = save_mlp(path.with_suffix(".fp32.onnx"), FEATURES, CLASSES)
    quantize_static(
        reference,
        path,
        _Samples(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
    )
    return path


def save_tflite(path: Path) -> Path:
    """The classifier as .tflite: the same weights, so the same answers, with a free batch axis."""
    import onnx
    from ai_edge_litert import schema_py_generated as schema
    from onnx import numpy_helper

    from support.tflite_models import Assembler

    reference = onnx.load(save_mlp(path.with_suffix(".onnx"), FEATURES, CLASSES))
    stored = {item.name: numpy_helper.to_array(item) for item in reference.graph.initializer}
    made = Assembler()
    x = first = made.tensor("x", [1, FEATURES])
    for layer, activation in (("1", "RELU"), ("2", "NONE")):
        weights, bias = stored[f"w{layer}"].T, stored[f"b{layer}"]
        options = schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = getattr(schema.ActivationFunctionType, activation)
        inputs = [x, made.constant(f"w{layer}", weights), made.constant(f"b{layer}", bias)]
        output = made.tensor("y" if layer == "2" else "h", [1, len(bias)])
        x = made.operator("FULLY_CONNECTED", inputs, output, options)
    for index in (first, x):
        made.graph.tensors[index].shapeSignature = [-1, made.graph.tensors[index].shape[1]]
    path.write_bytes(made.content([first], [x]))
    return path


class _Samples:
    """What calibration reads, as onnxruntime asks for it."""

    def __init__(self) -> None:
        random = np.random.default_rng(11)
        self._left: Iterator[Array] = iter(random.normal(size=(64, 1, FEATURES)).astype("f4"))

    def get_next(self) -> dict[str, Array] | None:
        sample = next(self._left, None)
        return None if sample is None else {"x": sample}
