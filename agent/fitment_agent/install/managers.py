"""What starts services on a machine, and the plan that belongs to it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fitment_agent.install import runit, systemd, termux
from fitment_agent.install.answers import Answers
from fitment_agent.install.errors import InstallError
from fitment_agent.install.machine import Machine
from fitment_agent.install.program import check_plain, check_reachable
from fitment_agent.install.steps import Step


@dataclass(frozen=True)
class Manager:
    """Something that starts services.

    Attributes:
        is_here: whether it runs this machine.
        has_service: whether anything of the agent's service is there, also half of it.
        is_enabled: whether the service starts with the system.
        steps: the plan of an installation.
        needs_root: only root may install.
        log: the command that shows what the agent said last.
        restart: the command that starts the service anew.
    """

    name: str
    is_here: Callable[[Machine], bool]
    has_service: Callable[[Machine], bool]
    is_enabled: Callable[[Machine], bool]
    steps: Callable[[Answers, Machine], list[Step]]
    needs_root: bool
    log: str
    restart: str


MANAGERS: Final = (
    Manager(
        termux.NAME,
        termux.is_here,
        termux.has_service,
        termux.is_enabled,
        termux.steps,
        needs_root=False,
        log="tail -n 50 $PREFIX/var/log/sv/fitment-agent/current",
        restart="sv-enable fitment-agent && sv restart fitment-agent",
    ),
    Manager(
        systemd.NAME,
        systemd.is_here,
        systemd.has_service,
        systemd.is_enabled,
        systemd.steps,
        needs_root=True,
        log="journalctl -u fitment-agent -n 50",
        restart="sudo systemctl enable fitment-agent && sudo systemctl restart fitment-agent",
    ),
    Manager(
        runit.NAME,
        runit.is_here,
        runit.has_service,
        runit.is_enabled,
        runit.steps,
        needs_root=True,
        log="sudo tail -n 50 /var/log/fitment-agent/current",
        restart="sudo sv restart fitment-agent",
    ),
)


def find_manager(name: str | None, machine: Machine) -> Manager:
    """The manager called `name`, or the one that runs the machine.

    Raises:
        InstallError: none is known to run it.
    """
    for manager in MANAGERS:
        if manager.name == name or (name is None and manager.is_here(machine)):
            return manager
    raise InstallError(
        "Neither systemd nor runit nor Termux starts services here.",
        "Name the one to install for: --systemd, --runit or --termux.",
    )


def installed_manager(machine: Machine) -> Manager | None:
    """The manager that has the agent's service; None when it is no service."""
    return next((manager for manager in MANAGERS if manager.has_service(machine)), None)


def managers_to_clear(name: str | None, machine: Machine) -> list[Manager]:
    """The managers that may have something of the agent, half an installation included."""
    return [
        manager
        for manager in MANAGERS
        if manager.name == name
        or (name is None and (manager.has_service(machine) or manager.is_here(machine)))
    ]


def check_possible(manager: Manager, answers: Answers, machine: Machine, command: str) -> None:
    """Refuse what would leave a service that cannot start.

    Args:
        manager: the one to install for.
        answers: with the program to start.
        machine: where.
        command: what to run as root, for the message.

    Raises:
        InstallError: the program is not there or not reachable, or this user may not install.
    """
    check_plain(answers.program)
    if manager.needs_root:
        check_reachable(answers.program)
    if machine.runner is not None and not machine.exists(answers.program):
        raise InstallError(f"There is no {answers.program}.", "Name the program with --program.")
    check_allowed(manager, machine, command)


def check_allowed(manager: Manager, machine: Machine, command: str) -> None:
    """Refuse a user who may not change services.

    Raises:
        InstallError: root is needed.
    """
    if manager.needs_root and machine.runner is not None and os.geteuid() != 0:
        raise InstallError("Only root may change the services of this system.", f"sudo {command}")
