"""Small models and samples to learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper

from fitment_compress.graph import replace_initializer
from fitment_compress.techniques import known_techniques
from fitment_compress.techniques.base import Context, Findings, Tell
from fitment_runtime.dataset import Dataset
from support.compress_models import random
from support.runtime_models import OPSET, constant, save

Array = NDArray[Any]


@dataclass(frozen=True)
class Case:
    """One operator (the first node), in a graph from `x` to `y` that the runtime runs.

    Attributes:
        nodes: in order; the last one makes `y`.
        shape: of `x`.
        stored: initializers.
        opset: the opset of the file.
    """

    nodes: Sequence[NodeProto]
    shape: tuple[int, ...] = (2, 4, 6, 6)
    stored: Mapping[str, Array] = field(default_factory=dict)
    opset: int = OPSET

    def build(self, path: Path) -> ModelProto:
        """The graph, also written to `path`."""
        shape = ["n", *self.shape[1:]]
        model = onnx.load(
            save(
                path,
                self.nodes,
                [("x", "float32", shape)],
                [("y", "float32", [])],
                [constant(name, values) for name, values in self.stored.items()],
                opset=self.opset,
            )
        )
        model.graph.output[0].type.tensor_type.ClearField("shape")
        path.write_bytes(model.SerializeToString())
        return model


def node(kind: str, *inputs: str, **attributes: Any) -> NodeProto:
    """A node from `x` and other inputs to `y`."""
    return helper.make_node(kind, ["x", *inputs], ["y"], **attributes)


def positive(seed: int, *shape: int) -> Array:
    """Numbers above 0.1."""
    return abs(random(seed, *shape)) + np.float32(0.1)


def whole(*numbers: int) -> Array:
    """A vector of 64-bit integers."""
    return np.array(numbers, np.int64)


KERNEL = {"w": random(1, 6, 4, 3, 3), "b": random(2, 6)}
SCALES = {"s": positive(3, 4), "b": random(4, 4), "m": random(5, 4), "v": positive(6, 4)}

SIMPLE = (
    *("Relu", "LeakyRelu", "Elu", "Sigmoid", "HardSigmoid", "HardSwish", "Softplus", "Tanh"),
    *("Erf", "Softmax", "LogSoftmax", "GlobalAveragePool", "GlobalMaxPool", "Identity"),
    *("Dropout", "Neg", "Exp", "Abs"),
)
"""Operators that need nothing but `x`."""

CASES: dict[str, Case] = {
    **{kind: Case([node(kind)]) for kind in SIMPLE},
    "Conv": Case([node("Conv", "w", "b", pads=[1, 0, 2, 1], strides=[2, 1])], stored=KERNEL),
    "Conv dilated": Case([node("Conv", "w", dilations=[2, 2], pads=[2, 2, 2, 2])], stored=KERNEL),
    "Conv same": Case(
        [node("Conv", "w", "b", auto_pad="SAME_UPPER", strides=[2, 2])], stored=KERNEL
    ),
    "Conv same lower": Case(
        [node("Conv", "w", "b", auto_pad="SAME_LOWER", strides=[2, 2])], stored=KERNEL
    ),
    "Conv depthwise": Case(
        [node("Conv", "w", group=4, pads=[1, 1, 1, 1])], stored={"w": random(1, 4, 1, 3, 3)}
    ),
    "Conv 1-d": Case(
        [node("Conv", "w", pads=[2, 0])], shape=(2, 4, 9), stored={"w": random(1, 5, 4, 3)}
    ),
    "ConvTranspose": Case(
        [node("ConvTranspose", "w", "b", strides=[2, 2], pads=[1, 0, 0, 1])],
        stored={"w": random(1, 4, 3, 3, 3), "b": random(2, 3)},
    ),
    "Gemm": Case(
        [node("Gemm", "w", "b", alpha=0.5, beta=2.0, transB=1)],
        shape=(3, 8),
        stored={"w": random(1, 5, 8), "b": random(2, 5)},
    ),
    "Gemm bare": Case([node("Gemm", "w")], shape=(3, 8), stored={"w": random(1, 8, 5)}),
    "MatMul": Case([node("MatMul", "w")], shape=(3, 2, 8), stored={"w": random(1, 8, 5)}),
    **{
        kind: Case([node(kind, "c")], stored={"c": positive(1, 4, 1, 1)})
        for kind in ("Add", "Sub", "Mul", "Div")
    },
    "Pow": Case([node("Pow", "c")], stored={"c": np.array(2.0, np.float32)}),
    "Div of integers": Case(
        [
            helper.make_node("Mul", ["x", "much"], ["m"]),
            helper.make_node("Cast", ["m"], ["i"], to=onnx.TensorProto.INT64),
            helper.make_node("Div", ["i", "c"], ["j"]),
            helper.make_node("Cast", ["j"], ["y"], to=onnx.TensorProto.FLOAT),
        ],
        stored={"much": np.array(9.0, np.float32), "c": whole(2)},
    ),
    "Sqrt": Case([helper.make_node("Abs", ["x"], ["a"]), helper.make_node("Sqrt", ["a"], ["y"])]),
    "Log": Case([helper.make_node("Exp", ["x"], ["a"]), helper.make_node("Log", ["a"], ["y"])]),
    "PRelu": Case([node("PRelu", "s")], stored={"s": positive(1, 4, 1, 1)}),
    "Clip": Case(
        [node("Clip", "low", "high")],
        stored={"low": np.array(-0.5, np.float32), "high": np.array(1.0, np.float32)},
    ),
    "Clip above": Case([node("Clip", "", "high")], stored={"high": np.array(0.5, np.float32)}),
    "Gelu": Case([node("Gelu")], opset=20),
    "Gelu approximate": Case([node("Gelu", approximate="tanh")], opset=20),
    "Softmax axis": Case([node("Softmax", axis=1)]),
    "BatchNormalization": Case(
        [node("BatchNormalization", "s", "b", "m", "v", epsilon=1e-3)], stored=SCALES
    ),
    "LayerNormalization": Case(
        [node("LayerNormalization", "s", "b", axis=2)],
        stored={"s": positive(1, 6, 6), "b": random(2, 6, 6)},
    ),
    "MaxPool": Case([node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 0, 0])]),
    "MaxPool 1-d": Case([node("MaxPool", kernel_shape=[2], strides=[2])], shape=(2, 4, 9)),
    "MaxPool rounded up": Case(
        [node("MaxPool", kernel_shape=[2, 2], strides=[3, 2], pads=[0, 1, 1, 1], ceil_mode=1)]
    ),
    "AveragePool": Case([node("AveragePool", kernel_shape=[2, 2], strides=[2, 2])]),
    "AveragePool padded": Case([node("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 0])]),
    "AveragePool counted": Case(
        [node("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)]
    ),
    "Flatten": Case([node("Flatten")]),
    "Flatten from the end": Case([node("Flatten", axis=-1)]),
    "Reshape": Case([node("Reshape", "to")], stored={"to": whole(0, -1, 12)}),
    "Transpose": Case([node("Transpose", perm=[0, 2, 3, 1])]),
    "Squeeze": Case([node("Squeeze", "at")], shape=(2, 1, 5, 1), stored={"at": whole(1, -1)}),
    "Unsqueeze": Case([node("Unsqueeze", "at")], shape=(2, 5), stored={"at": whole(1, -1)}),
    "Concat": Case([node("Concat", "c", axis=0)], stored={"c": random(1, 3, 4, 6, 6)}),
    "Split": Case(
        [
            helper.make_node("Split", ["x", "parts"], ["p", "q"], axis=1),
            helper.make_node("Concat", ["q", "p"], ["y"], axis=1),
        ],
        stored={"parts": whole(1, 3)},
    ),
    "Split equal": Case(
        [
            helper.make_node("Split", ["x"], ["p", "q"], axis=1, num_outputs=2),
            helper.make_node("Concat", ["q", "p"], ["y"], axis=1),
        ],
        opset=18,
    ),
    "Slice": Case(
        [node("Slice", "from", "to", "at", "by")],
        stored={
            **{"from": whole(1, -1), "to": whole(2**62, -(2**62))},
            **{"at": whole(2, 3), "by": whole(2, -2)},
        },
    ),
    "Pad": Case(
        [node("Pad", "by", "with")],
        stored={"by": whole(0, 0, 1, 2, 0, 0, -1, 0), "with": np.array(3.0, np.float32)},
    ),
    "Pad reflect": Case(
        [node("Pad", "by", mode="reflect")], stored={"by": whole(0, 0, 1, 2, 0, 0, 2, 1)}
    ),
    "Pad one axis": Case(
        [node("Pad", "by", mode="edge")], stored={"by": whole(0, 0, 0, 2, 0, 0, 0, 1)}
    ),
    "Pad series": Case(
        [node("Pad", "by", mode="reflect")], shape=(2, 9), stored={"by": whole(0, 2, 0, 1)}
    ),
    "Pad around": Case(
        [node("Pad", "by", mode="wrap")], stored={"by": whole(0, 0, 1, 2, 0, 0, 2, 1)}, opset=19
    ),
    "ReduceMean": Case([node("ReduceMean", axes=[2, 3], keepdims=0)]),
    "ReduceMean by input": Case([node("ReduceMean", "at")], stored={"at": whole(-1)}, opset=18),
    "Gather": Case([node("Gather", "at", axis=1)], stored={"at": np.array([[0, -1], [2, 2]])}),
    "Gather one": Case([node("Gather", "at", axis=1)], stored={"at": np.array(2)}),
    "Shape": Case(
        [
            helper.make_node("Shape", ["x"], ["lengths"]),
            helper.make_node("Gather", ["lengths", "first"], ["n"]),
            helper.make_node("Concat", ["n", "rest"], ["to"], axis=0),
            helper.make_node("Reshape", ["x", "to"], ["y"]),
        ],
        stored={"first": whole(0), "rest": whole(-1)},
    ),
    "Cast": Case(
        [
            helper.make_node("Cast", ["x"], ["i"], to=onnx.TensorProto.INT32),
            helper.make_node("Cast", ["i"], ["y"], to=onnx.TensorProto.FLOAT),
        ]
    ),
    "Expand": Case([node("Expand", "to")], shape=(2, 1, 3), stored={"to": whole(1, 4, 1)}),
}
"""Every operator that training knows, by its name and what is special."""


def balanced(path: Path) -> Path:
    """A classifier in `path`, changed to decide for every class alike on random images."""
    model = onnx.load(path)
    scores = run(model, images(500, seed=1))[0]
    scale = (4 / scores.std(axis=0)).astype(np.float32)
    numbers = stored(model)
    shift = (numbers["b"] - scores.mean(axis=0)).astype(np.float32)
    replace_initializer(model, "w", numbers["w"] * scale)
    replace_initializer(model, "b", shift * scale)
    onnx.save(model, path)
    return path


def save_separable(path: Path, batch: int | str = "n") -> Path:
    """A classifier with a depthwise layer: `image` (batch, 1, 8, 8) to `logits` (batch, 4).

    It decides for every class alike on random images.
    """
    save(
        path,
        [
            helper.make_node("Conv", ["image", "k1", "c1"], ["a0"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["a0"], ["a"]),
            helper.make_node("Conv", ["a", "k2"], ["d0"], pads=[1, 1, 1, 1], group=8),
            helper.make_node("Relu", ["d0"], ["d"]),
            helper.make_node("Conv", ["d", "k3", "c3"], ["e0"], strides=[2, 2]),
            helper.make_node("Relu", ["e0"], ["e"]),
            helper.make_node("GlobalAveragePool", ["e"], ["p"]),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node("Gemm", ["f", "w", "b"], ["logits"]),
        ],
        [("image", "float32", [batch, 1, 8, 8])],
        [("logits", "float32", [batch, 4])],
        [
            constant("k1", random(0, 8, 1, 3, 3) / 3),
            constant("c1", random(1, 8) / 3),
            constant("k2", random(2, 8, 1, 3, 3) / 3),
            constant("k3", random(3, 16, 8, 1, 1) / 3),
            constant("c3", random(4, 16) / 3),
            constant("w", random(5, 16, 4)),
            constant("b", random(6, 4)),
        ],
    )
    return balanced(path)


def images(count: int, seed: int = 11, label: Array | None = None) -> Dataset:
    """Random images for the classifiers here."""
    return Dataset({"image": random(seed, count, 1, 8, 8)}, label, None)


def silent(share: float, what: str) -> None:
    """Tell nobody."""


def taught(
    model: ModelProto | Path,
    source: Path,
    samples: Dataset,
    steps: Sequence[tuple[str, Mapping[str, Any]]],
    folder: Path,
    seed: int = 0,
    tell: Tell = silent,
) -> ModelProto:
    """What steps make of a model, with `source` as the teacher; the model is not changed."""
    made = ModelProto()
    made.CopyFrom(onnx.load(model) if isinstance(model, Path) else model)
    feeds = [samples.feeds(index) for index in range(min(32, len(samples)))]
    context = Context(feeds, folder, source, samples, seed, tell, Findings())
    for name, options in steps:
        technique = known_techniques()[name]
        made = technique.apply(made, technique.options.model_validate(options), context)
    return made


def run(model: ModelProto, samples: Dataset) -> list[Array]:
    """The outputs for all samples at once, by onnxruntime itself."""
    import onnxruntime as ort

    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(samples.inputs)))


def agreement(model: ModelProto, source: Path, samples: Dataset) -> float:
    """How often both decide alike."""
    ours, theirs = (run(m, samples)[0].argmax(axis=1) for m in (model, onnx.load(source)))
    return float((ours == theirs).mean())


def stored(model: ModelProto) -> dict[str, Array]:
    """Every initializer by name."""
    return {entry.name: onnx.numpy_helper.to_array(entry) for entry in model.graph.initializer}
