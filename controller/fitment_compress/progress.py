"""Tells the person who waits what happens, how far it is and how long it may still take."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TextIO


class Progress(Protocol):
    """What a run reports while it works."""

    def stage(self, name: str, total: int) -> None:
        """A stage of `total` steps begins; 0 where nobody knows how many."""

    def step(self, what: str) -> None:
        """One step of the stage is done."""

    def part(self, share: float, what: str) -> None:
        """One step that takes long is so far: `share` is from 0 to 1."""

    def note(self, text: str) -> None:
        """Something that the owner of the model may want to know."""


class Silent:
    """The progress of a caller who does not ask."""

    def stage(self, name: str, total: int) -> None:
        """Say nothing."""

    def step(self, what: str) -> None:
        """Say nothing."""

    def part(self, share: float, what: str) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""


class Parts:
    """Passes steps on as parts of a greater step, for who works inside it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def stage(self, name: str, total: int) -> None:
        """See `Progress.stage`; stages of the inner work are nobody's concern."""

    def step(self, what: str) -> None:
        """See `Progress.step`."""
        self._progress.part(1.0, what)

    def part(self, share: float, what: str) -> None:
        """See `Progress.part`."""
        self._progress.part(share, what)

    def note(self, text: str) -> None:
        """See `Progress.note`."""
        self._progress.note(text)


class Lines:
    """Progress as lines of text; on a terminal, each stage stays on one line.

    Args:
        stream: usually stderr, because stdout is for results.
        clock: seconds that never go back.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._overwrites = stream.isatty()
        self._name, self._total, self._done, self._begin = "", 0, 0, 0.0

    def stage(self, name: str, total: int) -> None:
        """See `Progress.stage`."""
        self.end()
        self._name, self._total, self._done, self._begin = name, total, 0, self._clock()
        self._show(f"{name} ...")

    def step(self, what: str) -> None:
        """See `Progress.step`."""
        self._done += 1
        self._show(f"{self._name} {self._count()}  {what}{self._left()}")

    def part(self, share: float, what: str) -> None:
        """See `Progress.part`; told to who watches, and kept out of files."""
        if self._overwrites:
            self._show(f"{self._name} {self._count()}  {what}{self._left(share)}")

    def note(self, text: str) -> None:
        """See `Progress.note`."""
        self._show(f"note: {text}")
        if self._overwrites:
            self._stream.write("\n")

    def end(self) -> None:
        """Leave the last line standing."""
        if self._overwrites and self._name:
            self._stream.write("\n")
            self._stream.flush()

    def _count(self) -> str:
        return f"{self._done}/{self._total}" if self._total else str(self._done)

    def _left(self, share: float = 0.0) -> str:
        done = self._done + share
        remaining = max(0.0, self._total - done)
        seconds = (self._clock() - self._begin) / done * remaining if done else 0.0
        return f"  (about {seconds:.0f} s left)" if remaining and seconds >= 1 else ""

    def _show(self, text: str) -> None:
        self._stream.write(f"\r\x1b[2K{text}" if self._overwrites else f"{text}\n")
        self._stream.flush()
