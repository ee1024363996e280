"""Whether the runtime and PyTorch compute the same, before learning and after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from onnx import ModelProto, TensorProto
from torch import Tensor

from fitment_compress.errors import TechniqueError
from fitment_compress.graph import tensors
from fitment_compress.training.network import Network
from fitment_compress.training.reference import Reference

COMPARED_SAMPLES: Final = 8

TOLERANCE: Final = 1e-3
"""Largest difference over the largest output, for graphs of floating-point numbers."""

HALF_TOLERANCE: Final = 1e-2
"""The same where the file holds numbers of 16 bits, which runtimes round to after every operator:
the shipped models differ by 0.002."""

QUANTISED_TOLERANCE: Final = 0.1
"""Mean difference over the outputs' standard deviation, where runtimes round on integers."""


_HALF: Final = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


def is_quantised(model: ModelProto) -> bool:
    """Whether the graph rounds to integers."""
    return any(node.op_type == "QuantizeLinear" for node in model.graph.node)


def refuse_difference(model: ModelProto, network: Network, feeds: Mapping[str, Tensor]) -> None:
    """Run a few samples in onnxruntime and in PyTorch.

    Raises:
        TechniqueError: the outputs differ by more than rounding, or are no numbers.
    """
    few = {name: values[:COMPARED_SAMPLES] for name, values in feeds.items()}
    with torch.no_grad():
        expected = network(few)
    for name, values in Reference(model)(few).items():
        if not bool(torch.isfinite(values).all()):
            raise TechniqueError(
                f"The model that learns gives NaN or infinite numbers in {name}.",
                "Choose a lower rate, or put this step before the one that makes them.",
            )
        error, scale, tolerance = _compared(model, values.double(), expected[name].double())
        if not error <= tolerance * max(scale, 1e-6):
            raise TechniqueError(
                f"The file computes something else than training: {name} differs by {error:.2g} "
                f"at outputs of {scale:.2g}.",
                "Use techniques that do not learn for this model.",
            )


def _compared(model: ModelProto, values: Tensor, own: Tensor) -> tuple[float, float, float]:
    """How far both are from each other, how large they are, and which ratio is allowed."""
    largest = float(values.abs().max())
    if values.shape != own.shape:
        return float("inf"), largest, TOLERANCE
    difference = (values - own).abs()
    if is_quantised(model):
        # One number alone has no deviation.
        scale = float(values.std()) if values.numel() > 1 else largest
        return float(difference.mean()), scale, QUANTISED_TOLERANCE
    half = any(tensor.data_type in _HALF for tensor in tensors(model))
    return float(difference.max()), largest, HALF_TOLERANCE if half else TOLERANCE
