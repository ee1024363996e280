"""Tells the person who watches what the demonstration does and how far it is: on stderr only."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from rich.text import Text


class Narrator:
    """Stages with numbered headings; lines under them; on a terminal, one line that is redrawn.

    It is also the `Progress` that compression reports to.

    Args:
        console: on stderr, because stdout is for results.
        stages: how many headings there will be.
        clock: seconds that never go back.
    """

    def __init__(
        self, console: Console, stages: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._stages = stages
        self._clock = clock
        self._begin = clock()
        self._heading = 0
        self._live = False
        self._stage, self._total, self._done = "", 0, 0

    def heading(self, title: str, detail: str = "") -> None:
        """A stage of the demonstration begins."""
        self._end_live_line()
        self._heading += 1
        elapsed = f"{self._clock() - self._begin:4.0f} s"
        line = Text.assemble(
            (f"{self._heading}/{self._stages}", "bold cyan"), f"  {elapsed}  ", (title, "bold")
        )
        if detail:
            line.append(f"  {detail}", "dim")
        self._print(line)

    def say(self, text: str, style: str = "") -> None:
        """One line under the heading."""
        self._end_live_line()
        self._print(Text(f"            {text}", style))

    def live(self, text: str) -> None:
        """The line that is redrawn; without a terminal it is left out."""
        if not self._console.is_terminal:
            return
        width = self._console.width - 1
        self._console.file.write("\r\x1b[2K" + f"            {text}"[:width])
        self._console.file.flush()
        self._live = True

    def stage(self, name: str, total: int) -> None:
        """A stage of compression begins."""
        self._stage, self._total, self._done = name, total, 0
        self.live(f"{name} ...")

    def step(self, what: str) -> None:
        """One step of the compression stage is done."""
        self._done += 1
        self.live(f"{self._stage} {self._done}/{self._total}  {what}")
        if self._done == self._total:
            elapsed = self._clock() - self._begin
            self.say(
                f"{self._stage}: {what if self._total == 1 else self._total} ({elapsed:.0f} s)"
            )

    def part(self, share: float, what: str) -> None:
        """A long step of the compression stage is so far."""
        self.live(f"{self._stage} {self._done}/{self._total}  {what} {share:.0%}")

    def note(self, text: str) -> None:
        """Something worth knowing from compression."""
        self.say(text, "dim")

    def _print(self, line: Text) -> None:
        self._console.print(line, soft_wrap=True, highlight=False)

    def _end_live_line(self) -> None:
        if self._live:
            self._console.file.write("\r\x1b[2K")
            self._live = False
