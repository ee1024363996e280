"""Tiny ONNX models with known behaviour, benign and hostile, built in milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
Array = NDArray[Any]

_TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "int64": TensorProto.INT64,
    "bool": TensorProto.BOOL,
}
Value = tuple[str, str, Sequence[int | str]]
"""Name, dtype and shape of a model's input or output."""


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    initializers: Sequence[onnx.TensorProto] = (),
    opset: int = OPSET,
) -> Path:
    """Write a model of `nodes` to `path`."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(n, _TYPES[t], s) for n, t, s in inputs],
        [helper.make_tensor_value_info(n, _TYPES[t], s) for n, t, s in outputs],
        list(initializers),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def constant(name: str, value: Array) -> onnx.TensorProto:
    """An initializer."""
    return numpy_helper.from_array(np.asarray(value), name)


def _weights(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32) / np.float32(3)


def save_mlp(path: Path, features: int = 8, classes: int = 3, batch: int | str = "n") -> Path:
    """A two-layer classifier: `x` (batch, features) to `y` (batch, classes)."""
    return save(
        path,
        [
            helper.make_node("Gemm", ["x", "w1", "b1"], ["h0"]),
            helper.make_node("Relu", ["h0"], ["h"]),
            helper.make_node("Gemm", ["h", "w2", "b2"], ["y"]),
        ],
        [("x", "float32", [batch, features])],
        [("y", "float32", [batch, classes])],
        [
            constant("w1", _weights(0, features, 16)),
            constant("b1", _weights(1, 16)),
            constant("w2", _weights(2, 16, classes)),
            constant("b2", _weights(3, classes)),
        ],
    )


def save_conv_classifier(path: Path, batch: int | str = "n", opset: int = OPSET) -> Path:
    """A small image classifier: `image` (batch, 1, 8, 8) to `logits` (batch, 4)."""
    return save(
        path,
        [
            helper.make_node("Conv", ["image", "k1", "c1"], ["a0"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["a0"], ["a"]),
            helper.make_node("Conv", ["a", "k2", "c2"], ["d0"], pads=[1, 1, 1, 1], strides=[2, 2]),
            helper.make_node("Relu", ["d0"], ["d"]),
            helper.make_node("GlobalAveragePool", ["d"], ["p"]),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node("Gemm", ["f", "w", "b"], ["logits"]),
        ],
        [("image", "float32", [batch, 1, 8, 8])],
        [("logits", "float32", [batch, 4])],
        [
            constant("k1", _weights(0, 8, 1, 3, 3)),
            constant("c1", _weights(1, 8)),
            constant("k2", _weights(2, 16, 8, 3, 3)),
            constant("c2", _weights(3, 16)),
            constant("w", _weights(4, 16, 4)),
            constant("b", _weights(5, 4)),
        ],
        opset=opset,
    )


def save_two_inputs(path: Path) -> Path:
    """`features` (n, 4) float32 and `token` (n,) int64 to `y` (n, 3): an embedding is added."""
    return save(
        path,
        [
            helper.make_node("Gather", ["table", "token"], ["e"]),
            helper.make_node("MatMul", ["features", "w"], ["h"]),
            helper.make_node("Add", ["e", "h"], ["y"]),
        ],
        [("features", "float32", ["n", 4]), ("token", "int64", ["n"])],
        [("y", "float32", ["n", 3])],
        [constant("table", _weights(0, 5, 3)), constant("w", _weights(1, 4, 3))],
    )


def save_gru(path: Path, steps: int = 6, features: int = 3, hidden: int = 4) -> Path:
    """A recurrent model with its state as input and output.

    `x` (steps, 1, features) and `state` (1, 1, hidden) to `y` (1, 1, hidden) and
    `next_state` (1, 1, hidden): no axis is a free batch axis.
    """
    return save(
        path,
        [
            helper.make_node(
                "GRU", ["x", "w", "r", "", "", "state"], ["", "h"], hidden_size=hidden
            ),
            helper.make_node("Tanh", ["h"], ["y"]),
            helper.make_node("Identity", ["h"], ["next_state"]),
        ],
        [("x", "float32", [steps, 1, features]), ("state", "float32", [1, 1, hidden])],
        [("y", "float32", [1, 1, hidden]), ("next_state", "float32", [1, 1, hidden])],
        [
            constant("w", _weights(0, 1, 3 * hidden, features)),
            constant("r", _weights(1, 1, 3 * hidden, hidden)),
        ],
    )


def save_doubler(path: Path) -> Path:
    """`x` (n, 2) to `y` = 2x: outputs that a test can foretell."""
    return save(
        path,
        [helper.make_node("Add", ["x", "x"], ["y"])],
        [("x", "float32", ["n", 2])],
        [("y", "float32", ["n", 2])],
    )


def save_nan_maker(path: Path) -> Path:
    """`x` (n, 3) to `y` (n, 3): the logarithm, NaN for negative inputs."""
    return save(
        path,
        [helper.make_node("Log", ["x"], ["y"])],
        [("x", "float32", ["n", 3])],
        [("y", "float32", ["n", 3])],
    )


def save_hanging(path: Path, trips: int = 2**62) -> Path:
    """`x` (n, 8) to `y` (n, 8), after a loop that outlasts any limit."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["c"], ["c_out"]),
            helper.make_node("Add", ["v", "v"], ["v2"]),
            helper.make_node("Tanh", ["v2"], ["v_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, ["n", 8]),
        ],
        [
            helper.make_tensor_value_info("c_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_out", TensorProto.FLOAT, ["n", 8]),
        ],
    )
    return save(
        path,
        [helper.make_node("Loop", ["trips", "go", "x"], ["y"], body=body)],
        [("x", "float32", ["n", 8])],
        [("y", "float32", ["n", 8])],
        [constant("trips", np.array(trips, np.int64)), constant("go", np.array(True))],
    )


def save_memory_eater(path: Path, elements: int = 2**31) -> Path:
    """`x` (n, 8) to `y`: writes `elements` random float32 when it runs (8 GiB by default)."""
    return save(
        path,
        [
            helper.make_node("RandomNormal", [], ["big"], shape=[elements], dtype=1),
            helper.make_node("ReduceMax", ["big"], ["top"], keepdims=0),
            helper.make_node("Add", ["x", "top"], ["y"]),
        ],
        [("x", "float32", ["n", 8])],
        [("y", "float32", ["n", 8])],
    )


def save_load_memory_eater(path: Path, elements: int = 2**31) -> Path:
    """`x` (n, 8) to `y`: constant folding allocates `elements` float32 while it loads."""
    return save(
        path,
        [
            helper.make_node(
                "ConstantOfShape", ["size"], ["big"], value=constant("v", np.ones(1, np.float32))
            ),
            helper.make_node("Exp", ["big"], ["bigger"]),
            helper.make_node("ReduceMax", ["bigger"], ["top"], keepdims=0),
            helper.make_node("Add", ["x", "top"], ["y"]),
        ],
        [("x", "float32", ["n", 8])],
        [("y", "float32", ["n", 8])],
        [constant("size", np.array([elements], np.int64))],
    )


def save_external_data(path: Path, location: str) -> Path:
    """A model whose only weight lies in the file `location`, which need not exist."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4])
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    return save(
        path,
        [helper.make_node("Add", ["x", "w"], ["y"])],
        [("x", "float32", [4])],
        [("y", "float32", [4])],
        [weight],
    )


def save_crashing(path: Path, at_load: bool = False) -> Path:
    """`x` (n, 8) to `y` (n, 8), computing the int64 minimum divided by -1 on the way.

    x86 traps on that division, onnxruntime does not guard it, and the process dies of SIGFPE: when
    the model runs, or when it is loaded and its constants are folded. ARM CPUs do not trap.
    """
    operands = [
        constant("smallest", np.array([np.iinfo(np.int64).min])),
        constant("minus_one", np.array([-1])),
        constant("zero", np.array([0])),
    ]
    if at_load:
        nodes = [helper.make_node("Div", ["smallest", "minus_one"], ["quotient"])]
    else:
        nodes = [
            helper.make_node("Cast", ["x"], ["whole"], to=TensorProto.INT64),
            helper.make_node("Mul", ["whole", "zero"], ["nothing"]),
            helper.make_node("Add", ["nothing", "smallest"], ["dividend"]),
            helper.make_node("Add", ["nothing", "minus_one"], ["divisor"]),
            helper.make_node("Div", ["dividend", "divisor"], ["quotient"]),
        ]
    return save(
        path,
        [
            *nodes,
            helper.make_node("Cast", ["quotient"], ["q"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["x", "q"], ["y"]),
        ],
        [("x", "float32", ["n", 8])],
        [("y", "float32", ["n", 8])],
        operands,
    )
