"""The ranges of activations, found one sample at a time.

onnxruntime's own calibrators keep every intermediate tensor of every sample in memory (issue 10503
reports 256 GB), want all samples in one shape (issue 18792), have missed the model's outputs (issue
11928), and search for a threshold among as many bins as there are integers (issue 9597). Here a
sample's tensors are forgotten before the next sample runs; what is kept of a tensor are two numbers
and, for the histogram methods, `BINS` counts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from fitment_compress.errors import TechniqueError
from fitment_compress.quantisation.probe import Probe

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto

    from fitment_compress.techniques.int8_static import Int8StaticOptions

Feeds = Sequence[Mapping[str, "NDArray[Any]"]]

BINS: Final = 2048
SAMPLES: Final = 200
"""Calibration samples that are used, spread over those given. More of them cost time, widen the
ranges of minmax and rarely help."""


@dataclass(frozen=True)
class Ranges:
    """What was seen of the float tensors of a model.

    Attributes:
        limits: lowest and highest value to represent, by tensor; 0 lies within.
        types: element types as numbers of `onnx.TensorProto`, by tensor.
    """

    limits: dict[str, tuple[float, float]]
    types: dict[str, int]


def calibrate(
    model: ModelProto, tensors: Collection[str], feeds: Feeds, options: Int8StaticOptions
) -> Ranges:
    """Find the ranges of tensors.

    `minmax` takes what was seen. `percentile` and `entropy` cut both ends at one magnitude: below
    which the given share of all magnitudes lie, or which loses the least information (Migacz,
    "8-bit inference with TensorRT", 2017).

    Args:
        model: which gives the values.
        tensors: names; those that hold no floats are left out of the result.
        feeds: single samples, run once for minmax and twice for the other methods.
        options: `calibration`, and `percentile` for that method.

    Raises:
        TechniqueError: a tensor is infinite or NaN.
    """
    probe = Probe(model, tensors)
    floats = [name for name in probe.names if name in probe.types]
    limits = _extremes(probe, floats, feeds)
    if options.calibration != "minmax":
        counts = _histograms(probe, limits, feeds)
        for name, (low, high) in limits.items():
            cut = _threshold(counts[name], options, low < 0.0 < high) * max(-low, high)
            limits[name] = (max(low, -cut), min(high, cut))
    return Ranges(limits, {name: probe.types[name] for name in floats})


def spread(feeds: Feeds, limit: int) -> Iterator[Mapping[str, NDArray[Any]]]:
    """At most `limit` feeds from the whole length, one at a time: data files are often sorted."""
    step = max(1.0, len(feeds) / limit)
    return (feeds[int(index * step)] for index in range(min(limit, len(feeds))))


def _extremes(probe: Probe, names: list[str], feeds: Feeds) -> dict[str, tuple[float, float]]:
    limits = dict.fromkeys(names, (0.0, 0.0))
    for sample in spread(feeds, SAMPLES):
        values = probe.run(sample)
        for name in names:
            low, high = limits[name]
            limits[name] = (
                float(values[name].min(initial=low)),
                float(values[name].max(initial=high)),
            )
    for name, (low, high) in limits.items():
        if not isfinite(high - low):  # also where one of them is NaN
            raise TechniqueError(
                f"The tensor {name!r} is infinite or NaN on calibration samples, and no 8 bits "
                "represent that. Leave the operators around it out of `operators`."
            )
    return limits


def _histograms(
    probe: Probe, limits: dict[str, tuple[float, float]], feeds: Feeds
) -> dict[str, NDArray[Any]]:
    """How many magnitudes fell into each of `BINS` equal parts, up to the largest magnitude."""
    import numpy as np

    counts = {name: np.zeros(BINS, np.int64) for name in limits}
    for sample in spread(feeds, SAMPLES):
        values = probe.run(sample)
        for name, (low, high) in limits.items():
            width = max(-low, high) / BINS or 1.0
            parts = np.minimum(np.abs(values[name].ravel()) / width, BINS - 1).astype(np.int64)
            counts[name] += np.bincount(parts, minlength=BINS)
    return counts


def _threshold(counts: NDArray[Any], options: Int8StaticOptions, two_sided: bool) -> float:
    """Where to cut, as a share of the largest magnitude."""
    if options.calibration == "percentile":
        return percentile_threshold(counts, options.percentile)
    return entropy_threshold(counts, 128 if two_sided or options.is_symmetric() else 256)


def percentile_threshold(counts: NDArray[Any], percentile: float) -> float:
    """The share of the whole scale below which `percentile` percent of the counts lie.

    Args:
        counts: int64[bins], magnitudes by size.
        percentile: 0 to 100.
    """
    import numpy as np

    total = np.cumsum(counts)
    index = int(np.searchsorted(total, total[-1] * percentile / 100.0))
    return min(index + 1, len(counts)) / len(counts)


def entropy_threshold(counts: NDArray[Any], levels: int) -> float:
    """The share of the whole scale at which clipping and rounding lose the least information.

    For each candidate the counts beyond it are added to the last bin, and the divergence
    (Kullback-Leibler) of that distribution from itself in `levels` steps is taken. Zeroes are at
    home in any scale, so the lowest bin counts like its neighbour.

    Args:
        counts: int64[bins], magnitudes by size; more bins than levels.
        levels: how many different magnitudes the integers have.
    """
    import numpy as np

    counts = counts.astype(np.float64)
    counts[0] = counts[1]
    if not counts.any():
        return 1.0
    candidates = [*range(levels, len(counts), max(1, levels // 16)), len(counts)]
    best: int = min(candidates, key=lambda size: _divergence(counts, size, levels))
    return best / len(counts)


def _divergence(counts: NDArray[Any], size: int, levels: int) -> float:
    import numpy as np

    clipped = counts[:size].copy()
    present = clipped > 0
    step = np.arange(size) * levels // size
    sums = np.bincount(step, clipped)
    widths = np.maximum(np.bincount(step, present), 1)
    coarse = np.where(present, (sums / widths)[step], 0.0)
    clipped[-1] += counts[size:].sum()
    smallest = 1e-4
    reference = np.maximum(clipped / max(clipped.sum(), smallest), 1e-12)
    stepped = np.maximum(coarse / max(coarse.sum(), smallest), 1e-12)
    return float((reference * np.log(reference / stepped)).sum())
