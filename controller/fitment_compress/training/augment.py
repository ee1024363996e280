"""Changes of images that leave their meaning: more to learn from the same samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad

from fitment_compress.training.lesson import Augmentation

SHIFT_SHARE: Final = 1 / 14
"""Of a side: how far an image is moved at most, 2 pixels of 28."""


def augment(images: Tensor, kinds: Sequence[Augmentation], generator: Generator) -> Tensor:
    """Mirror half of the images and move each by a few pixels, as asked; `mix` is not done here.

    Args:
        images: (count, channels, height, width).
        kinds: what to do.
        generator: of the choices.
    """
    if "flip" in kinds:
        mirrored = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
        images = torch.where(mirrored, images.flip(3), images)
    return _shifted(images, generator) if "shift" in kinds else images


def _shifted(images: Tensor, generator: Generator) -> Tensor:
    """What is moved in from outside is 0."""
    count, channels, height, width = images.shape
    reach = [max(1, round(side * SHIFT_SHARE)) for side in (height, width)]
    padded = pad(images, [reach[1], reach[1], reach[0], reach[0]])
    top, left = (torch.randint(0, 2 * r + 1, (count, 1), generator=generator) for r in reach)
    rows = (top + torch.arange(height))[:, None, :, None]
    columns = (left + torch.arange(width))[:, None, None, :]
    picture = torch.arange(count)[:, None, None, None]
    channel = torch.arange(channels)[None, :, None, None]
    return padded[picture, channel, rows, columns]


def partners(count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """For blending pairs: a partner of each sample, and the share that the sample itself keeps."""
    return torch.randperm(count, generator=generator), torch.rand(count, generator=generator)


def blend(values: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    """Each sample's numbers times its share, plus its partner's times the rest."""
    own = share.reshape(-1, *[1] * (values.ndim - 1))
    return own * values + (1 - own) * values[partner]
