"""Numbers as people read them: the same words in the table, on the page and in the pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from fitment_contract.benchmark import Difference, KernelCounts
from fitment_contract.variant import RecipeStep

TIMES: Final = "\u00d7"
"""The sign before or behind a factor."""

SIGNIFICANT_ERRORS: Final = 2.0
"""Differences below this many standard errors are called none."""

_RATIOS: Final = frozenset({"top1", "topk", "multilabel", "agreement"})
"""Metrics whose values are ratios; others are in a unit that only the owner of the data knows."""


_UNPRINTABLE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
"""What terminals obey, XML does not allow, UTF-8 cannot say, or turns the direction of reading."""


def printable(text: str) -> str:
    """Foreign text with U+FFFD in place of what would not be read but obeyed."""
    return _UNPRINTABLE.sub("\ufffd", text)


def count_bytes(size: float) -> str:
    """`517 B`, `32.6 kB`, `4.1 MB`: decimal units, as links are priced."""
    if size < 1000:
        return f"{size:.0f} B"
    for unit, divisor in (("kB", 1e3), ("MB", 1e6)):
        if size < 1000 * divisor:
            return f"{size / divisor:.1f} {unit}"
    return f"{size / 1e9:.1f} GB"


def duration(seconds: float) -> str:
    """`58 µs`, `3.4 ms`, `1.2 s`."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.3g} s"


def is_ratio(metric: str) -> bool:
    """Whether the values of a metric are ratios, which people read in percent."""
    return metric in _RATIOS


def score_text(metric: str, value: float) -> str:
    """A score in percent where the metric is a ratio, else with four digits."""
    return f"{100 * value:.1f} %" if is_ratio(metric) else f"{value:.4g}"


def score_with_error(metric: str, value: float, error: float | None) -> str:
    """`86.8 ± 1.1 %`."""
    if error is None:
        return score_text(metric, value)
    if is_ratio(metric):
        return f"{100 * value:.1f} ± {100 * error:.1f} %"
    return f"{value:.4g} ± {error:.2g}"


def is_significant(difference: Difference) -> bool:
    """Whether a difference is more than chance explains: over two standard errors."""
    error = difference.standard_error or 0.0
    return abs(difference.value) > SIGNIFICANT_ERRORS * error


def difference_text(metric: str, difference: Difference | None, *, error: bool = False) -> str:
    """The difference from the baseline, or that there is none beyond chance.

    Args:
        metric: whose scores were subtracted; differences of ratios are in percentage points.
        difference: None where there was nothing to compare.
        error: also say the standard error.
    """
    if difference is None:
        return ""
    if not is_significant(difference):
        return "no difference"
    spread = difference.standard_error if error else None
    return points_text(metric, difference.value, spread, signed=True)


def points_text(
    metric: str, value: float, error: float | None = None, *, signed: bool = False
) -> str:
    """`2.0 ± 0.6 pt`: a difference of scores, in percentage points where the metric is a ratio."""
    sign = "+" if signed else ""
    if is_ratio(metric):
        spread = "" if error is None else f" ± {100 * error:.1f}"
        return f"{100 * value:{sign}.1f}{spread} pt"
    spread = "" if error is None else f" ± {error:.2g}"
    return f"{value:{sign}.4g}{spread}"


def kernels_text(kernels: KernelCounts) -> str:
    """How many convolutions and matrix products the runtime really runs on integers."""
    parts = []
    if kernels.convolutions:
        parts.append(f"{kernels.integer_convolutions}/{kernels.convolutions} conv")
    if kernels.matmuls:
        parts.append(f"{kernels.integer_matmuls}/{kernels.matmuls} matmul")
    return ", ".join(parts)


def noise_text(ratio: float) -> str:
    """A power ratio in percent with two digits, however small: `12 %`, `0.034 %`, `7e-06 %`."""
    return f"{100 * ratio:.2g} %"


def step_text(step: RecipeStep) -> str:
    """`magnitude-prune (sparsity=0.5)`: a technique with the options that were given."""
    if not step.options:
        return step.technique
    given = ", ".join(f"{key}={_plain(value)}" for key, value in step.options.items())
    return f"{step.technique} ({given})"


def recipe_text(steps: Sequence[RecipeStep]) -> str:
    """`magnitude-prune → int8-static`; options only where one technique appears twice."""
    names = [step.technique for step in steps]
    said = [
        step_text(step) if names.count(step.technique) > 1 else step.technique for step in steps
    ]
    return " → ".join(said) or "the source as it is"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
