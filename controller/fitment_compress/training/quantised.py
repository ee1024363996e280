"""Training through quantisation: stored integers as latent numbers, rounding with gradients.

The gradient of rounding is taken to be 1 inside the range of the integers and 0 outside it
(the straight-through estimator; Jacob et al., "Quantization and training of neural networks for
efficient integer-arithmetic-only inference", 2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fitment_compress.training.constraints import (
    CAREFUL,
    CHANNEL_CODEBOOK_LIMIT,
    Weight,
    few,
    to_array,
)

PRUNED_SHARE: Final = 0.5
"""A stored tensor of integers with at least this share of zeroes was pruned before it was
quantised. Rounding alone makes a few per cent."""

CODE_USES: Final = 8
"""Stored integers that are used so often on average were levels before they were quantised. There
are only 256 of them: even those that were learnt freely repeat."""


@dataclass(frozen=True)
class Grid:
    """What the integers of a tensor stand for: (integer - point) * scale.

    Attributes:
        scale, point: one number, or one per position along `axis`.
        axis: of the tensor; None where there is only one scale.
        low, high: the range of the integers.
    """

    scale: NDArray[Any]
    point: NDArray[Any]
    axis: int | None
    low: int
    high: int

    def spread(self, rank: int) -> tuple[Tensor, Tensor]:
        """Scale and zero point as float32, to be broadcast over a tensor of this rank."""
        shape = [1] * rank
        if self.axis is not None and self.scale.size > 1:
            shape[self.axis % rank] = -1
        elif self.scale.size == 1:
            shape = []
        scale, point = (
            torch.from_numpy(values.astype(np.float32).reshape(shape))
            for values in (self.scale, self.point)
        )
        return scale, point


class QuantisedWeight(Weight):
    """Integers behind a DequantizeLinear: learnt as real numbers, rounded whenever used.

    Where they are few (ternary weights, codebooks), they stay: of codes and entries, the codes are
    constrained and the entries are on the grid already.
    """

    pace = CAREFUL
    scale_of: Tensor
    points: Tensor
    mask: Tensor | None

    def __init__(self, integers: NDArray[Any], grid: Grid) -> None:
        super().__init__()
        self._type, self._grid = integers.dtype, grid
        scale, point = grid.spread(integers.ndim)
        self.register_buffer("scale_of", scale)
        self.register_buffer("points", point)
        values = torch.from_numpy(integers.astype(np.float32))
        self.latent = nn.Parameter((values - point) * scale)
        pruned = integers.ndim > 1 and float((values == point).float().mean()) >= PRUNED_SHARE
        self.register_buffer("mask", (values != point).float() if pruned else None)
        if integers.ndim > 1 and few(integers, CHANNEL_CODEBOOK_LIMIT, CODE_USES):
            self.latent.requires_grad_(False)

    def forward(self) -> Tensor:
        """See `Weight.forward`."""
        latent = self.latent if self.mask is None else self.latent * self.mask
        return (self._integers(latent) - self.points) * self.scale_of

    def stored(self) -> NDArray[Any]:
        """See `Weight.stored`."""
        latent = self.latent if self.mask is None else self.latent * self.mask
        return to_array(self._integers(latent.detach().double()), self._type)

    def _integers(self, latent: Tensor) -> Tensor:
        exact = latent / self.scale_of + self.points
        return straight_through(exact.clamp(self._grid.low, self._grid.high))


def straight_through(values: Tensor) -> Tensor:
    """Rounded half to even, with the gradient of the identity."""
    return values + (values.round() - values).detach()


def fake_quantise(values: Tensor, grid: Grid) -> Tensor:
    """What QuantizeLinear and DequantizeLinear together do, with gradients.

    Args:
        values: float32, any shape.
        grid: of an integer type of at most 16 bits.
    """
    if grid.scale.size == 1:
        scale, point = float(grid.scale.reshape(())), int(grid.point.reshape(()))
        return torch.fake_quantize_per_tensor_affine(values, scale, point, grid.low, grid.high)
    scales, points = grid.spread(values.ndim)
    exact = (values / scales + points).clamp(grid.low, grid.high)
    return (straight_through(exact) - points) * scales
