"""What a device says about itself, read from files under a root prefix or declared in a file.

One module per source. What cannot be read is None and noted with its reason; nothing is guessed
and nothing raises: on some phones half of /proc is denied.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from fitment_agent.conditions import Surroundings
from fitment_agent.errors import FactsFileError
from fitment_agent.probe.declared import declares_runtimes, read_declared
from fitment_agent.probe.hardware import probe_hardware
from fitment_agent.probe.jetson import l4t_release
from fitment_agent.probe.link import probe_link
from fitment_agent.probe.memory import available_bytes, total_bytes
from fitment_agent.probe.os_release import probe_os
from fitment_agent.probe.power_supply import probe_power
from fitment_agent.probe.root import Root
from fitment_agent.probe.storage import probe_storage
from fitment_agent.probe.thermal import probe_thermal
from fitment_agent.settings import Settings
from fitment_contract.device import DeviceFacts


class Probe(Protocol):
    """Where facts come from."""

    def facts(self) -> DeviceFacts:
        """Everything known now; `runtimes` only where they were declared."""

    def surroundings(self) -> Surroundings:
        """What changes while the device runs."""

    @property
    def declares_runtimes(self) -> bool:
        """Whether `facts` has the last word on runtimes."""


class MachineProbe:
    """Reads the machine.

    Args:
        settings: root prefix, state directory, and what only a person can know.
    """

    declares_runtimes = False

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def facts(self) -> DeviceFacts:
        """Everything that can be read now."""
        root = Root(self._settings.root_prefix)
        release = l4t_release(root)
        detected = {"l4t": release} if release else {}
        return DeviceFacts(
            hardware=probe_hardware(root),
            os=probe_os(root),
            storage=probe_storage(root, self._settings.state_dir),
            power=probe_power(root),
            link=probe_link(root, self._settings.metered),
            thermal=probe_thermal(root),
            region=self._settings.region,
            labels={**detected, **self._settings.labels},
            unknown=root.unknown,
        )

    def surroundings(self) -> Surroundings:
        """What changes while the device runs."""
        root = Root(self._settings.root_prefix)
        power, thermal = probe_power(root), probe_thermal(root)
        link = probe_link(root, self._settings.metered)
        storage = probe_storage(root, self._settings.state_dir)
        return Surroundings(
            source=power.source,
            charge_ratio=power.charge_ratio,
            charging=power.charging,
            temperature_celsius=thermal.temperature_celsius,
            throttled=thermal.throttled,
            link_kind=link.kind,
            metered=link.metered,
            memory_available_bytes=available_bytes(root),
            memory_total_bytes=total_bytes(root),
            storage_free_bytes=storage.free_bytes,
            storage_total_bytes=storage.total_bytes,
        )


class DeclaredProbe:
    """Facts from a file, which is read again each time: whoever simulates may change it.

    Args:
        path: of the facts file.
        settings: region and labels, which win over the file's when set.

    Raises:
        FactsFileError: the file is wrong at the start; later a wrong file keeps the last good one.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self._path = path
        self._settings = settings
        self._last = read_declared(path)

    @property
    def declares_runtimes(self) -> bool:
        """Whether the file says something about runtimes."""
        return declares_runtimes(self._last)

    def facts(self) -> DeviceFacts:
        """The declared facts, marked as simulated."""
        declared = self._read()
        own = {
            "region": self._settings.region or declared.region,
            "labels": {**declared.labels, **self._settings.labels},
        }
        return declared.model_copy(update=own)

    def surroundings(self) -> Surroundings:
        """The declared values of what would change on a real device."""
        facts = self._read()
        return Surroundings(
            source=facts.power.source,
            charge_ratio=facts.power.charge_ratio,
            charging=facts.power.charging,
            temperature_celsius=facts.thermal.temperature_celsius,
            throttled=facts.thermal.throttled,
            link_kind=facts.link.kind,
            metered=facts.link.metered,
            memory_total_bytes=facts.hardware.memory_bytes,
            storage_free_bytes=facts.storage.free_bytes,
            storage_total_bytes=facts.storage.total_bytes,
        )

    def _read(self) -> DeviceFacts:
        try:
            self._last = read_declared(self._path)
        except FactsFileError:
            return self._last
        return self._last


def make_probe(settings: Settings) -> Probe:
    """The probe that the settings ask for.

    Raises:
        FactsFileError: facts are declared, and wrongly.
    """
    if settings.facts_file is not None:
        return DeclaredProbe(settings.facts_file, settings)
    return MachineProbe(settings)
