"""How much each channel matters to the layers that make it and read it."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from fitment_compress.graph import constants
from fitment_compress.structure.channels import ChannelMap
from fitment_compress.structure.probe import Feeds, look

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto

Scores = dict[int, float]
"""Importance by channel; comparable within a group, and across groups by its group's mean."""


def weight_scores(model: ModelProto, where: ChannelMap, power: int) -> Scores:
    """Norms of all weights that vanish with a channel, each layer counting the same.

    Args:
        model: whose weights are looked at.
        where: the map of this very model.
        power: 1 or 2, of the norm.
    """
    import numpy as np

    stored = constants(model)
    scores: Scores = defaultdict(float)
    for (name, axis), channels in where.slices.items():
        values = np.moveaxis(stored[name], axis, 0)
        if values.ndim < 2:
            continue  # biases and normalisations say little about what a channel carries
        norms = (np.abs(values.astype(np.float64)) ** power).reshape(len(values), -1).sum(axis=1)
        _add(scores, channels, norms / max(norms.mean(), np.finfo(np.float64).tiny))
    return scores


def activation_scores(model: ModelProto, where: ChannelMap, feeds: Feeds) -> Scores:
    """The power that each channel brings into the layers that read it.

    The mean square of the channel over the samples times the squared norm of the weights that it
    is multiplied with, each layer counting the same. Unlike norms of weights it does not change
    when a channel is scaled in one layer and scaled back in the next.

    Args:
        model: not changed.
        where: the map of this very model.
        feeds: calibration samples, at least one.
    """
    import numpy as np

    stored = constants(model)
    sources = list(dict.fromkeys(reader.source for reader in where.readers))
    powers = _powers(model, where, sources, feeds)
    scores: Scores = defaultdict(float)
    for reader in where.readers:
        weight = np.moveaxis(stored[reader.weight].astype(np.float64), reader.axis, 0)
        norms = np.square(weight).reshape(len(weight), -1).sum(axis=1)
        power = powers[reader.source]
        # A grouped convolution has one slice per channel, which each of its groups reads.
        power = power.reshape(-1, len(norms)).mean(axis=0)
        brought = norms * power
        _add(scores, reader.channels, brought / max(brought.mean(), np.finfo(np.float64).tiny))
    return scores


def _powers(
    model: ModelProto, where: ChannelMap, sources: list[str], feeds: Feeds
) -> dict[str, NDArray[Any]]:
    """The mean square of each tensor at each position of its channel axis."""
    import numpy as np

    sums: dict[str, Any] = dict.fromkeys(sources, 0.0)
    for seen in look(model, sources, feeds):
        for name, values in seen.items():
            by_channel = np.moveaxis(values.astype(np.float64), where.labels[name].axis, 0)
            sums[name] = sums[name] + np.square(by_channel.reshape(len(by_channel), -1)).mean(
                axis=1
            )
    return {name: total / len(feeds) for name, total in sums.items()}


def _add(scores: Scores, channels: tuple[int, ...], values: NDArray[Any]) -> None:
    for channel, value in zip(channels, values.tolist(), strict=True):
        scores[channel] += value
