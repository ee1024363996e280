"""Weights of two or three values per channel, learnt straight through their rounding."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fitment_compress.training.constraints import (
    Stored,
    Weight,
    WeightMaker,
    along,
    to_array,
)

THRESHOLD: Final = 0.7
"""Ternary weights below this share of their channel's mean magnitude are zero (Li and Liu,
"Ternary weight networks", 2016)."""


class LevelWeight(Weight):
    """Per output channel -a and a, with 0 between them when ternary.

    `a` is the mean magnitude of those of the channel's latent weights that are not zero (Rastegari
    et al., "XNOR-Net", 2016; Li and Liu, 2016). Gradients pass to the latent weights as if they
    were the ones used. Zeroes that were there at the beginning stay.
    """

    scales = True
    decays = True
    factors: Tensor
    mask: Tensor

    def __init__(self, stored: Stored, ternary: bool) -> None:
        super().__init__()
        self._type, self._channels, self._ternary = stored.values.dtype, stored.channels, ternary
        values = torch.from_numpy(stored.values.astype(np.float32))
        self.latent = nn.Parameter(values)
        self.register_buffer("mask", (values != 0).to(values.dtype))
        ones = torch.ones(values.shape[self._axis()])
        self.register_buffer("factors", along(ones, self._axis(), values.ndim))

    def _axis(self) -> int:
        return 0 if self._channels is None else self._channels

    def forward(self) -> Tensor:
        """See `Weight.forward`."""
        used = levels(self.latent.detach() * self.mask, self._axis(), self._ternary)
        straight = self.latent * self.mask
        return (straight + (used - straight).detach()) * self.factors

    def stored(self) -> NDArray[Any]:
        """See `Weight.stored`; exactly the levels, without the rounding of `forward`."""
        used = levels(self.latent.detach() * self.mask, self._axis(), self._ternary)
        return to_array(used * self.factors, self._type)

    @torch.no_grad()
    def scale(self, factors: Tensor) -> None:
        """See `Weight.scale`."""
        self.factors.mul_(along(factors, self._axis(), self.latent.ndim))


def levels(weights: Tensor, axis: int, ternary: bool) -> Tensor:
    """The nearest weights with one magnitude per position along `axis`, same shape.

    Zeroes stay zero, also among binary weights.
    """
    others = [place for place in range(weights.ndim) if place != axis % weights.ndim]
    size = weights.abs()
    there = size > 0
    if ternary:
        there &= size > THRESHOLD * size.mean(others, keepdim=True)
    count = there.sum(others, keepdim=True).clamp_min(1)
    magnitude = (size * there).sum(others, keepdim=True) / count
    return weights.sign() * there * magnitude


def level_maker(ternary: bool) -> WeightMaker:
    """Makes weights of two or three values per channel, for `learn`."""

    def make(stored: Stored) -> Weight:
        return LevelWeight(stored, ternary)

    return make
