"""Models that show what 8 bits do, and the two examples cut down for tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from fitment_compress.pipeline import Candidate, build
from fitment_compress.techniques.base import Context, Findings
from fitment_contract.variant import RecipeStep
from fitment_runtime.catalog import find_runtime
from support.compress_models import Array, load, outputs_of, random, save_npz
from support.runtime_models import OPSET, constant, save

FASHION = Path(__file__).parents[2] / "examples" / "fashion"


def save_residual(
    path: Path, channels: int = 4, opset: int = OPSET, activation: str = "Relu"
) -> Path:
    """`image` (n, channels, 8, 8) to `logits` (n, 5): depthwise, pointwise, Add, ReLU, Gemm."""
    width = 16
    return save(
        path,
        [
            helper.make_node("Conv", ["image", "k0", "b0"], ["c0"], "stem", pads=[1, 1, 1, 1]),
            helper.make_node(activation, ["c0"], ["a0"], "stem_act"),
            helper.make_node(
                "Conv", ["a0", "k1", "b1"], ["c1"], "depthwise", pads=[1, 1, 1, 1], group=width
            ),
            helper.make_node(activation, ["c1"], ["a1"], "depthwise_act"),
            helper.make_node("Conv", ["a1", "k2", "b2"], ["c2"], "pointwise"),
            helper.make_node("Add", ["a0", "c2"], ["s"], "join"),
            helper.make_node("Relu", ["s"], ["a2"], "join_act"),
            helper.make_node("GlobalAveragePool", ["a2"], ["p"], "pool"),
            helper.make_node("Flatten", ["p"], ["f"], "flatten"),
            helper.make_node("Gemm", ["f", "w", "o"], ["logits"], "head"),
        ],
        [("image", "float32", ["n", channels, 8, 8])],
        [("logits", "float32", ["n", 5])],
        [
            constant("k0", random(0, width, channels, 3, 3) / 4),
            constant("b0", random(1, width) / 4),
            constant("k1", random(2, width, 1, 3, 3) / 3),
            constant("b1", random(3, width) / 4),
            constant("k2", random(4, width, width, 1, 1) / 4),
            constant("b2", random(5, width) / 4),
            constant("w", random(6, width, 5)),
            constant("o", random(7, 5) / 4),
        ],
        opset=opset,
    )


def feeds_of(count: int, channels: int = 4) -> list[Mapping[str, Array]]:
    """Single random images for `save_residual`."""
    return [{"image": random(100 + seed, 1, channels, 8, 8)} for seed in range(count)]


def fashion_feeds(count: int = 100) -> list[Mapping[str, Array]]:
    """The shipped fashion model's calibration images, one at a time."""
    images = np.load(FASHION / "calibration.npz")["image"]
    return [{"image": image[None]} for image in images[:count]]


def fashion_images(folder: Path, count: int = 400) -> Path:
    """The first labelled images that ship with the fashion model."""
    held = np.load(FASHION / "eval.npz")
    return save_npz(folder / "held.npz", image=held["image"][:count], label=held["label"][:count])


def accuracy(model: Path, data: Path) -> float:
    """The share of right decisions, 0 to 1."""
    return float((outputs_of(model, data)[0].argmax(axis=-1) == np.load(data)["label"]).mean())


def made(
    model: Path, folder: Path, feeds: list[Mapping[str, Array]], *steps: tuple[str, dict[str, Any]]
) -> tuple[Candidate, Path, Findings]:
    """What steps make of a model, the file of it, and what they found out."""
    context = Context(feeds, folder, source=model)
    recipe = [RecipeStep(technique=name, options=options) for name, options in steps]
    candidate = build(load(model), recipe, context)
    path = folder / "made.onnx"
    onnx.save(candidate.model, path)
    return candidate, path, context.findings


def run(model: Path, feeds: Mapping[str, Array]) -> Array:
    """The first output for one sample."""
    return find_runtime("onnxruntime").load(model).run(feeds)[0]


def unbalance(path: Path, model: Path, spread: float = 2.0, seed: int = 0) -> Path:
    """A copy of a ReLU network with channels scaled by 10^-spread to 10^spread and back.

    Every convolution whose output only one other reads, across a ReLU, takes part; what the
    network computes stays as it was.
    """
    changed = load(model)
    stored = {tensor.name: tensor for tensor in changed.graph.initializer}
    nodes = list(changed.graph.node)
    rng = np.random.default_rng(seed)

    def scale(name: str, axis: int, factors: Array) -> None:
        values = onnx.numpy_helper.to_array(stored[name])
        shape = [1] * values.ndim
        shape[axis] = -1
        scaled = (values * factors.reshape(shape)).astype(np.float32)
        stored[name].CopyFrom(constant(name, scaled))

    for first in nodes:
        readers = [node for node in nodes if first.output[0] in node.input]
        if first.op_type != "Conv" or [node.op_type for node in readers] != ["Relu"]:
            continue
        second = [node for node in nodes if readers[0].output[0] in node.input]
        if [node.op_type for node in second] != ["Conv"]:
            continue
        width = stored[first.input[2]].dims[0]
        factors = 10.0 ** rng.uniform(-spread, spread, width)
        for name in first.input[1:]:
            scale(name, 0, factors)
        depthwise = stored[second[0].input[1]].dims[1] == 1
        scale(second[0].input[1], 0 if depthwise else 1, 1 / factors)
    onnx.save(changed, path)
    return path
