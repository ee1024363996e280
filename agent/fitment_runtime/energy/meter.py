"""What every meter can do."""

from __future__ import annotations

from typing import Protocol


class Meter(Protocol):
    """Something on this machine that measures power or counts energy.

    Attributes:
        name: its kind, as reports call it.
        channel: which of its rails or domains.
        cumulative: `read` gives the energy since some moment, not the power now.
        interval_seconds: between two readings; more often they say nothing new.
        stretch_seconds: over which its resolution is good enough to tell work from rest.
    """

    name: str
    channel: str
    cumulative: bool
    interval_seconds: float
    stretch_seconds: float

    def read(self) -> float | None:
        """Watts now, or joules so far; None when it cannot be read this time."""
