"""Batch normalisation behind convolutions, put back to learn with and folded in again.

Whoever exported the model folded it away; with it, learning takes higher rates and fewer epochs
(Ioffe and Szegedy, "Batch normalization", 2015).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import torch
from onnx import ModelProto, numpy_helper
from torch import Tensor, nn

from fitment_compress.training.constraints import FreeWeight
from fitment_compress.training.network import Network


def give_biases(model: ModelProto) -> None:
    """Add a bias of zeroes to every convolution without one: folding needs a place for the shift.

    Args:
        model: changed in place.
    """
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    taken = {*stored, *(name for node in model.graph.node for name in node.output)}
    for node in model.graph.node:
        bare = len(node.input) == 2 or (len(node.input) == 3 and not node.input[2])
        if node.op_type != "Conv" or not bare or node.input[1] not in stored:
            continue
        name = f"{node.output[0]}.bias"
        while name in taken:
            name += "_"
        taken.add(name)
        zeroes = np.zeros(
            stored[node.input[1]].dims[0], numpy_helper.to_array(stored[node.input[1]]).dtype
        )
        model.graph.initializer.append(numpy_helper.from_array(zeroes, name))
        del node.input[2:]
        node.input.append(name)


def insert_norms(network: Network, model: ModelProto, feeds: Mapping[str, Tensor]) -> None:
    """Put a normalisation behind each convolution whose weights may be scaled and are its own.

    Args:
        network: changed in place; computes the same as before when it does not train.
        model: that the network was made from.
        feeds: one batch of samples, for the statistics that the normalisations start from.
    """
    uses = Counter(name for node in model.graph.node for name in node.input)
    places = {
        index: node.output[0]
        for index, node in enumerate(model.graph.node)
        if node.op_type == "Conv"
        and len(node.input) == 3
        and all(uses[name] == 1 for name in node.input[1:])
        and _scales(network, node.input[1])
        and isinstance(network.weights.get(node.input[2]), FreeWeight)
    }
    probe = Network(model, watched=list(places.values())).freeze()
    with torch.no_grad():
        seen = probe(feeds)
    for index, value in places.items():
        if seen[value].numel() == seen[value].shape[1]:
            continue  # one number per channel, of a single sample, has no variance
        network.norms[str(index)] = _neutral(seen[value])


def _scales(network: Network, name: str) -> bool:
    return name in network.weights and network.weights[name].scales


def _neutral(values: Tensor) -> nn.Module:
    """A normalisation that undoes itself on values like these."""
    channels, rank = values.shape[1], values.ndim
    norm = {3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[rank](channels)
    others = [axis for axis in range(rank) if axis != 1]
    mean, variance = values.mean(others), values.var(others, unbiased=False)
    # A channel that is always the same has nothing to be normalised by.
    variance = torch.where(variance < norm.eps, torch.ones_like(variance), variance)
    with torch.no_grad():
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.copy_(mean)
    return norm


@torch.no_grad()
def fold_norms(network: Network, model: ModelProto) -> None:
    """Multiply the normalisations into the convolutions before them, and remove them."""
    for index, norm in list(network.norms.items()):
        node = model.graph.node[int(index)]
        factors = norm.weight / (norm.running_var + norm.eps).sqrt()
        network.weights[node.input[1]].scale(factors)
        bias = network.weights[node.input[2]].latent
        bias.copy_((bias - norm.running_mean) * factors + norm.bias)
        del network.norms[index]
