"""Whether the file computes what was trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor

from fitment_compress.errors import TechniqueError
from fitment_compress.training.constraints import to_array
from fitment_compress.training.network import Network

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
    import onnxruntime as ort

    few = {name: values[:COMPARED_SAMPLES] for name, values in feeds.items()}
    with torch.no_grad():
        expected = network(few)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = {value.name: value.type for value in session.get_inputs()}
    found = session.run(
        list(network.outputs),
        {name: _fed(values, names[name]) for name, values in few.items()},
    )
    quantised = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    for name, values in zip(network.outputs, found, strict=True):
        difference = np.abs(np.asarray(values, np.float64) - expected[name].double().numpy())
        scale = float(np.std(values) if quantised else np.abs(values).max())
        error = float(difference.mean() if quantised else difference.max())
        if error > (QUANTISED_TOLERANCE if quantised else TOLERANCE) * max(scale, 1e-6):
            raise TechniqueError(
                f"The file does not compute what was trained: {name} differs by {error:.2g} "
                f"at outputs of {scale:.2g}.",
                "Use techniques that do not learn for this model.",
            )


def _fed(values: Tensor, kind: str) -> NDArray[Any]:
    """An array of the type that the input declares, such as `tensor(float16)`."""
    plain = kind.removeprefix("tensor(").removesuffix(")")
    name = {"float": "float32", "double": "float64"}.get(plain, plain)
    return to_array(values, np.dtype(name))
