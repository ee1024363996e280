"""Finds the pairs of QuantizeLinear and DequantizeLinear in a graph, and what they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper
from torch import Tensor

from fitment_compress.errors import TechniqueError
from fitment_compress.graph import attribute, constants
from fitment_compress.training.operators import Operator
from fitment_compress.training.quantised import Grid, fake_quantise

_TYPES: Final = {np.dtype(kind): np.iinfo(kind) for kind in ("i1", "u1", "i2", "u2", "i4")}


@dataclass
class Pairs:
    """What becomes of the quantisation of a graph while it learns.

    Attributes:
        weights: per value that a DequantizeLinear makes from stored integers: the initializer
            and its grid.
        operators: by the index of the node: functions in place of the other pairs. The first of a
            pair rounds to the grid, the second passes on.
    """

    weights: dict[str, tuple[str, Grid]] = field(default_factory=dict)
    operators: dict[int, Operator] = field(default_factory=dict)


def read_pairs(model: ModelProto) -> Pairs:
    """All quantisation in a graph.

    Raises:
        TechniqueError: scales that are not stored, blocks, types without a range, or integers
            between the pair.
    """
    known = constants(model)
    stored = {tensor.name for tensor in model.graph.initializer}
    grids: dict[str, Grid] = {}
    pairs = Pairs()
    for index, node in enumerate(model.graph.node):
        if node.op_type == "QuantizeLinear":
            grid = _grid(node, known, _made(node))
            grids[node.output[0]] = grid
            pairs.operators[index] = _rounding(grid)
        elif node.op_type == "DequantizeLinear" and node.input[0] in stored:
            name = node.input[0]
            grid = _grid(node, known, known[name].dtype)
            pairs.weights[node.output[0]] = (name, grid)
        elif node.op_type == "DequantizeLinear":
            if not _same(grids.get(node.input[0]), _grid(node, known, np.dtype(np.uint8))):
                raise TechniqueError(
                    f"Training cannot follow the integers that {node.output[0]} is made from.",
                    "Quantise with QuantizeLinear/DequantizeLinear pairs, or train beforehand.",
                )
            pairs.operators[index] = _pass
    return pairs


def _made(node: NodeProto) -> Any:
    """The type that a QuantizeLinear without zero point writes."""
    kind = attribute(node, "output_dtype", 0) or TensorProto.UINT8
    return np.dtype(helper.tensor_dtype_to_np_dtype(kind))


def _rounding(grid: Grid) -> Operator:
    def run(a: Mapping[str, Any], x: Tensor) -> Tensor:
        return fake_quantise(x, grid)

    return run


def _pass(a: Mapping[str, Any], x: Tensor) -> Tensor:
    return x


def _grid(node: NodeProto, known: Mapping[str, NDArray[Any]], default: Any) -> Grid:
    """The grid of a node.

    Args:
        node: a QuantizeLinear or DequantizeLinear.
        known: the constants of the graph.
        default: the type of the integers where no zero point says it.
    """
    scale, point = known.get(node.input[1]), None
    if len(node.input) > 2 and node.input[2]:
        point = known.get(node.input[2])
    kind = default if point is None else point.dtype
    if scale is None or kind not in _TYPES or attribute(node, "block_size", 0):
        raise TechniqueError(
            f"Training does not know the quantisation of {node.output[0]} "
            f"({kind}, {'stored' if scale is not None else 'computed'} scale).",
            "Train before this quantisation instead.",
        )
    zeroes = np.zeros(scale.shape, dtype=kind)
    return Grid(
        scale=scale,
        point=zeroes if point is None else point,
        axis=attribute(node, "axis", 1) if scale.size > 1 else None,
        low=int(_TYPES[kind].min),
        high=int(_TYPES[kind].max),
    )


def _same(first: Grid | None, second: Grid) -> bool:
    return (
        first is not None
        and np.array_equal(first.scale, second.scale)
        and np.array_equal(first.point, second.point)
        and first.axis == second.axis
    )
