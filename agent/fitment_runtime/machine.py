"""Reading a machine: small files under a root prefix, and commands. What fails is None.

Under a prefix that is not `/`, a command is the file `PREFIX/commands/<name>` with its recorded
output, arguments joined with dashes; so tests bring their own machine whole.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path("/")
_MAX_BYTES: Final = 256 * 1024
_MAX_DIGITS: Final = 24  # more than any counter of 64 bits has
_COMMAND_SECONDS: Final = 4.0


def text(path: Path) -> str | None:
    """What a file says, without space around it; None for nothing."""
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES).decode(errors="replace").strip() or None
    except (OSError, ValueError):  # ValueError: a path that no file can have
        return None


def number(path: Path) -> int | None:
    """The whole number in a file."""
    return whole_number(text(path))


def whole_number(said: str | None, base: int = 10) -> int | None:
    """A whole number as the kernel and commands write them."""
    if said is None or len(said) > _MAX_DIGITS:
        return None
    try:
        return int(said, base)
    except ValueError:
        return None


def command(root: Path, name: str, *arguments: str) -> str | None:
    """What a command of this machine prints; None when it is missing, fails or hangs."""
    if root != ROOT:
        return text(root / "commands" / "-".join((name, *arguments)))
    program = shutil.which(name)
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_COMMAND_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout[:_MAX_BYTES].decode(errors="replace").strip() or None
