"""Where our variants stand beside what peers made: ahead, equal or behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Any, Final

from fitment_compress.wording import TIMES

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALIKE_BYTES: Final = 0.01
"""Sizes closer than this share are called equal."""

ALIKE_LATENCY: Final = 0.02
"""Medians closer than this share are called equal, however narrow the quartiles."""

SIGNIFICANT_ERRORS: Final = 2.0
"""Differences of accuracy below this many standard errors are called none."""

AXES: Final = ("loss", "bytes", "latency")


@dataclass(eq=False)
class Subject:
    """A file that is measured.

    Attributes:
        name: of our recipe, or of a peer's setting.
        tool: that made it; empty for the source.
        path: of the file.
        format: `onnx` or `tflite`.
        steps: how it was made, in words.
        parameters: of our own files.
        packed_bytes: its smallest encoding.
        values: per test image 1 where the decision was right, else 0.
        seconds: the median latency of each block.
    """

    name: str
    tool: str
    path: Path
    format: str
    steps: str = ""
    parameters: int | None = None
    packed_bytes: int = 0
    values: NDArray[Any] | None = None
    seconds: list[float] = field(default_factory=list)

    @property
    def label(self) -> str:
        """The name with its tool."""
        return f"{self.tool} {self.name}".strip()

    @property
    def file_bytes(self) -> int:
        """The size of the file."""
        return self.path.stat().st_size


@dataclass(frozen=True)
class Spread:
    """Ratios of latencies over blocks: their median, and the quartiles around it."""

    median: float
    low: float
    high: float


def latency_ratio(one: Subject, other: Subject) -> Spread:
    """The latency of `one` over that of `other`, block by block."""
    ratios = [a / b for a, b in zip(one.seconds, other.seconds, strict=True)]
    if len(ratios) < 2:
        return Spread(ratios[0], ratios[0], ratios[0])
    low, median, high = quantiles(ratios, n=4, method="inclusive")
    return Spread(median, low, high)


def loss_points(one: Subject, other: Subject) -> tuple[float, float]:
    """Accuracy that `one` loses against `other`, in points, and its standard error.

    Both saw the same images, so the error is that of the differences per image.
    """
    from fitment_compress.measure import paired_difference

    assert one.values is not None
    assert other.values is not None
    difference = paired_difference(one.values, other.values)
    return -100 * difference.value, 100 * (difference.standard_error or 0.0)


@dataclass(frozen=True)
class Comparison:
    """One of our variants against another file.

    Attributes:
        verdicts: per axis 1 where ours is ahead, 0 where there is no difference, -1 behind.
    """

    own: Subject
    other: Subject
    loss: tuple[float, float]
    bytes_ratio: float
    latency: Spread
    verdicts: dict[str, int]

    @property
    def behind(self) -> tuple[str, ...]:
        """The axes in which ours is behind."""
        return tuple(axis for axis in AXES if self.verdicts[axis] < 0)

    @property
    def ahead(self) -> tuple[str, ...]:
        """The axes in which ours is ahead."""
        return tuple(axis for axis in AXES if self.verdicts[axis] > 0)

    @property
    def verdict(self) -> str:
        """`ahead`, `equal` or `behind`, over all axes."""
        if self.behind:
            return "behind"
        return "ahead" if self.ahead else "equal"

    @property
    def formats(self) -> str:
        """Which formats were compared: `tflite against tflite`."""
        return f"{self.own.format} against {self.other.format}"

    def sentence(self) -> str:
        """What the table says of it."""
        loss, error = self.loss
        worse = f" (behind in {' and '.join(self.behind)})" if self.behind else ""
        bytes_, latency = f"{self.bytes_ratio:.2f} {TIMES}", self.latency
        return (
            f"{self.verdict}{worse}: `{self.own.name}` loses {loss:+.2f} ± {error:.2f} pt against "
            f"it, at {bytes_} its bytes and {latency.median:.2f} {TIMES} "
            f"({latency.low:.2f} to {latency.high:.2f}) its latency"
        )


def compare(own: Subject, other: Subject) -> Comparison:
    """One of ours against another."""
    loss, error = loss_points(own, other)
    ratio = own.packed_bytes / other.packed_bytes
    latency = latency_ratio(own, other)
    overlap = latency.low <= 1 <= latency.high
    return Comparison(
        own=own,
        other=other,
        loss=(loss, error),
        bytes_ratio=ratio,
        latency=latency,
        verdicts={
            "loss": _sign(loss, SIGNIFICANT_ERRORS * error),
            "bytes": _sign(ratio - 1, ALIKE_BYTES),
            "latency": 0 if overlap else _sign(latency.median - 1, ALIKE_LATENCY),
        },
    )


def best_against(other: Subject, own: Sequence[Subject]) -> Comparison:
    """Of ours the one that stands best: behind in fewest axes, ahead in most, then by size."""
    return min(
        (compare(subject, other) for subject in own),
        key=lambda one: (len(one.behind), -len(one.ahead), one.bytes_ratio * one.latency.median),
    )


def _sign(cost: float, tolerance: float) -> int:
    """1 where a cost is clearly below zero, -1 where it is clearly above."""
    return int(cost < -tolerance) - int(cost > tolerance)
