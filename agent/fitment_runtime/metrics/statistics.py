"""Uncertainty of a mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fitment_runtime.session import Array


def standard_error(values: Array) -> float | None:
    """The standard error of the mean of `values`; None for a single one.

    For values of 0 and 1 it is the binomial sqrt(p (1 - p) / n), otherwise the sample standard
    deviation over sqrt(n).
    """
    count = len(values)
    if count < 2:
        return None
    if ((values == 0) | (values == 1)).all():
        share = float(values.mean())
        return float((share * (1.0 - share) / count) ** 0.5)
    return float(values.std(ddof=1) / count**0.5)
