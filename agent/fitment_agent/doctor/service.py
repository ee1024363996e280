"""Does the agent start with the device, and does it run now?"""

from __future__ import annotations

import os

from fitment_agent.control import running_agent
from fitment_agent.doctor.finding import Finding, fail, ok, warn
from fitment_agent.doctor.patient import Patient
from fitment_agent.install.managers import Manager, installed_manager

_NAME = "service"


def check(patient: Patient) -> list[Finding]:
    """Installed, enabled, running: in this order."""
    manager = installed_manager(patient.machine)
    if manager is None:
        what = "the agent is no service: it does not start with the device"
        return [warn(_NAME, what, f"{patient.install} --broker URL")]
    if not manager.is_enabled(patient.machine):
        what = f"the {manager.name} service does not start with the device"
        return [fail(_NAME, what, patient.install)]
    return [_running(patient, manager)]


def _running(patient: Patient, manager: Manager) -> Finding:
    folder = patient.settings.state_dir
    lock = folder / "agent.lock"
    if lock.exists() and not os.access(lock, os.W_OK):
        what = f"enabled with {manager.name}; whether it runs, only its user can tell"
        return ok(_NAME, what, patient.doctor)
    agent = running_agent(folder)
    if agent is not None:
        return ok(_NAME, f"enabled with {manager.name}, runs as process {agent.pid}")
    what = f"enabled with {manager.name}, and does not run in {folder}"
    return fail(_NAME, what, f"{manager.log}; then {manager.restart}")
