"""Resident memory of this process, now and at its highest."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def resident_bytes() -> int:
    """Resident size now; the peak so far where the system does not tell."""
    return _status_bytes("VmRSS") or peak_resident_bytes()


def peak_resident_bytes() -> int:
    """The highest resident size since the start or the last `reset_peak`."""
    return _status_bytes("VmHWM") or _rusage_peak_bytes()


def reset_peak() -> None:
    """Start measuring the peak anew, where the system can (Linux)."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return  # the peak then also covers what came before; it is never too low


def _status_bytes(field: str) -> int | None:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    return None


def _rusage_peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
