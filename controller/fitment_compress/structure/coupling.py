"""Which channels can only be removed together: a union-find over single channels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Channels = tuple[int, ...]
"""The channel at each position of an axis. One channel may take several positions."""


class Coupling:
    """Channels, tied to each other one by one, and the spaces that they were made in.

    The channels of one layer's output are a space. Tying channels of two spaces merges the
    spaces: their channels are chosen from together, as a residual addition asks.
    """

    def __init__(self) -> None:
        self._parents: list[int] = []
        self._spaces: list[int] = []
        self._origin: list[int] = []
        self._frozen: dict[int, str] = {}

    def fresh(self, count: int) -> Channels:
        """`count` new channels in a space of their own."""
        first, space = len(self._parents), len(self._spaces)
        self._spaces.append(space)
        self._parents.extend(range(first, first + count))
        self._origin.extend([space] * count)
        return tuple(range(first, first + count))

    def tie(self, ours: Iterable[int], theirs: Iterable[int]) -> None:
        """Channels at equal positions go or stay together."""
        for one, other in zip(ours, theirs, strict=True):
            self._parents[_root(self._parents, one)] = _root(self._parents, other)
            space = _root(self._spaces, self._origin[one])
            self._spaces[space] = _root(self._spaces, self._origin[other])

    def freeze(self, channels: Iterable[int], why: str) -> None:
        """None of these, nor the others of their space, can be removed."""
        for channel in channels:
            self._frozen.setdefault(channel, why)

    def resolve(self, channels: Sequence[int]) -> Channels:
        """The same positions, with one name for channels that were tied."""
        return tuple(_root(self._parents, channel) for channel in channels)

    def spaces(self) -> dict[int, Channels]:
        """The channels of each space, tied ones counted once."""
        found: dict[int, dict[int, None]] = {}
        for channel, origin in enumerate(self._origin):
            members = found.setdefault(_root(self._spaces, origin), {})
            members[_root(self._parents, channel)] = None
        return {space: tuple(members) for space, members in found.items()}

    def frozen_spaces(self) -> dict[int, str]:
        """Why nothing of a space can be removed, by space."""
        found: dict[int, str] = {}
        for channel, why in self._frozen.items():
            found.setdefault(_root(self._spaces, self._origin[channel]), why)
        return found


def _root(parents: list[int], member: int) -> int:
    while parents[member] != member:
        parents[member] = parents[parents[member]]  # halves the path for the next question
        member = parents[member]
    return member
