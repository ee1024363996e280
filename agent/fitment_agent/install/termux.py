"""Termux on a phone, without root: a service of termux-services, started by Termux:Boot."""

from __future__ import annotations

from typing import Final

from fitment_agent.install.answers import Answers, settings_steps
from fitment_agent.install.machine import Machine
from fitment_agent.install.steps import Leftover, Link, Put, Run, RunBack, Step
from fitment_agent.install.templates import fill

NAME: Final = "termux"
HOME: Final = "/data/data/com.termux/files/home"
PREFIX: Final = "/data/data/com.termux/files/usr"
BOOT: Final = f"{HOME}/.termux/boot/fitment-agent.sh"
STATE: Final = f"{HOME}/.local/state/fitment-agent"
SETTINGS_FOLDER: Final = f"{HOME}/.config/fitment"
_SERVICE: Final = f"{PREFIX}/var/service/fitment-agent"
_LOG: Final = f"{PREFIX}/var/log/sv/fitment-agent"
_SUPERVISED: Final = f"{_SERVICE}/supervise/ok"


def is_here(machine: Machine) -> bool:
    """Whether this is a phone with Termux."""
    return machine.exists(f"{PREFIX}/bin")


def has_service(machine: Machine) -> bool:
    """Whether anything of an installation is there."""
    return machine.exists(BOOT) or machine.exists(_SERVICE)


def is_enabled(machine: Machine) -> bool:
    """Whether the service starts with the phone; `sv-disable` leaves a file called `down`."""
    has_run = machine.exists(BOOT) and machine.exists(f"{_SERVICE}/run")
    return has_run and not machine.exists(f"{_SERVICE}/down")


def has_services_package(machine: Machine) -> bool:
    """Whether the package termux-services is there, which starts the service."""
    return machine.exists(f"{PREFIX}/share/termux-services/svlogger")


def steps(answers: Answers, machine: Machine) -> list[Step]:
    """Everything that makes the agent a service, in the order of doing.

    Raises:
        SettingsError, InstallError: an answer cannot be.
    """
    values = {"program": answers.program, "state": STATE}
    logger = f"{PREFIX}/share/termux-services/svlogger"
    return [
        Leftover(STATE, keep=answers.keep_state),
        *settings_steps(answers, machine, SETTINGS_FOLDER, STATE, 0o600),
        Leftover(_LOG),
        Leftover(_SERVICE),  # with what runit puts beside the scripts
        Link(f"{_SERVICE}/log/run", logger, folders=2),
        Put(f"{_SERVICE}/finish", fill("termux-finish"), 0o700, folders=1),
        Put(BOOT, fill("termux-boot"), 0o700),
        Put(f"{_SERVICE}/run", fill("termux-run", **values), 0o700, folders=1),
        Run((f"{PREFIX}/bin/sv", "-w", "90", "restart", _SERVICE), _SUPERVISED),
        RunBack((f"{PREFIX}/bin/sv", "-w", "30", "force-shutdown", _SERVICE), _SUPERVISED),
    ]
