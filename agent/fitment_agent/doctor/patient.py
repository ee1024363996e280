"""What every check may look at."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from fitment_agent.doctor.finding import Finding
from fitment_agent.install import termux
from fitment_agent.install.machine import Machine
from fitment_agent.settings import Settings
from fitment_contract.device import DeviceFacts


@dataclass(frozen=True)
class Patient:
    """A device with an agent, or about to get one.

    Attributes:
        settings: in force for whoever runs the doctor.
        machine: its files.
        facts: what the probe reads, runtimes excluded.
        now: the time on its clock.
    """

    settings: Settings
    machine: Machine
    facts: DeviceFacts
    now: datetime

    @property
    def is_phone(self) -> bool:
        """Whether this is Termux, where nobody is root."""
        return termux.is_here(self.machine)

    @property
    def sudo(self) -> str:
        """What goes before a command that changes the system."""
        return "" if self.is_phone else "sudo "

    @property
    def install(self) -> str:
        """The command that installs the service, or changes what it was told."""
        return f"{self._agent} install"

    @property
    def doctor(self) -> str:
        """The command that looks at what this user may not see."""
        return f"{self._agent} doctor"

    @property
    def _agent(self) -> str:
        """With its full path: sudo has another search path."""
        return self.sudo + shlex.quote(str(Path(sys.executable).parent / "fitment-agent"))

    @property
    def pip(self) -> str:
        """The command that installs packages into the environment of this program."""
        return f"{shlex.quote(sys.executable)} -m pip install"


class Check(Protocol):
    """One question to a device."""

    def __call__(self, patient: Patient) -> list[Finding]:
        """The answers; an empty list where the question has no sense on this device."""
