"""A hardened systemd unit with a user of its own."""

from __future__ import annotations

from typing import Final

from fitment_agent.install.answers import Answers, settings_steps
from fitment_agent.install.devices import device_drop_in
from fitment_agent.install.machine import Machine
from fitment_agent.install.steps import Account, Leftover, Link, Put, Run, RunBack, Step
from fitment_agent.install.templates import fill

NAME: Final = "systemd"
UNIT: Final = "/etc/systemd/system/fitment-agent.service"
WANTED: Final = "/etc/systemd/system/multi-user.target.wants/fitment-agent.service"
USER: Final = "fitment-agent"
STATE: Final = "/var/lib/fitment-agent"
SETTINGS_FOLDER: Final = "/etc/fitment"
_RUNS: Final = "/run/systemd/system"
_USERS: Final = "/etc/sysusers.d/fitment-agent.conf"
_MODES: Final = "/etc/tmpfiles.d/fitment-agent.conf"
_RELOAD: Final = ("systemctl", "daemon-reload")


def is_here(machine: Machine) -> bool:
    """Whether this machine is run by systemd."""
    if machine.runner is not None:
        return machine.exists(_RUNS)
    return any(machine.exists(f"{lib}/systemd/systemd") for lib in ("/usr/lib", "/lib"))


def has_service(machine: Machine) -> bool:
    """Whether anything of an installation is there."""
    return any(machine.exists(path) for path in (UNIT, WANTED, _USERS, _MODES))


def is_enabled(machine: Machine) -> bool:
    """Whether the service starts with the system."""
    return machine.exists(UNIT) and machine.exists(WANTED)


def steps(answers: Answers, machine: Machine) -> list[Step]:
    """Everything that makes the agent a service, in the order of doing.

    Raises:
        SettingsError, InstallError: an answer cannot be.
    """
    keep = answers.keep_state
    drop_in = device_drop_in(machine)
    return [
        Put(_USERS, fill("sysusers.conf", state=STATE)),
        Account(USER, ("systemd-sysusers", _USERS), keep=keep),
        Leftover(STATE, keep=keep),
        *settings_steps(answers, machine, SETTINGS_FOLDER, STATE, 0o640),
        Put(_MODES, fill("tmpfiles.conf")),
        Run(("systemd-tmpfiles", "--create", _MODES)),
        RunBack(_RELOAD, _RUNS),
        Put(UNIT, fill("fitment-agent.service", program=answers.program, state=STATE)),
        Put(f"{UNIT}.d/10-devices.conf", drop_in.encode() if drop_in else None, folders=1),
        Link(WANTED, UNIT),
        Run(_RELOAD, _RUNS),
        Run(("systemctl", "restart", "fitment-agent.service"), _RUNS),
        RunBack(("systemctl", "stop", "fitment-agent.service"), _RUNS),
    ]
