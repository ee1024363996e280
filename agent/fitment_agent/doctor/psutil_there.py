"""Is psutil there? Nothing on Linux needs it."""

from __future__ import annotations

from importlib.util import find_spec

from fitment_agent.doctor.finding import Finding, ok
from fitment_agent.doctor.patient import Patient


def check(patient: Patient) -> list[Finding]:
    """Always well: without it, battery and memory are read from /sys and /proc alone."""
    if find_spec("psutil") is None:
        return [ok("psutil", "not installed, which is fine: /proc and /sys are read directly")]
    return [ok("psutil", "installed")]
