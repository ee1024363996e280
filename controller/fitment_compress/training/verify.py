"""Whether the file computes what was trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from onnx import ModelProto
from torch import Tensor

from fitment_compress.errors import TechniqueError
from fitment_compress.training.network import Network
from fitment_compress.training.reference import Reference

COMPARED_SAMPLES: Final = 8

TOLERANCE: Final = 1e-3
"""Largest difference over the largest output, for graphs of floating-point numbers."""

QUANTISED_TOLERANCE: Final = 0.1
"""Mean difference over the outputs' standard deviation, where runtimes round on integers."""


def refuse_difference(model: ModelProto, network: Network, feeds: Mapping[str, Tensor]) -> None:
    """Run a few samples in onnxruntime and in PyTorch.

    Raises:
        TechniqueError: the outputs differ by more than rounding.
    """
    few = {name: values[:COMPARED_SAMPLES] for name, values in feeds.items()}
    with torch.no_grad():
        expected = network(few)
    quantised = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    for name, values in Reference(model)(few).items():
        difference = (values.double() - expected[name].double()).abs()
        scale = float(values.double().std() if quantised else values.abs().max())
        error = float(difference.mean() if quantised else difference.max())
        if error > (QUANTISED_TOLERANCE if quantised else TOLERANCE) * max(scale, 1e-6):
            raise TechniqueError(
                f"The file does not compute what was trained: {name} differs by {error:.2g} "
                f"at outputs of {scale:.2g}.",
                "Use techniques that do not learn for this model.",
            )
