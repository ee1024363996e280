"""Deep Compression's setting: how much smaller a network of 256-300-100-10 neurons travels.

Han, Mao and Dally ("Deep Compression", 2016) prune, share weights and code them, retraining after
each step, and report 40 times less for LeNet-300-100. Here the same is done to the same shape of
network, on scikit-learn's digits (1,797 images of 8 × 8) enlarged to 16 × 16, with this project's
own techniques and its own transfer encoding. Counted is everything that a device receives.

    pip install 'fitment[train]' scikit-learn
    python bench/deep_compression.py [--seeds 5] [--sparsity 0.92] [--bits 5]
"""

from __future__ import annotations

import argparse
import io
import lzma
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from sklearn.datasets import load_digits

from fitment_compress.packing import encode
from fitment_compress.pipeline import build
from fitment_compress.techniques.base import Context
from fitment_contract.packed import decode
from fitment_contract.variant import RecipeStep
from fitment_runtime.catalog import find_runtime
from fitment_runtime.dataset import Dataset

LAYERS = (256, 300, 100, 10)
TEST_SHARE = 0.3
EPOCHS = 40
HALFWAY = 0.8
"""Pruned at once to 92 %, three networks lost 0.4 points on average; by way of 80 %, nothing."""


@dataclass(frozen=True)
class Digits:
    """Images as (n, 256) float32 from 0 to 1, and their digits."""

    training: Dataset
    test: Dataset


@dataclass(frozen=True)
class Figures:
    """What one model is: share of right answers, and bytes."""

    accuracy: float
    file_bytes: int
    xz_bytes: int
    packed_bytes: int


def digits(seed: int) -> Digits:
    """A random division of the images; the test images are used for nothing else."""
    images, label = load_digits(return_X_y=True)
    large = np.kron(images.reshape(-1, 8, 8), np.ones((2, 2))).reshape(-1, 256) / 16
    order = np.random.default_rng(seed).permutation(len(label))
    split = int(len(label) * TEST_SHARE)

    def part(chosen: NDArray[Any]) -> Dataset:
        return Dataset({"image": large[chosen].astype(np.float32)}, label[chosen], None)

    return Digits(part(order[split:]), part(order[:split]))


def trained(data: Dataset, seed: int) -> onnx.ModelProto:
    """The network as trained from chance."""
    torch.manual_seed(seed)
    layers: list[torch.nn.Module] = []
    for inputs, outputs in pairwise(LAYERS):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    network = torch.nn.Sequential(*layers[:-1])
    image = torch.from_numpy(np.ascontiguousarray(data.inputs["image"]))
    label = torch.from_numpy(np.asarray(data.label))
    optimiser = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=1e-3)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(label)).split(64):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(network(image[batch]), label[batch]).backward()
            optimiser.step()
    return as_onnx([layer for layer in network if isinstance(layer, torch.nn.Linear)])


def as_onnx(layers: Sequence[torch.nn.Linear]) -> onnx.ModelProto:
    """The network as a graph of Gemm and Relu."""
    nodes, stored = [], []
    for number, layer in enumerate(layers):
        last = number == len(layers) - 1
        before = f"h{number}" if number else "image"
        after = "scores" if last else f"a{number}"
        for name, values in ((f"w{number}", layer.weight), (f"b{number}", layer.bias)):
            stored.append(numpy_helper.from_array(values.detach().numpy(), name))
        operands = [before, f"w{number}", f"b{number}"]
        nodes.append(helper.make_node("Gemm", operands, [after], transB=1))
        if not last:
            nodes.append(helper.make_node("Relu", [after], [f"h{number + 1}"]))
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["n", LAYERS[0]])],
        [helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["n", LAYERS[-1]])],
        stored,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def figures(model: onnx.ModelProto, data: Dataset, folder: Path) -> Figures:
    """The model's file, its sizes, and how often it is right in the real runtime."""
    path = folder / "measured.onnx"
    onnx.save(model, path)
    content = path.read_bytes()
    packed = encode(content)
    assert b"".join(decode(io.BytesIO(packed), len(content))) == content
    session = find_runtime("onnxruntime").load(path)
    scores = session.run({"image": data.inputs["image"]})[0]
    right = float((scores.argmax(axis=1) == data.label).mean())
    return Figures(right, len(content), len(lzma.compress(content, preset=9)), len(packed))


def recover(epochs: float) -> RecipeStep:
    """Retraining on the training images and their labels."""
    return RecipeStep(
        technique="recover", options={"epochs": epochs, "batch": 64, "label_weight": 0.5}
    )


def one_seed(seed: int, steps: Sequence[RecipeStep], folder: Path) -> list[Figures]:
    """The network, and what it is after each step."""
    data = digits(seed)
    model = trained(data.training, seed)
    onnx.save(model, folder / "source.onnx")
    context = Context(
        calibration=[],
        scratch=folder,
        source=folder / "source.onnx",
        training=data.training,
        seed=seed,
    )
    found = [figures(model, data.test, folder)]
    for step in steps:
        model = build(model, [step], context).model
        found.append(figures(model, data.test, folder))
    return found


def show(names: Sequence[str], runs: Sequence[Sequence[Figures]]) -> None:
    """A line per step: means over the seeds, and the standard error of the loss."""
    print(
        f"{'after':<34}{'accuracy':>9}{'loss':>14}{'file':>9}{'xz':>9}{'packed':>9}{'smaller':>9}"
    )
    for number, name in enumerate(names):
        column = [run[number] for run in runs]
        losses = [100 * (run[0].accuracy - run[number].accuracy) for run in runs]
        error = statistics.stdev(losses) / len(losses) ** 0.5 if len(losses) > 1 else 0.0
        accuracy = 100 * statistics.mean(one.accuracy for one in column)
        packed = statistics.mean(one.packed_bytes for one in column)
        xz = statistics.mean(one.xz_bytes for one in column)
        print(
            f"{name:<34}{accuracy:>8.2f}%{statistics.mean(losses):>8.2f} ±{error:.2f}"
            f"{column[0].file_bytes:>9}{xz:>9.0f}{packed:>9.0f}"
            f"{runs[0][0].file_bytes / packed:>8.1f}x"
        )


def main() -> None:
    """Run all seeds and print the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--sparsity", type=float, default=0.92)
    options.add_argument("--bits", type=int, default=5)
    asked = options.parse_args()
    torch.set_num_threads(1)
    steps = [
        RecipeStep(technique="magnitude-prune", options={"sparsity": HALFWAY, "refit": False}),
        recover(20.0),
        RecipeStep(
            technique="magnitude-prune", options={"sparsity": asked.sparsity, "refit": False}
        ),
        recover(40.0),
        RecipeStep(technique="codebook", options={"bits_dense": asked.bits}),
        recover(20.0),
    ]
    with tempfile.TemporaryDirectory() as folder:
        runs = [one_seed(seed, steps, Path(folder)) for seed in range(asked.seeds)]
    show(["training", *(f"{step.technique} {step.options}"[:33] for step in steps)], runs)


if __name__ == "__main__":
    main()
