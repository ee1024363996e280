"""All profiles in force, found by name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from fitment_controller.errors import NotFoundError
from fitment_controller.profiles.kinds import UNASSIGNED, DeviceClass, Objective, Region

Found = TypeVar("Found", DeviceClass, Region, Objective)


@dataclass(frozen=True)
class Profiles:
    """All profiles in force.

    Attributes:
        classes: in the order in which they are tried.
        sources: the file of each profile, by kind and name.
    """

    classes: tuple[DeviceClass, ...]
    regions: Mapping[str, Region]
    objectives: Mapping[str, Objective]
    sources: Mapping[tuple[str, str], Path] = field(default_factory=dict)

    def device_class(self, name: str) -> DeviceClass:
        """The class called `name`.

        Raises:
            NotFoundError: there is none.
        """
        return _named("device class", name, {item.name: item for item in self.classes})

    def region(self, name: str) -> Region:
        """The region called `name`, which may be `unassigned`.

        Raises:
            NotFoundError: there is none.
        """
        return _named("region", name, {UNASSIGNED.name: UNASSIGNED, **self.regions})

    def objective(self, name: str) -> Objective:
        """The objective called `name`.

        Raises:
            NotFoundError: there is none.
        """
        return _named("objective", name, self.objectives)


def suggest(word: str, known: Iterable[str]) -> str:
    """What somebody who wrote `word` may have meant, or all that there is."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(names)}"


def _named(what: str, name: str, known: Mapping[str, Found]) -> Found:
    try:
        return known[name]
    except KeyError:
        raise NotFoundError(what, name, suggest(name, known).capitalize()) from None
