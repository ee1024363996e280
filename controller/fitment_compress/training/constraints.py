"""How each stored tensor may change while it learns, read off the tensor itself.

A weight is a module that computes the tensor that the graph uses from what is learnt, and in the
end gives the array that is stored. No technique says what it did: a weight that has zeroes was
pruned, one with few distinct values has a codebook, one of integers was quantised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

CODEBOOK_LIMIT: Final = 256
"""More distinct values in a tensor than 8 bits can number are no codebook."""

CHANNEL_CODEBOOK_LIMIT: Final = 16
"""The same for codebooks per channel, such as those of ternary weights."""

CAREFUL: Final = 0.1
"""The share of the rate for numbers that change much when they change little: entries of codebooks
move many weights at once, and rounding makes whole steps of small ones."""


@dataclass(frozen=True)
class Stored:
    """A tensor of the graph that is to learn.

    Attributes:
        values: as stored, of any floating-point type.
        channels: the axis along which output channels are numbered; None where it has none.
    """

    values: NDArray[Any]
    channels: int | None = None


class Weight(nn.Module):
    """One stored tensor that learns.

    Attributes:
        latent: what the optimiser changes.
        decays: whether weight decay makes sense for it.
        scales: whether whole channels may be scaled, as folding a normalisation does.
        pace: the share of the lesson's rate at which it learns.
    """

    latent: nn.Parameter
    decays: bool = False
    scales: bool = False
    pace: float = 1.0

    def forward(self) -> Tensor:
        """The tensor that the graph computes with."""
        raise NotImplementedError

    def stored(self) -> NDArray[Any]:
        """What is written back."""
        raise NotImplementedError

    def scale(self, factors: Tensor) -> None:
        """Multiply output channel i by `factors[i]` for good."""
        raise NotImplementedError


WeightMaker = Callable[[Stored], Weight]
"""Makes the weight that learns from the one that is stored."""


class FreeWeight(Weight):
    """Any value, except that zeroes of a matrix or kernel stay zero.

    Zeroes in vectors are not kept: biases start at zero, and hold nothing worth compressing.
    """

    scales = True
    mask: Tensor | None

    def __init__(self, stored: Stored) -> None:
        super().__init__()
        self._type, self._channels = stored.values.dtype, stored.channels
        values = torch.from_numpy(stored.values.astype(np.float32))
        self.decays = values.ndim > 1
        self.latent = nn.Parameter(values)
        sparse = values.ndim > 1 and bool((values == 0).any())
        self.register_buffer("mask", (values != 0).to(values.dtype) if sparse else None)

    def forward(self) -> Tensor:
        """See `Weight.forward`."""
        return self.latent if self.mask is None else self.latent * self.mask

    def stored(self) -> NDArray[Any]:
        """See `Weight.stored`."""
        return to_array(self(), self._type)

    @torch.no_grad()
    def scale(self, factors: Tensor) -> None:
        """See `Weight.scale`."""
        self.latent.mul_(along(factors, self._channels, self.latent.ndim))


class CodebookWeight(Weight):
    """Every element keeps its code; what the codes stand for learns, and zero stays zero.

    The gradient of an entry is the sum of its elements' gradients (Han et al., "Deep
    compression", 2016).
    """

    pace = CAREFUL
    codes: Tensor
    mask: Tensor

    def __init__(self, stored: Stored, codes: NDArray[Any], entries: NDArray[Any]) -> None:
        super().__init__()
        self._type, self._shape = stored.values.dtype, stored.values.shape
        values = torch.from_numpy(entries.astype(np.float32))
        self.latent = nn.Parameter(values)
        self.register_buffer("codes", torch.from_numpy(codes.reshape(-1).astype(np.int64)))
        self.register_buffer("mask", (values != 0).to(values.dtype))

    def forward(self) -> Tensor:
        """See `Weight.forward`."""
        return (self.latent * self.mask).index_select(0, self.codes).reshape(self._shape)

    def stored(self) -> NDArray[Any]:
        """See `Weight.stored`."""
        return to_array(self(), self._type)


def read_weight(stored: Stored) -> Weight:
    """The weight with the constraints that the stored values show."""
    found = codebook(stored.values) or _channel_codebook(stored)
    return FreeWeight(stored) if found is None else CodebookWeight(stored, *found)


def codebook(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Codes (same shape, int) and entries, where the values are few; None where they are not.

    Numbers that were learnt freely hardly ever repeat. Zeroes do not count, for pruning repeats
    them.
    """
    return few(values, CODEBOOK_LIMIT) if values.ndim > 1 else None


def few(
    values: NDArray[Any], limit: int, uses: int = 2
) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Codes and entries of at most `limit` values other than 0, each used `uses` times or more.

    Returns None where there are more, or where they are used less on average.
    """
    entries, codes = np.unique(values, return_inverse=True)
    distinct, used = np.count_nonzero(entries), np.count_nonzero(values)
    if distinct > limit or uses * distinct > used:
        return None
    return codes.reshape(values.shape), entries


def _channel_codebook(stored: Stored) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """One codebook per output channel, all in one vector."""
    if stored.channels is None or stored.values.ndim < 2:
        return None
    rows = np.moveaxis(stored.values, stored.channels, 0)
    found = [few(row, CHANNEL_CODEBOOK_LIMIT) for row in rows if np.any(row)]
    if not found or any(entry is None for entry in found):
        return None
    codes, books, start = [], [], 0
    for row in rows:
        entries, own = np.unique(row, return_inverse=True)
        codes.append(own.reshape(row.shape) + start)
        books.append(entries)
        start += len(entries)
    return np.moveaxis(np.stack(codes), 0, stored.channels), np.concatenate(books)


def along(factors: Tensor, axis: int | None, rank: int) -> Tensor:
    """A vector shaped to be broadcast along one axis of a tensor."""
    if axis is None:
        raise ValueError("a tensor without channels has no axis to be scaled along")
    return factors.reshape([-1 if i == axis % rank else 1 for i in range(rank)])


def to_array(values: Tensor, kind: Any) -> NDArray[Any]:
    """A contiguous array of the given type; no zero is negative, for equal bytes pack better."""
    array = values.detach().contiguous().numpy()
    return np.asarray(array + array.dtype.type(0), kind, order="C")
