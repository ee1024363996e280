"""Is the time right? Certificates, windows and reports depend on it."""

from __future__ import annotations

from datetime import timedelta

from fitment_agent.clock import SOFTWARE_DATE, is_set
from fitment_agent.doctor.finding import Finding, fail, ok, warn
from fitment_agent.doctor.patient import Patient

_NAME = "clock"
_FAR = timedelta(days=365 * 10)
_TIMESYNC = "/run/systemd/timesync"


def check(patient: Patient) -> list[Finding]:
    """Not before this software was made, not long after, and kept by somebody."""
    shown = f"{patient.now:%Y-%m-%d %H:%M} UTC"
    fix = "sudo timedatectl set-ntp true"
    if patient.is_phone:
        fix = "Android's settings > System > Date & time > Set time automatically"
    if not is_set(patient.now):
        return [fail(_NAME, f"it shows {shown}, before this software was made", fix)]
    if patient.now > SOFTWARE_DATE + _FAR:
        return [warn(_NAME, f"it shows {shown}, more than ten years after this software", fix)]
    if patient.machine.exists(_TIMESYNC) and not patient.machine.exists(
        f"{_TIMESYNC}/synchronized"
    ):
        return [warn(_NAME, f"{shown}, never set from the network since the start", fix)]
    return [ok(_NAME, shown)]
