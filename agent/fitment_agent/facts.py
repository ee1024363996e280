"""The device's facts as they are reported: what the probe reads, plus what the agent found out.

Which runtimes there are and what they can do is found out by a worker, because it means importing
them; the answer is kept until an installed package changes.
"""

from __future__ import annotations

from collections.abc import Sequence

from fitment_agent.conditions import Surroundings
from fitment_agent.journal import Journal
from fitment_agent.probe import Probe
from fitment_contract.device import DeviceFacts, RuntimeFacts
from fitment_runtime.catalog import installed_runtimes

_TELLING_BYTES = 256 * 1024
"""Transfers below this say more about round trips than about the link."""


class FactsKeeper:
    """What the device says about itself.

    Args:
        probe: reads or declares the facts.
        journal: keeps what is known about runtimes.
    """

    def __init__(self, probe: Probe, journal: Journal) -> None:
        self._probe = probe
        self._journal = journal
        self._installed = installed_runtimes()
        self._runtimes = journal.cached_runtimes(self._key())
        self._runtimes_fault: str | None = None
        self._downlink_bytes_per_second: float | None = None

    @property
    def are_complete(self) -> bool:
        """Whether the runtimes are known, so that nobody needs to look at them."""
        return self._probe.declares_runtimes or self._runtimes is not None

    def learn_runtimes(self, runtimes: Sequence[RuntimeFacts]) -> None:
        """Take over what a worker found out."""
        self._runtimes = tuple(runtimes)
        self._journal.cache_runtimes(self._key(), self._runtimes)

    def give_up_on_runtimes(self, reason: str) -> None:
        """Go on with names and versions: looking at the runtimes failed. Not kept."""
        self._runtimes = self._installed
        self._runtimes_fault = reason

    def learn_transfer(self, bytes_transferred: int, seconds: float) -> None:
        """Take a finished transfer as a measurement of the link."""
        if bytes_transferred >= _TELLING_BYTES and seconds > 0:
            self._downlink_bytes_per_second = bytes_transferred / seconds

    def facts(self) -> DeviceFacts:
        """Everything known now."""
        facts = self._probe.facts()
        changes: dict[str, object] = {}
        if not self._probe.declares_runtimes:
            changes["runtimes"] = self._runtimes or ()
        if self._runtimes_fault is not None:
            changes["unknown"] = {**facts.unknown, "runtimes": self._runtimes_fault}
        if facts.link.downlink_bytes_per_second is None and self._downlink_bytes_per_second:
            measured = {"downlink_bytes_per_second": self._downlink_bytes_per_second}
            changes["link"] = facts.link.model_copy(update=measured)
        return facts.model_copy(update=changes)

    def surroundings(self) -> Surroundings:
        """What changes while the device runs."""
        return self._probe.surroundings()

    def _key(self) -> str:
        return " ".join(f"{one.name}=={one.version}" for one in self._installed)
