"""Does the power supply keep up, and the cooling?"""

from __future__ import annotations

from fitment_agent.doctor.finding import Finding, ok, warn
from fitment_agent.doctor.patient import Patient
from fitment_contract.device import ThrottleReason


def check(patient: Patient) -> list[Finding]:
    """What the firmware saw since the start."""
    thermal = patient.facts.thermal
    if thermal.throttled is None and thermal.throttled_since_boot is None:
        return []
    seen = {*thermal.throttle_reasons, *(thermal.throttled_since_boot or ())}
    findings = []
    if ThrottleReason.UNDER_VOLTAGE in seen:
        fix = (
            "use the supply made for this board (Raspberry Pi 4: 5 V 3 A, 5: 5 V 5 A) and a short "
            "cable, restart, then: vcgencmd get_throttled"
        )
        findings.append(warn("power supply", "the voltage was too low since the start", fix))
    if ThrottleReason.SOFT_TEMPERATURE_LIMIT in seen or ThrottleReason.THROTTLED in seen:
        what = "the device slowed itself down since the start"
        findings.append(warn("heat", what, "add a heat sink or a fan, or move it out of the sun"))
    return findings or [ok("power supply", "neither too little voltage nor heat since the start")]
