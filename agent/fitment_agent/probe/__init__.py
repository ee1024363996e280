"""What a device says about itself, read from files under a root prefix or declared in a file.

One module per source. What cannot be read is None and noted with its reason; nothing is guessed
and nothing raises: on some phones half of /proc is denied.
"""

from __future__ import annotations

from typing import Protocol

from fitment_agent.conditions import Surroundings
from fitment_agent.probe.declared import DeclaredProbe
from fitment_agent.probe.machine import MachineProbe
from fitment_agent.probe.reading import Reading
from fitment_agent.settings import Settings
from fitment_contract.device import DeviceFacts

__all__ = ["DeclaredProbe", "MachineProbe", "Probe", "Reading", "make_probe"]


class Probe(Protocol):
    """Where facts come from."""

    def read(self) -> Reading:
        """Everything known now, with its sources; `runtimes` only where they were declared."""

    def facts(self) -> DeviceFacts:
        """What `read` knows, without the sources: what is reported."""

    def surroundings(self) -> Surroundings:
        """What changes while the device runs; cheap enough to be asked several times a second."""

    @property
    def declares_runtimes(self) -> bool:
        """Whether `read` has the last word on runtimes."""


def make_probe(settings: Settings) -> Probe:
    """The probe that the settings ask for.

    Raises:
        FactsFileError: facts are declared, and wrongly.
    """
    if settings.facts_file is not None:
        return DeclaredProbe(settings.facts_file, settings)
    return MachineProbe(settings)
