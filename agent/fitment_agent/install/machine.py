"""The machine that is installed on: a file system under a prefix, and the commands of its services.

Where a tree is prepared for later, no command is run, because it has no services yet. What commands
would do is written so that the first boot does it.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from fitment_agent.install.errors import InstallError

_COMMAND_SECONDS: Final = 180.0
_SECURE: Final = 0o600


class Runner(Protocol):
    """Runs the commands of service managers."""

    def run(self, command: tuple[str, ...]) -> None:
        """Run it to its end.

        Raises:
            InstallError: it is not there, or it failed.
        """


class SystemRunner:
    """Runs commands on this machine."""

    def run(self, command: tuple[str, ...]) -> None:
        """Run it to its end; see `Runner`."""
        line = " ".join(command)
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise InstallError(f"`{line}` failed: {error}.", _AGAIN) from None
        if done.returncode != 0:
            said = " ".join((done.stderr or done.stdout).split())[:400]
            raise InstallError(f"`{line}` ended with status {done.returncode}: {said}.", _AGAIN)


_AGAIN: Final = "Mend that, then run the same command again: it goes on where it stopped."


@dataclass(frozen=True)
class Machine:
    """Where things are put.

    Attributes:
        prefix: `/`, or the root of a tree that is prepared for another machine.
        runner: runs commands; None where the tree is not of the running system.
    """

    prefix: Path
    runner: Runner | None = None

    @classmethod
    def at(cls, prefix: Path) -> Machine:
        """The running system, when `prefix` is its root, or a tree."""
        whole = prefix.absolute()
        return cls(whole, SystemRunner() if whole == Path("/") else None)

    def path(self, path: str) -> Path:
        """Where an absolute path of the machine is from here."""
        return self.prefix / path.lstrip("/")

    def exists(self, path: str) -> bool:
        """Whether there is something at `path`."""
        return os.path.lexists(self.path(path))

    def read(self, path: str) -> bytes | None:
        """The content of a file; None when there is none.

        Raises:
            InstallError: there is one that cannot be read.
        """
        try:
            return self.path(path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise InstallError(f"{path} cannot be read: {error.strerror}.", _AGAIN) from None

    def write(self, path: str, content: bytes, mode: int) -> None:
        """Put a file there, whole or not at all; a secret is never readable in between."""
        target = self.path(path)
        temporary = self.path(temporary_name(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, _SECURE), "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        temporary.replace(target)


def temporary_name(path: str) -> str:
    """Under which name a file is written before it replaces the one at `path`."""
    return f"{path}.new"
