"""The ONNX operators that compute with learnt numbers, as PyTorch functions.

Each function takes the node's attributes and its inputs (None for one that is left out) and
returns the node's output, or a tuple of outputs. The meaning is the standard's:
https://onnx.ai/onnx/operators. NotImplementedError names the attributes that are not known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
import torch.nn.functional as nn
from torch import Tensor

Attributes = Mapping[str, Any]
Operator = Callable[..., Any]
"""(attributes, *inputs) -> a tensor or a tuple of tensors."""


def conv(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolution over 1, 2 or 3 axes."""
    rank = x.ndim - 2
    strides, dilations = a.get("strides", [1] * rank), a.get("dilations", [1] * rank)
    begins, ends = _padding(a, x.shape[2:], weight.shape[2:], strides, dilations)
    if begins != ends:
        x, begins = nn.pad(x, _torch_order(begins, ends)), [0] * rank
    function = (nn.conv1d, nn.conv2d, nn.conv3d)[rank - 1]
    return function(x, weight, bias, strides, begins, dilations, a.get("group", 1))


def conv_transpose(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Transposed convolution with explicit pads."""
    rank = x.ndim - 2
    strides, dilations = a.get("strides", [1] * rank), a.get("dilations", [1] * rank)
    pads = a.get("pads", [0] * 2 * rank)
    extra = a.get("output_padding", [0] * rank)
    if "output_shape" in a or a.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise NotImplementedError("auto_pad or output_shape")
    function = (nn.conv_transpose1d, nn.conv_transpose2d, nn.conv_transpose3d)[rank - 1]
    full = function(x, weight, bias, strides, 0, extra, a.get("group", 1), dilations)
    for axis in range(rank):
        begin, end = pads[axis], pads[rank + axis]
        full = full.narrow(axis + 2, begin, full.shape[axis + 2] - begin - end)
    return full


def gemm(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The product alpha x weight plus beta bias, either factor transposed on request."""
    x = x.t() if a.get("transA", 0) else x
    weight = weight.t() if a.get("transB", 0) else weight
    alpha, beta = a.get("alpha", 1.0), a.get("beta", 1.0)
    if bias is None:
        return alpha * (x @ weight)
    return torch.addmm(bias, x, weight, beta=beta, alpha=alpha)


def batch_normalization(
    a: Attributes, x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    """With the stored statistics, as in inference."""
    return nn.batch_norm(x, mean, variance, scale, shift, False, 0.0, a.get("epsilon", 1e-5))


def layer_normalization(
    a: Attributes, x: Tensor, scale: Tensor, shift: Tensor | None = None
) -> Tensor:
    """Over the axes from `axis` to the last."""
    shape = x.shape[a.get("axis", -1) % x.ndim :]
    normal = nn.layer_norm(x, shape, None, None, a.get("epsilon", 1e-5))
    return normal * scale if shift is None else normal * scale + shift


def max_pool(a: Attributes, x: Tensor) -> Tensor:
    """Maximum over windows."""
    rank = x.ndim - 2
    kernel, strides = a["kernel_shape"], a.get("strides", [1] * rank)
    dilations = a.get("dilations", [1] * rank)
    begins, ends = _padding(a, x.shape[2:], kernel, strides, dilations)
    if any((*begins, *ends)):
        x = nn.pad(x, _torch_order(begins, ends), value=float("-inf"))
    function = (nn.max_pool1d, nn.max_pool2d, nn.max_pool3d)[rank - 1]
    full = function(x, kernel, strides, 0, dilations, bool(a.get("ceil_mode", 0)))
    for axis in range(rank):  # no window begins in the padding behind
        inside = x.shape[axis + 2] - ends[axis]
        full = full.narrow(axis + 2, 0, min(full.shape[axis + 2], -(-inside // strides[axis])))
    return full


def average_pool(a: Attributes, x: Tensor) -> Tensor:
    """Mean over windows; padding counts only on request."""
    rank = x.ndim - 2
    kernel, strides = a["kernel_shape"], a.get("strides", [1] * rank)
    if a.get("ceil_mode", 0) or any(step != 1 for step in a.get("dilations", [1] * rank)):
        raise NotImplementedError("ceil_mode or dilations")
    begins, ends = _padding(a, x.shape[2:], kernel, strides, [1] * rank)
    function = (nn.avg_pool1d, nn.avg_pool2d, nn.avg_pool3d)[rank - 1]
    if not any((*begins, *ends)):
        return function(x, kernel, strides)
    order = _torch_order(begins, ends)
    mean = function(nn.pad(x, order), kernel, strides)
    if a.get("count_include_pad", 0):
        return mean
    return mean / function(nn.pad(torch.ones_like(x[:1, :1]), order), kernel, strides)


def global_average_pool(a: Attributes, x: Tensor) -> Tensor:
    """Mean over all axes behind the channels, which keep length 1."""
    return x.mean(tuple(range(2, x.ndim)), keepdim=True)


def global_max_pool(a: Attributes, x: Tensor) -> Tensor:
    """Maximum over all axes behind the channels, which keep length 1."""
    return x.amax(tuple(range(2, x.ndim)), keepdim=True)


def p_relu(a: Attributes, x: Tensor, slope: Tensor) -> Tensor:
    """A slope for what is negative."""
    return torch.where(x < 0, x * slope, x)


def clip(a: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """Between two limits, either of which may be missing."""
    if low is None and high is None:
        return x
    return x.clamp(None if low is None else low.item(), None if high is None else high.item())


def hard_sigmoid(a: Attributes, x: Tensor) -> Tensor:
    """max(0, min(1, alpha x + beta))."""
    return (a.get("alpha", 0.2) * x + a.get("beta", 0.5)).clamp(0.0, 1.0)


def _padding(
    a: Attributes,
    lengths: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> tuple[list[int], list[int]]:
    """How much is added before and after each spatial axis."""
    rank, mode = len(kernel), a.get("auto_pad", "NOTSET")
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        pads = a.get("pads", [0] * 2 * rank)
        return list(pads[:rank]), list(pads[rank:])
    begins, ends = [], []
    for length, size, stride, dilation in zip(lengths, kernel, strides, dilations, strict=True):
        reach = (-(-length // stride) - 1) * stride + (size - 1) * dilation + 1
        total = max(reach - length, 0)
        begins.append((total + 1) // 2 if mode == "SAME_LOWER" else total // 2)
        ends.append(total - begins[-1])
    return begins, ends


def _torch_order(begins: Sequence[int], ends: Sequence[int]) -> list[int]:
    """PyTorch pads the last axis first."""
    pairs = list(zip(begins, ends, strict=True))
    return [amount for pair in reversed(pairs) for amount in pair]


COMPUTING: Final[dict[str, Operator]] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Gemm": gemm,
    "MatMul": lambda a, x, y: x @ y,
    "Add": lambda a, x, y: x + y,
    "Sub": lambda a, x, y: x - y,
    "Mul": lambda a, x, y: x * y,
    "Div": lambda a, x, y: x.div(y, rounding_mode=None if x.is_floating_point() else "trunc"),
    "Pow": lambda a, x, y: x**y,
    "Sqrt": lambda a, x: x.sqrt(),
    "Neg": lambda a, x: -x,
    "Exp": lambda a, x: x.exp(),
    "Log": lambda a, x: x.log(),
    "Abs": lambda a, x: x.abs(),
    "Relu": lambda a, x: nn.relu(x),
    "LeakyRelu": lambda a, x: nn.leaky_relu(x, a.get("alpha", 0.01)),
    "Elu": lambda a, x: nn.elu(x, a.get("alpha", 1.0)),
    "PRelu": p_relu,
    "Clip": clip,
    "Sigmoid": lambda a, x: x.sigmoid(),
    "HardSigmoid": hard_sigmoid,
    "HardSwish": lambda a, x: nn.hardswish(x),
    "Softplus": lambda a, x: nn.softplus(x),
    "Tanh": lambda a, x: x.tanh(),
    "Erf": lambda a, x: x.erf(),
    "Gelu": lambda a, x: nn.gelu(x, approximate=a.get("approximate", "none")),
    "Softmax": lambda a, x: x.softmax(a.get("axis", -1)),
    "LogSoftmax": lambda a, x: x.log_softmax(a.get("axis", -1)),
    "BatchNormalization": batch_normalization,
    "LayerNormalization": layer_normalization,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
}
"""By operator type."""
