"""A runit service with a user of its own: Void, Artix, Debian with runit."""

from __future__ import annotations

from typing import Final

from fitment_agent.install.answers import Answers, settings_steps
from fitment_agent.install.machine import Machine
from fitment_agent.install.steps import Account, Leftover, Link, Put, Run, RunBack, Step
from fitment_agent.install.systemd import SETTINGS_FOLDER, STATE, USER
from fitment_agent.install.templates import fill

NAME: Final = "runit"
SERVICE: Final = "/etc/sv/fitment-agent"
_LOG: Final = "/var/log/fitment-agent"
_MAKE_USER: Final = (
    *("useradd", "--system", "--user-group", "--home-dir", STATE),
    *("--shell", "/bin/false", USER),
)
_WATCHED: Final = ("/var/service", "/etc/runit/runsvdir/default", "/etc/service", "/service")
"""Where distributions have the folder that runsvdir looks into; the first that there is."""


def is_here(machine: Machine) -> bool:
    """Whether this machine is run by runit, or has it beside."""
    return machine.exists("/etc/runit") or machine.exists("/run/runit")


def has_service(machine: Machine) -> bool:
    """Whether anything of an installation is there."""
    return machine.exists(SERVICE) or is_enabled(machine)


def is_enabled(machine: Machine) -> bool:
    """Whether the service starts with the system."""
    return any(machine.exists(f"{folder}/fitment-agent") for folder in _WATCHED)


def steps(answers: Answers, machine: Machine) -> list[Step]:
    """Everything that makes the agent a service, in the order of doing.

    Raises:
        SettingsError, InstallError: an answer cannot be.
    """
    keep = answers.keep_state
    values = {"program": answers.program, "state": STATE, "log": _LOG}
    watched = next((folder for folder in _WATCHED if machine.exists(folder)), _WATCHED[2])
    supervised = f"{SERVICE}/supervise/ok"
    return [
        Account(USER, _MAKE_USER, keep=keep),
        Leftover(STATE, keep=keep),
        *settings_steps(answers, machine, SETTINGS_FOLDER, STATE, 0o640),
        Leftover(_LOG),
        Leftover(SERVICE),  # with what runit puts beside the scripts
        Put(f"{SERVICE}/log/run", fill("runit-log-run", **values), 0o755, folders=2),
        Put(f"{SERVICE}/finish", fill("runit-finish"), 0o755, folders=1),
        Put(f"{SERVICE}/run", fill("runit-run", **values), 0o755, folders=1),
        # Unlinked before it is ended, so that nobody starts it again.
        RunBack(("sv", "-w", "30", "force-shutdown", SERVICE), supervised),
        Link(f"{watched}/fitment-agent", SERVICE),
        Run(("sv", "-w", "90", "restart", SERVICE), supervised),
    ]
