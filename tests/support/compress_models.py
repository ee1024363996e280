"""Models and data with known answers for compression."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from fitment_runtime.catalog import find_runtime
from fitment_runtime.dataset import load_dataset
from fitment_runtime.scoring import predict
from support.runtime_models import OPSET, constant, save, save_conv_classifier

Array = NDArray[Any]


def random(seed: int, *shape: int) -> Array:
    """Standard normal float32 numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def save_npz(path: Path, **arrays: Array) -> Path:
    """Write arrays as a data file."""
    np.savez(path, **arrays)  # type: ignore[arg-type]  # its stub names a keyword
    return path


def outputs_of(model: Path, data: Path) -> list[Array]:
    """What onnxruntime gives for every sample."""
    session = find_runtime("onnxruntime").load(model)
    return predict(session, load_dataset(data, session.inputs))


def save_labelled(path: Path, model: Path, seed: int = 0, **inputs: Array) -> Path:
    """Data whose labels are the model's own decisions, in three slices."""
    decided = outputs_of(model, save_npz(path, **inputs))[0].argmax(axis=-1)
    slices = np.array(["north", "south", "west"])[np.arange(len(decided)) % 3]
    return save_npz(path, label=decided, slice=slices, **inputs)


def classifier(folder: Path, count: int = 120, opset: int = OPSET) -> tuple[Path, Path]:
    """A small image classifier and labelled data that it gets all right."""
    model = save_conv_classifier(folder / "classifier.onnx", opset=opset)
    data = save_labelled(folder / "images.npz", model, image=random(7, count, 1, 8, 8))
    return model, data


def save_elementwise(path: Path) -> Path:
    """`x` (n, 6) to `y` (n, 6) without any weight: nothing to quantise or prune."""
    return save(
        path,
        [helper.make_node("Tanh", ["x"], ["t"]), helper.make_node("Add", ["x", "t"], ["y"])],
        [("x", "float32", ["n", 6])],
        [("y", "float32", ["n", 6])],
    )


def save_wide_range(path: Path, features: int = 32, classes: int = 6) -> Path:
    """A convolution, then a tail in which each feature is scaled by up to 10^6 and back.

    Eight bits over the scaled tensor leave nothing of the features with small scales, although
    the tail as a whole changes no feature.
    """
    scales = np.logspace(-3, 3, features).astype(np.float32)[None]
    weights = random(1, features, classes)
    weights[features // 2 :] = 0.0  # the decision rests on the features with small scales
    return save(
        path,
        [
            helper.make_node("Conv", ["x", "k", "c"], ["a"], pads=[1, 1]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("GlobalAveragePool", ["b"], ["p"]),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node("Mul", ["f", "up"], ["big"]),
            helper.make_node("Sqrt", ["big"], ["root"]),
            helper.make_node("Mul", ["root", "down"], ["small"]),
            helper.make_node("Gemm", ["small", "w", "o"], ["y"]),
        ],
        [("x", "float32", ["n", 3, 8])],
        [("y", "float32", ["n", classes])],
        [
            constant("k", random(2, features, 3, 3)),
            constant("c", random(3, features) + 1),
            constant("up", scales),
            constant("down", 1 / np.sqrt(scales)),
            constant("w", weights),
            constant("o", -weights.sum(axis=0) * np.float32(1.3)),
        ],
    )


def load(path: Path) -> onnx.ModelProto:
    """The model in a file."""
    return onnx.load(path)
