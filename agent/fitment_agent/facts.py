"""The device's facts as they are reported: what the probe reads, plus what the agent found out.

Which runtimes there are and what they can do is found out by a worker, because it means importing
them; the answer is kept until an installed package changes. What the link carries is measured on
the agent's own transfers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from fitment_agent.conditions import Surroundings
from fitment_agent.journal import Journal
from fitment_agent.probe import Probe, Reading
from fitment_contract.device import DeviceFacts, Link, RuntimeFacts
from fitment_runtime.catalog import installed_runtimes

_TELLING_BYTES: Final = 256 * 1024
"""Transfers below this say more about round trips than about the link."""

_LATEST_TRANSFERS: Final = 9
"""Enough that the median holds against a few odd ones, few enough to follow a link that changed."""

_DOWNLINK: Final = (
    "link.downlink_bytes_per_second",
    "link.downlink_samples",
    "link.downlink_sample_bytes",
)


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
        self._transfers: deque[tuple[int, float]] = deque(maxlen=_LATEST_TRANSFERS)

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
            self._transfers.append((bytes_transferred, seconds))

    def facts(self) -> DeviceFacts:
        """Everything known now."""
        reading = self._probe.read()
        if not self._probe.declares_runtimes:
            reading = with_runtimes(reading, self._runtimes, self._installed)
        facts = reading.facts
        unknown = dict(facts.unknown)
        if self._runtimes_fault is not None:
            unknown["runtimes"] = self._runtimes_fault
        link = facts.link
        if link.downlink_bytes_per_second is None and self._transfers:
            link = self._measured(link)
            for fact in _DOWNLINK:
                unknown.pop(fact, None)
        return facts.model_copy(update={"link": link, "unknown": unknown})

    def surroundings(self) -> Surroundings:
        """What changes while the device runs."""
        return self._probe.surroundings()

    def _measured(self, link: Link) -> Link:
        rates = [size / seconds for size, seconds in self._transfers]
        return link.model_copy(
            update={
                "downlink_bytes_per_second": _median(rates),
                "downlink_samples": len(rates),
                "downlink_sample_bytes": sum(size for size, _ in self._transfers),
            }
        )

    def _key(self) -> str:
        return " ".join(f"{one.name}=={one.version}" for one in self._installed)


def _median(values: list[float]) -> float:
    """The value in the middle, or the mean of the two there."""
    ordered, middle = sorted(values), len(values) // 2
    return (ordered[middle] + ordered[~middle]) / 2


def with_runtimes(
    reading: Reading, runtimes: Sequence[RuntimeFacts] | None, installed: Sequence[RuntimeFacts]
) -> Reading:
    """The facts with the runtimes that a worker could load.

    Args:
        reading: of the machine.
        runtimes: that were loaded, with what they can do; None when nobody has tried yet.
        installed: by the metadata of packages; one that is not among `runtimes` does not load here.
    """
    unknown, sources = dict(reading.facts.unknown), dict(reading.sources)
    if runtimes is None:
        unknown["runtimes"] = "not looked at yet"
    else:
        loaded = {runtime.name for runtime in runtimes}
        for one in installed:
            if one.name not in loaded:
                unknown[f"runtimes.{one.name}"] = f"{one.version} is installed and does not load"
    if runtimes:
        sources["runtimes"] = "loaded by a worker"
    elif runtimes is not None:
        unknown["runtimes"] = "none that is installed loads" if installed else "none is installed"
    changes = {"runtimes": tuple(runtimes or ()), "unknown": unknown}
    return Reading(reading.facts.model_copy(update=changes), sources)
