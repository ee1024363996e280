"""The ONNX operators that only move numbers about, as PyTorch functions (see `operators`)."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Final

import torch
import torch.nn.functional as nn
from torch import Tensor

from fitment_compress.training.operators import Attributes, Operator


def flatten(a: Attributes, x: Tensor) -> Tensor:
    """To two axes, split before `axis`, which may be the rank itself."""
    axis = a.get("axis", 1)
    axis += x.ndim if axis < 0 else 0
    return x.reshape(prod(x.shape[:axis]), -1)


def reshape(a: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    """0 keeps an axis, -1 takes what is left."""
    wanted = shape.tolist()
    if not a.get("allowzero", 0):
        wanted = [x.shape[i] if length == 0 else length for i, length in enumerate(wanted)]
    return x.reshape(wanted)


def transpose(a: Attributes, x: Tensor) -> Tensor:
    """Axes in a new order; reversed when none is given."""
    return x.permute(a.get("perm", list(range(x.ndim))[::-1]))


def squeeze(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Without the given axes of length 1, or without all of them."""
    return x.squeeze() if axes is None else x.squeeze(tuple(axes.tolist()))


def unsqueeze(a: Attributes, x: Tensor, axes: Tensor) -> Tensor:
    """With axes of length 1 at the given places of the result."""
    rank = x.ndim + axes.numel()
    for axis in sorted(axis % rank for axis in axes.tolist()):
        x = x.unsqueeze(axis)
    return x


def split(a: Attributes, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, ...]:
    """Given lengths, or as many equal parts as the node has outputs."""
    axis = a.get("axis", 0)
    if lengths is not None:
        return tuple(x.split(lengths.tolist(), axis))
    parts = a["outputs"]
    return tuple(x.split(-(-x.shape[axis] // parts), axis))


def slice_(
    a: Attributes,
    x: Tensor,
    starts: Tensor,
    ends: Tensor,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    """A range of each given axis; a negative step counts backwards."""
    places = list(range(starts.numel())) if axes is None else axes.tolist()
    strides = [1] * len(places) if steps is None else steps.tolist()
    for axis, start, end, step in zip(places, starts.tolist(), ends.tolist(), strides, strict=True):
        indices = range(x.shape[axis])[slice(start, _end(end, x.shape[axis], step), step)]
        x = x.index_select(axis, torch.tensor(list(indices), dtype=torch.long))
    return x


PADDING: Final = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}
"""What PyTorch calls the modes of Pad, beside `constant`."""


def _end(end: int, length: int, step: int) -> int | None:
    """Python reads a backwards end before the first element as the last one."""
    return None if step < 0 and end < -length else end


def pad(
    a: Attributes,
    x: Tensor,
    pads: Tensor,
    value: Tensor | None = None,
    axes: Tensor | None = None,
) -> Tensor:
    """Before and after each axis; negative amounts crop."""
    places = list(range(x.ndim)) if axes is None else [axis % x.ndim for axis in axes.tolist()]
    amounts = pads.tolist()
    both = {axis: (amounts[i], amounts[len(places) + i]) for i, axis in enumerate(places)}
    order = [amount for axis in reversed(range(x.ndim)) for amount in both.get(axis, (0, 0))]
    mode = a.get("mode", "constant")
    if mode == "constant":
        return nn.pad(x, order, value=0.0 if value is None else value.item())
    # The other modes of PyTorch take one or two of the first axes for batch and channels.
    while order[-2:] == [0, 0] and len(order) > 2 * max(1, x.ndim - 2):
        del order[-2:]
    return nn.pad(x, order, mode=PADDING[mode])


def reduce_mean(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Over the given axes, all when none is given; axes are an attribute before opset 18."""
    places: Sequence[int] = a.get("axes", []) if axes is None else axes.tolist()
    if not places and a.get("noop_with_empty_axes", 0):
        return x
    return x.mean(tuple(places) or tuple(range(x.ndim)), keepdim=bool(a.get("keepdims", 1)))


def gather(a: Attributes, x: Tensor, indices: Tensor) -> Tensor:
    """Entries of one axis, in the shape of the indices."""
    axis = a.get("axis", 0) % x.ndim
    flat = indices.reshape(-1).long()
    chosen = x.index_select(axis, torch.where(flat < 0, flat + x.shape[axis], flat))
    return chosen.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def shape(a: Attributes, x: Tensor) -> Tensor:
    """The lengths of the axes from `start` to `end`."""
    return torch.tensor(list(x.shape)[a.get("start", 0) : a.get("end")], dtype=torch.long)


def cast(a: Attributes, x: Tensor) -> Tensor:
    """Between kinds of numbers; all floating-point types are float32 while learning."""
    from onnx import helper

    kind = helper.tensor_dtype_to_np_dtype(a["to"])
    return x.to(_torch_type(kind))


def _torch_type(kind: Any) -> torch.dtype:
    return {"i": torch.long, "u": torch.long, "b": torch.bool}.get(kind.kind, torch.float32)


def expand(a: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    """Broadcast against a shape."""
    return x.expand(torch.broadcast_shapes(x.shape, tuple(shape.tolist())))


SHAPING: Final[dict[str, Operator]] = {
    "Identity": lambda a, x: x,
    "Dropout": lambda a, x, *rest: x,
    "Flatten": flatten,
    "Reshape": reshape,
    "Transpose": transpose,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Concat": lambda a, *parts: torch.cat(parts, a["axis"]),
    "Split": split,
    "Slice": slice_,
    "Pad": pad,
    "ReduceMean": reduce_mean,
    "Gather": gather,
    "Shape": shape,
    "Cast": cast,
    "Expand": expand,
}
"""By operator type."""
