"""How long the silence of a device means nothing. Pure."""

from __future__ import annotations

from typing import Final

INTERVALS: Final = 2.5
"""Signs of life that may be missing: two, and half of one for slow links."""

LONGEST_INTERVAL_SECONDS: Final = 86_400.0
"""Nobody is waited for longer than for a device that speaks once a day."""


def lease_seconds(least: float, promised: float | None) -> float:
    """After how long without a word a device counts as offline.

    Args:
        least: for every device, however often it speaks.
        promised: the interval within which the device said that it speaks again; a device on a
            battery or a metered link says little. None when it promised nothing.
    """
    if promised is None:
        return least
    return max(least, INTERVALS * min(promised, LONGEST_INTERVAL_SECONDS))
