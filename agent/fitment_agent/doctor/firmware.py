"""May this user ask a Raspberry Pi's firmware?"""

from __future__ import annotations

from fitment_agent.doctor.finding import Finding, ok, warn
from fitment_agent.doctor.patient import Patient

_NAME = "firmware"


def check(patient: Patient) -> list[Finding]:
    """Only on a Raspberry Pi, where throttling and power are told by it."""
    board = patient.facts.hardware.board or ""
    if not board.startswith("Raspberry Pi"):
        return []
    reason = patient.facts.unknown.get("thermal.throttled")
    if reason is None:
        return [ok(_NAME, f"{board} tells whether it slows itself down")]
    if "vcgencmd is not installed" in reason:
        fix = "sudo apt-get install libraspberrypi-bin || sudo apt-get install raspi-utils"
        return [warn(_NAME, "vcgencmd is not installed, so nobody tells about throttling", fix)]
    fix = "sudo usermod -aG video $(id -un), then log in again; for the service: "
    what = f"this user may not ask the firmware: {reason}"
    return [warn(_NAME, what, f"{fix}{patient.install}")]
