"""What both examples share: seeding, the training loop, and a clean ONNX export.

Imports torch at the top, so import it only after ``require("torch", "onnx", "onnxruntime")``.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from examples.measure import predict

OPSET = 17
Augment = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train: SGD with Nesterov momentum on a one-cycle rate."""

    epochs: int
    batch: int
    peak_rate: float
    weight_decay: float
    label_smoothing: float
    seed: int


def seed_everything(seed: int) -> None:
    """Make a run repeatable on one machine: fixed seed, one thread."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)


def fit(
    network: nn.Module, inputs: Tensor, labels: Tensor, schedule: Schedule, augment: Augment
) -> float:
    """Train the network in place and return the CPU seconds it took."""
    started = time.process_time()
    generator = torch.Generator().manual_seed(schedule.seed)
    steps = len(inputs) // schedule.batch
    decay = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": decay, "weight_decay": schedule.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(groups, lr=schedule.peak_rate, momentum=0.9, nesterov=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, schedule.peak_rate, total_steps=schedule.epochs * steps, pct_start=0.25
    )
    criterion = nn.CrossEntropyLoss(label_smoothing=schedule.label_smoothing)
    network.train()
    for epoch in range(schedule.epochs):
        order = torch.randperm(len(inputs), generator=generator)
        total = 0.0
        for step in range(steps):
            chosen = order[step * schedule.batch : (step + 1) * schedule.batch]
            loss = criterion(network(augment(inputs[chosen], generator)), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
            total += loss.item()
        print(f"epoch {epoch + 1:>2}/{schedule.epochs}  loss {total / steps:.4f}", flush=True)
    network.eval()
    return time.process_time() - started


def export(network: nn.Module, sample: Tensor, path: Path, input_name: str) -> None:
    """Write the network as one ONNX file: batch axis free, BatchNorm folded, no exporter notes."""
    torch.onnx.export(
        network.eval(),
        (sample,),
        str(path),
        input_names=[input_name],
        output_names=["logits"],
        dynamic_axes={input_name: {0: "batch"}, "logits": {0: "batch"}},
        opset_version=OPSET,
        dynamo=False,
    )
    model = onnx.load(path)
    strip(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def strip(model: onnx.ModelProto) -> None:
    """Remove what the exporter leaves beside the graph, and give nodes and tensors short names."""
    graph = model.graph
    for part in [model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output]:
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    graph.ClearField("value_info")
    model.ClearField("producer_version")
    graph.name = "main"
    ends = {value.name for value in [*graph.input, *graph.output]}
    names = {name: name for name in ends}
    for index, node in enumerate(graph.node):
        roles = [*("input", "weight", "bias")[: len(node.input)], "output"]
        for name, role in zip([*node.input, *node.output], roles, strict=True):
            names.setdefault(name, f"{node.op_type.lower()}_{index}.{role}")
    for tensor in graph.initializer:
        tensor.name = names[tensor.name]
    for index, node in enumerate(graph.node):
        node.name = f"{node.op_type.lower()}_{index}"
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]


def largest_difference(network: nn.Module, path: Path, inputs: np.ndarray) -> float:
    """Return the largest absolute difference between torch's and onnxruntime's outputs."""
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(inputs)).numpy()
    return float(np.abs(expected - predict(path, inputs)).max())
