"""What the recording disk logs, and the disks that a power cut could have left. Pure, no I/O."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

_HEAD: Final = struct.Struct("<cQI")
BLOCK_BYTES: Final = 4096
"""What a drive writes whole or not at all: flash has no smaller pages, and ext4 counts on it."""


class Kind(Enum):
    """What happened to the disk."""

    WRITE = b"W"
    FLUSH = b"F"
    MARK = b"M"
    """The workload told the world something: its text is the data."""


@dataclass(frozen=True)
class Event:
    """One thing that happened to the disk."""

    kind: Kind
    offset: int = 0
    data: bytes = b""

    def packed(self) -> bytes:
        """As the log has it."""
        return _HEAD.pack(self.kind.value, self.offset, len(self.data)) + self.data


def unpacked(log: bytes) -> list[Event]:
    """The events of a log, in order."""
    events, at = [], 0
    while at < len(log):
        kind, offset, length = _HEAD.unpack_from(log, at)
        at += _HEAD.size
        events.append(Event(Kind(kind), offset, log[at : at + length]))
        at += length
    return events


class Loss(Enum):
    """What becomes of the writes that no flush had followed yet."""

    NONE = "none"
    BLOCKS = "blocks"
    """Each block arrived or not, by chance."""
    WRITES = "writes"
    """Each write arrived or not, by chance: a later one may be there without an earlier one."""


@dataclass(frozen=True)
class Crash:
    """A disk as it is found after a cut.

    Attributes:
        cut: how many events there were before it.
        image: the disk's content.
        marks: what the world had been told by then, in order.
    """

    cut: int
    loss: Loss
    image: bytes
    marks: tuple[str, ...]


def crashes(
    base: bytes,
    events: Sequence[Event],
    cuts: Iterable[int],
    losses: Sequence[Loss],
    chance: random.Random,
) -> Iterator[Crash]:
    """The disks after a cut at each of `cuts`, each with each of `losses`.

    Args:
        base: the disk before the first event.
        events: in order.
        cuts: each before the event of that number; `len(events)` is after all of them.
        losses: what is lost.
        chance: decides which of the writes arrived.
    """
    flushed, since, marks, at = bytearray(base), list[Event](), list[str](), 0
    for cut in sorted(cuts):
        for event in events[at:cut]:
            if event.kind is Kind.MARK:
                marks.append(event.data.decode())
            elif event.kind is Kind.WRITE:
                since.append(event)
            else:
                for write in since:
                    _put(flushed, write.offset, write.data)
                since.clear()
        at = cut
        for loss in losses:
            image = bytearray(flushed)
            for offset, data in _arrived(since, loss, chance):
                _put(image, offset, data)
            yield Crash(cut, loss, bytes(image), tuple(marks))


def _arrived(
    writes: Iterable[Event], loss: Loss, chance: random.Random
) -> Iterator[tuple[int, bytes]]:
    for write in writes:
        step = BLOCK_BYTES if loss is Loss.BLOCKS else max(len(write.data), 1)
        for start in range(0, len(write.data), step):
            if loss is Loss.NONE or chance.random() < 0.5:
                yield write.offset + start, write.data[start : start + step]


def _put(image: bytearray, offset: int, data: bytes) -> None:
    image[offset : offset + len(data)] = data
