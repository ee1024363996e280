"""Do two agents speak under one name? The broker throws each out when the other comes."""

from __future__ import annotations

import json

from fitment_agent.doctor.finding import Finding, fail, ok
from fitment_agent.doctor.patient import Patient
from fitment_agent.install.machine import Machine

_NAME = "agents"
_DAEMON = b"fitment_agent.daemon_main"


def check(patient: Patient) -> list[Finding]:
    """Counts the agents of this device's name that can be seen here."""
    device = patient.settings.device_id
    agents = [pid for pid, name in running_agents(patient.machine) if name == device]
    if len(agents) > 1:
        listed = " ".join(map(str, agents))
        what = f"{len(agents)} agents speak as {device}, processes {listed}: the broker throws out"
        return [fail(_NAME, f"{what} each in turn", f"{patient.sudo}kill {agents[-1]}")]
    seen = f"process {agents[0]}" if agents else "none"
    return [ok(_NAME, f"speaking as {device} here: {seen}")]


def running_agents(machine: Machine) -> list[tuple[int, str]]:
    """Processes that are agents, oldest first, with the names that they speak by."""
    found = []
    for folder in machine.path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it ended meanwhile, or is somebody else's
            continue
        name = _device_of(words)
        if name is not None and folder.name.isdecimal():
            found.append((int(folder.name), name))
    return sorted(found)


def _device_of(words: list[bytes]) -> str | None:
    if _DAEMON not in words[1:-1]:
        return None
    try:
        settings = json.loads(words[words.index(_DAEMON) + 1])
    except (ValueError, RecursionError):
        return None
    name = settings.get("device_id") if isinstance(settings, dict) else None
    return name if isinstance(name, str) else None
