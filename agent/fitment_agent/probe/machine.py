"""The machine itself, read from its files and a few commands."""

from __future__ import annotations

from pathlib import Path

from fitment_agent.conditions import Surroundings
from fitment_agent.probe import android
from fitment_agent.probe.commands import Commands, LiveCommands, RecordedCommands
from fitment_agent.probe.energy import energy_meter
from fitment_agent.probe.hardware import probe_hardware
from fitment_agent.probe.jetson import l4t_release, power_mode
from fitment_agent.probe.link import probe_link
from fitment_agent.probe.memory import available_bytes, memory_bytes
from fitment_agent.probe.os_release import probe_os
from fitment_agent.probe.power_supply import probe_power
from fitment_agent.probe.reading import Reading, reading_of
from fitment_agent.probe.root import Root
from fitment_agent.probe.storage import probe_storage
from fitment_agent.probe.thermal import hottest_celsius, probe_thermal
from fitment_agent.probe.throttle import is_throttled
from fitment_agent.settings import Settings
from fitment_contract.device import EMULATED, DeviceFacts, Power

_NO_TRANSFER = "no transfer of this agent was large enough to tell yet"
_DOWNLINK = ("downlink_bytes_per_second", "downlink_samples", "downlink_sample_bytes")


class MachineProbe:
    """Reads the machine.

    Args:
        settings: root prefix, state directory, and what only a person can know.
        commands: those of the machine, or those recorded under another root, when None.
    """

    declares_runtimes = False

    def __init__(self, settings: Settings, commands: Commands | None = None) -> None:
        self._settings = settings
        self._prefix = settings.root_prefix
        is_this_machine = self._prefix == Path("/")
        self._commands = commands or (
            LiveCommands() if is_this_machine else RecordedCommands(self._prefix)
        )

    def read(self) -> Reading:
        """Everything that can be read now."""
        root = Root(self._prefix, self._commands)
        if android.is_android(root):  # all at once: each may take its full time and not answer
            for command in android.COMMANDS:
                self._commands.ask(command, wait=False)
        facts = DeviceFacts(
            simulated=self._is_emulated(root),
            hardware=probe_hardware(root),
            os=probe_os(root),
            storage=probe_storage(root, self._settings.state_dir),
            power=self._power(root),
            link=probe_link(root, self._settings.metered),
            thermal=probe_thermal(root),
            region=self._region(root),
            labels=self._labels(root),
        )
        for fact in _DOWNLINK:
            root.missing(f"link.{fact}", _NO_TRANSFER)
        return reading_of(facts, root)

    def facts(self) -> DeviceFacts:
        """Everything that can be read now, without its sources."""
        return self.read().facts

    def surroundings(self) -> Surroundings:
        """What changes while the device runs.

        Files only; where a command has to be asked, its latest answer counts.
        """
        root = Root(self._prefix, self._commands, patient=False)
        power = probe_power(root)
        link = probe_link(root, self._settings.metered)
        storage = probe_storage(root, self._settings.state_dir)
        return Surroundings(
            source=power.source,
            charge_ratio=power.charge_ratio,
            charging=power.charging,
            temperature_celsius=hottest_celsius(root),
            throttled=is_throttled(root),
            link_kind=link.kind,
            metered=link.metered,
            memory_available_bytes=available_bytes(root),
            memory_total_bytes=memory_bytes(root),
            storage_free_bytes=storage.free_bytes,
            storage_total_bytes=storage.total_bytes,
        )

    def _is_emulated(self, root: Root) -> bool:
        """Whoever runs the agent in an emulator says so; what is measured there is no evidence."""
        is_emulated = self._settings.labels.get(EMULATED) == "true"
        root.found("simulated", f"settings: {'' if is_emulated else 'not '}labelled {EMULATED}")
        return is_emulated

    def _power(self, root: Root) -> Power:
        more = {"mode": power_mode(root), "energy_meter": energy_meter(root)}
        return probe_power(root).model_copy(update=more)

    def _region(self, root: Root) -> str | None:
        if self._settings.region is None:
            root.missing("region", "nobody configured it")
        else:
            root.found("region", "settings")
        return self._settings.region

    def _labels(self, root: Root) -> dict[str, str]:
        release = l4t_release(root)
        if release is not None:
            root.found("labels.l4t", "/etc/nv_tegra_release")
        for name in self._settings.labels:
            root.found(f"labels.{name}", "settings")
        return {**({"l4t": release} if release else {}), **self._settings.labels}
