"""What the device could not find out about itself."""

from __future__ import annotations

from fitment_agent.doctor.finding import Finding, ok, warn
from fitment_agent.doctor.patient import Patient

_NAME = "facts"
_DECIDING = ("hardware.architecture", "hardware.cores", "hardware.memory_bytes")


def check(patient: Patient) -> list[Finding]:
    """Selection needs a few of them; the others only make it better."""
    unknown = patient.facts.unknown
    missing = [path for path in _DECIDING if path in unknown]
    look = "fitment-agent probe"
    if missing:
        reasons = "; ".join(f"{path}: {unknown[path]}" for path in missing)
        return [warn(_NAME, f"unknown and needed to pick variants: {reasons}", look)]
    if unknown:
        return [ok(_NAME, f"{len(unknown)} are unknown, each with its reason", look)]
    return [ok(_NAME, "all known")]
