"""Reads a machine's files under a prefix, and keeps note of what could not be read."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_MAX_BYTES: Final = 256 * 1024


class Root:
    """A file system to probe: `/`, or a folder that looks like one.

    Args:
        prefix: where `proc`, `sys` and `etc` are.

    Attributes:
        unknown: for each fact that is missing, its dotted path and the reason.
    """

    def __init__(self, prefix: Path) -> None:
        self._prefix = prefix
        self.unknown: dict[str, str] = {}

    @property
    def is_this_machine(self) -> bool:
        """Whether system calls speak of the same machine as these files."""
        return self._prefix == Path("/")

    def read(self, path: str, fact: str | None = None) -> str | None:
        """The text of a file; None when it cannot be read, noted under `fact`.

        Device-tree strings end with NUL; NULs inside separate, and come back as newlines.
        """
        try:
            with (self._prefix / path).open("rb") as file:
                content = file.read(_MAX_BYTES)
        except OSError as error:
            if fact:
                self.missing(fact, f"/{path}: {error.strerror}")
            return None
        return content.strip(b"\0").replace(b"\0", b"\n").decode(errors="replace").strip()

    def read_int(self, path: str, base: int = 10) -> int | None:
        """The whole number in a file; None when there is none."""
        try:
            return int(self.read(path) or "", base)
        except ValueError:
            return None

    def entries(self, path: str) -> list[str]:
        """The names in a folder, sorted; empty when it cannot be read."""
        try:
            return sorted(entry.name for entry in (self._prefix / path).iterdir())
        except OSError:
            return []

    def exists(self, path: str) -> bool:
        """Whether there is something at `path`."""
        try:
            return (self._prefix / path).exists()
        except OSError:
            return False

    def missing(self, fact: str, reason: str) -> None:
        """Note that a fact is missing."""
        self.unknown[fact] = reason
