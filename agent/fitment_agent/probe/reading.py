"""Facts, each with where it was read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fitment_agent.probe.root import Root
from fitment_contract.device import DeviceFacts

_NOTES: Final = frozenset({"unknown"})


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

    def source_of(self, path: str) -> str | None:
        """Where the fact at a dotted path was read; None when it is missing."""
        return _nearest(self.sources, path)

    def reason_for(self, path: str) -> str | None:
        """Why the fact at a dotted path is missing; None when it is not."""
        return _nearest(self.facts.unknown, path)

    def leaves(self) -> Iterator[tuple[str, Any]]:
        """Every fact by its dotted path, with its value as JSON has it; lists are one fact."""
        content = self.facts.model_dump(mode="json")
        return _leaves({key: value for key, value in content.items() if key not in _NOTES})


def reading_of(facts: DeviceFacts, root: Root) -> Reading:
    """The facts with what the root noted while they were read."""
    return Reading(facts.model_copy(update={"unknown": dict(root.unknown)}), dict(root.sources))


def _leaves(content: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{path}{key}.")
        elif value != {}:
            yield f"{path}{key}", value


def _nearest(notes: Mapping[str, str], path: str) -> str | None:
    """The note on `path`, else on what holds it."""
    while path:
        if path in notes:
            return notes[path]
        path = path.rpartition(".")[0]
    return None
