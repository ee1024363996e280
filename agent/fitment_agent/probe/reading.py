"""Facts, each with where it was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fitment_agent.probe.root import Root
from fitment_contract.device import DeviceFacts


@dataclass(frozen=True)
class Reading:
    """What a device says about itself, and where that comes from.

    Attributes:
        facts: as they are reported; `unknown` gives the reason for each that is missing.
        sources: dotted path of a fact, or of the record that holds it, and where it was read.
            They stay on the device.
    """

    facts: DeviceFacts
    sources: Mapping[str, str] = field(default_factory=dict)


def reading_of(facts: DeviceFacts, root: Root) -> Reading:
    """The facts with what the root noted while they were read."""
    return Reading(facts.model_copy(update={"unknown": dict(root.unknown)}), dict(root.sources))
