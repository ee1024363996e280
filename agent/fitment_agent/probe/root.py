"""Reads a machine's files under a prefix, and keeps note of where each fact was read, or why not.

Nothing here raises, whatever the files hold: on phones half of /proc is denied, and in containers
files are there and cannot be read. The vitals of a running agent come through here too, so
reading one file takes no more than opening it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from fitment_agent.probe.commands import Commands, RecordedCommands

_MAX_BYTES: Final = 256 * 1024
_TEXT_LENGTH: Final = 160
_DECIMAL: Final = re.compile(r"[+-]?[0-9]{1,18}")
_HEXADECIMAL: Final = re.compile(r"(0x)?[0-9a-fA-F]{1,15}")


class Root:
    """A file system to probe: `/`, or a folder that looks like one.

    Args:
        prefix: where `proc`, `sys` and `etc` are.
        commands: answer `ask`; those recorded under the prefix when None.
        patient: `ask` waits for a command that has never answered.

    Attributes:
        sources: for each fact that was found, its dotted path and where it was read.
        unknown: for each fact that is missing, its dotted path and the reason.
    """

    def __init__(
        self, prefix: Path, commands: Commands | None = None, *, patient: bool = True
    ) -> None:
        self._prefix = "" if prefix == Path("/") else str(prefix)
        self._commands = commands or RecordedCommands(prefix)
        self._patient = patient
        self.sources: dict[str, str] = {}
        self.unknown: dict[str, str] = {}

    @property
    def is_this_machine(self) -> bool:
        """Whether system calls speak of the same machine as these files."""
        return not self._prefix

    def read(self, path: str, fact: str | None = None) -> str | None:
        """The text of a file; None when it cannot be read. Noted under `fact` either way.

        Device-tree strings end with NUL; NULs inside separate, and come back as newlines.
        """
        try:
            content = _content(f"{self._prefix}/{path}")
        except (OSError, ValueError) as error:  # ValueError: no path can be like that
            if fact:
                self.missing(fact, f"/{path}: {getattr(error, 'strerror', None) or error}")
            return None
        if fact:
            self.found(fact, f"/{path}")
        return content.strip(b"\0").replace(b"\0", b"\n").decode(errors="replace").strip()

    def read_int(self, path: str, fact: str | None = None, *, base: int = 10) -> int | None:
        """The whole number in a file; None when there is none."""
        text = self.read(path, fact)
        if text is None:
            return None
        if not (_HEXADECIMAL if base == 16 else _DECIMAL).fullmatch(text):
            if fact:
                self.missing(fact, f"/{path} holds no number")
            return None
        return int(text, base)

    def entries(self, path: str) -> list[str]:
        """The names in a folder, sorted; empty when it cannot be read."""
        try:
            return sorted(os.listdir(f"{self._prefix}/{path}"))
        except (OSError, ValueError):
            return []

    def exists(self, path: str) -> bool:
        """Whether there is something at `path`."""
        return os.path.exists(f"{self._prefix}/{path}")

    def ask(self, *command: str, fact: str | None = None) -> str | None:
        """What a command writes; None when it does not. Noted under `fact` either way."""
        answer = self._commands.ask(command, wait=self._patient)
        if fact and answer.text is None:
            self.missing(fact, answer.fault)
        elif fact:
            self.found(fact, " ".join(command))
        return answer.text

    def found(self, fact: str, source: str) -> None:
        """Note where a fact was read."""
        self.sources[fact] = source
        self.unknown.pop(fact, None)

    def missing(self, fact: str, reason: str) -> None:
        """Note that a fact is missing."""
        self.unknown[fact] = reason
        self.sources.pop(fact, None)


def clean(text: str | None) -> str | None:
    """A name that a device gave, as one line of printable characters; None when it is empty."""
    if not text:
        return None
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split())[:_TEXT_LENGTH] or None


def _content(path: str) -> bytes:
    """The first `_MAX_BYTES` of a file; a pipe that nobody writes to is empty, not waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        content = chunk = os.read(descriptor, _MAX_BYTES)
        while chunk and len(content) < _MAX_BYTES:
            chunk = os.read(descriptor, _MAX_BYTES - len(content))
            content += chunk
    finally:
        os.close(descriptor)
    return content
