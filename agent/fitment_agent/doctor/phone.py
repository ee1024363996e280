"""What a phone needs besides: packages and apps around Termux."""

from __future__ import annotations

from fitment_agent.doctor.finding import Finding, fail, ok, warn
from fitment_agent.doctor.patient import Patient
from fitment_agent.install import termux

_BATTERY = "power.charge_ratio"


def check(patient: Patient) -> list[Finding]:
    """Only under Termux."""
    if not patient.is_phone:
        return []
    return [_services(patient), _api(patient), _standby()]


def _services(patient: Patient) -> Finding:
    name = "termux-services"
    if termux.has_services_package(patient.machine):
        return ok(name, "installed")
    fix = "pkg install termux-services, then close Termux and open it again"
    return fail(name, "not installed, so nothing starts the agent", fix)


def _api(patient: Patient) -> Finding:
    """Its commands hang for good when the app is missing."""
    name = "Termux:API"
    reason = patient.facts.unknown.get(_BATTERY)
    if reason is None:
        return ok(name, "tells about battery and Wi-Fi")
    if "is not installed" in reason:
        return warn(name, "termux-battery-status is not installed", "pkg install termux-api")
    fix = (
        "install the app Termux:API from where Termux came from (F-Droid or GitHub), and open it "
        "once"
    )
    return warn(name, f"the app does not answer ({reason}): conditions on the battery wait", fix)


def _standby() -> Finding:
    """Android tells nobody; what is missing shows only when the agent is gone in the morning."""
    what = "Android does not tell whether it lets Termux run in the background"
    fix = (
        "Settings > Apps > Termux > Battery > Unrestricted; the app Termux:Boot installed and "
        "opened once; on Android 12 and later: adb shell settings put global "
        "settings_enable_monitor_phantom_procs false"
    )
    return ok("standby", what, fix)
