"""Numbers as people read them: the same words in the table and in the picture."""

from __future__ import annotations

from typing import Final

_RATIOS: Final = frozenset({"top1", "topk", "multilabel", "agreement"})
"""Metrics whose values are ratios; others are in a unit that only the owner of the data knows."""


def count_bytes(size: int) -> str:
    """`517 B`, `32.6 kB`, `4.1 MB`: decimal units, as links are priced."""
    if size < 1000:
        return f"{size} B"
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


def score_text(metric: str, value: float, signed: bool = False) -> str:
    """A score in percent where the metric is a ratio, else with four digits."""
    sign = "+" if signed else ""
    if metric in _RATIOS:
        return f"{100 * value:{sign}.1f} %"
    return f"{value:{sign}.4g}"


def score_with_error(metric: str, value: float, error: float | None) -> str:
    """`86.8 ± 1.1 %`."""
    if error is None:
        return score_text(metric, value)
    if metric in _RATIOS:
        return f"{100 * value:.1f} ± {100 * error:.1f} %"
    return f"{value:.4g} ± {error:.2g}"
