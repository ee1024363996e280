"""The kinds of steps that an installation is made of, each with its way back."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath
from typing import Protocol

from fitment_agent.install.errors import InstallError
from fitment_agent.install.machine import Machine, temporary_name


class Outcome(str, Enum):
    """What became of a step."""

    WRITTEN = "written"
    UNCHANGED = "unchanged"
    REMOVED = "removed"
    ABSENT = "not there"
    RAN = "ran"
    LATER = "later, by itself"
    KEPT = "kept"


Move = Callable[[Machine, bool], Outcome | None]


class Step(Protocol):
    """One thing to do; doing it again changes nothing."""

    @property
    def name(self) -> str:
        """A path or a command."""

    def apply(self, machine: Machine, dry: bool) -> Outcome | None:
        """Do it, or with `dry` only look; None when there is nothing to do in this direction."""

    def undo(self, machine: Machine, dry: bool) -> Outcome | None:
        """Take it back."""


@dataclass(frozen=True)
class Put:
    """A file.

    Attributes:
        path: where it goes.
        content: None when nobody gave one: what is there stays, and uninstalling removes it.
        folders: how many folders above it are this program's own, and go when they are empty.
        secret: its content is not shown.
    """

    path: str
    content: bytes | None
    mode: int = 0o644
    folders: int = 0
    secret: bool = False

    @property
    def name(self) -> str:
        """The path."""
        return self.path

    def apply(self, machine: Machine, dry: bool) -> Outcome | None:
        """Write it, unless it is there as it should be."""
        if self.content is None:
            return None
        if machine.read(self.path) == self.content and self._has_mode(machine):
            if not dry:
                machine.path(temporary_name(self.path)).unlink(missing_ok=True)
            return Outcome.UNCHANGED
        if not dry:
            machine.write(self.path, self.content, self.mode)
        return Outcome.WRITTEN

    def undo(self, machine: Machine, dry: bool) -> Outcome | None:
        """Remove it, with what a cut-off installation left, and the folders that are empty then."""
        found = [
            machine.path(path)
            for path in (self.path, temporary_name(self.path))
            if machine.exists(path)
        ]
        if not dry:
            for path in found:
                path.unlink()
            _remove_empty(machine, self.path, self.folders)
        return Outcome.REMOVED if found else Outcome.ABSENT

    def _has_mode(self, machine: Machine) -> bool:
        status = machine.path(self.path).lstat()
        return stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) == self.mode


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    path: str
    target: str
    folders: int = 0

    @property
    def name(self) -> str:
        """The path."""
        return self.path

    def apply(self, machine: Machine, dry: bool) -> Outcome | None:
        """Make it."""
        path = machine.path(self.path)
        if path.is_symlink() and str(path.readlink()) == self.target:
            return Outcome.UNCHANGED
        if not dry:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.symlink_to(self.target)
        return Outcome.WRITTEN

    def undo(self, machine: Machine, dry: bool) -> Outcome | None:
        """Remove it."""
        there = machine.exists(self.path)
        if not dry:
            machine.path(self.path).unlink(missing_ok=True)
            _remove_empty(machine, self.path, self.folders)
        return Outcome.REMOVED if there else Outcome.ABSENT


@dataclass(frozen=True)
class Leftover:
    """A folder that others fill while the agent runs; only uninstalling has to do with it.

    Attributes:
        keep: uninstalling leaves it.
    """

    path: str
    keep: bool = False

    @property
    def name(self) -> str:
        """The path."""
        return self.path

    def apply(self, machine: Machine, dry: bool) -> Outcome | None:
        """Nothing: the service manager makes it."""
        return None

    def undo(self, machine: Machine, dry: bool) -> Outcome | None:
        """Remove it with all that it holds. Where it leads elsewhere, only the link is removed."""
        if not machine.exists(self.path):
            return Outcome.ABSENT
        if self.keep:
            return Outcome.KEPT
        path = machine.path(self.path)
        if not dry and path.is_symlink():
            path.unlink()
        elif not dry and path.is_mount():  # a disk of its own stays mounted, and empty
            for entry in path.iterdir():
                is_folder = entry.is_dir() and not entry.is_symlink()
                shutil.rmtree(entry) if is_folder else entry.unlink()
        elif not dry:
            shutil.rmtree(path)
        return Outcome.REMOVED


@dataclass(frozen=True)
class Run:
    """A command of the service manager, run when installing.

    Attributes:
        needs: a path without which it has nobody to speak to. It is left out then: the service
            manager does the same when it starts, or sees the service.
    """

    command: tuple[str, ...]
    needs: str | None = None

    @property
    def name(self) -> str:
        """The command."""
        return " ".join(self.command)

    def apply(self, machine: Machine, dry: bool) -> Outcome | None:
        """Run it on the running system."""
        return _run(self.command, self.needs, machine, dry) or Outcome.LATER

    def undo(self, machine: Machine, dry: bool) -> Outcome | None:
        """Nothing: `RunBack` is the other direction."""
        return None


@dataclass(frozen=True)
class RunBack:
    """A command of the service manager, run when uninstalling; see `Run`."""

    command: tuple[str, ...]
    needs: str | None = None

    @property
    def name(self) -> str:
        """The command."""
        return " ".join(self.command)

    def apply(self, machine: Machine, dry: bool) -> Outcome | None:
        """Nothing."""
        return None

    def undo(self, machine: Machine, dry: bool) -> Outcome | None:
        """Run it on the running system."""
        return _run(self.command, self.needs, machine, dry)


def _run(
    command: tuple[str, ...], needs: str | None, machine: Machine, dry: bool
) -> Outcome | None:
    if machine.runner is None or (needs is not None and not machine.exists(needs)):
        return None
    if not dry:
        machine.runner.run(command)
    return Outcome.RAN


@dataclass(frozen=True)
class Account:
    """The user that the agent runs as.

    Attributes:
        user: its name, and that of its group.
        command: makes it; empty where something else does.
        keep: uninstalling leaves it, because it owns what is kept.
    """

    user: str
    command: tuple[str, ...] = ()
    keep: bool = False

    @property
    def name(self) -> str:
        """The user."""
        return f"user {self.user}"

    def apply(self, machine: Machine, dry: bool) -> Outcome | None:
        """Make it; in a tree of another machine the service does when it is started."""
        if machine.runner is None or not self.command:
            return Outcome.LATER
        if self._is_there(machine):
            return Outcome.UNCHANGED
        if not dry:
            machine.runner.run(self.command)
        return Outcome.WRITTEN

    def undo(self, machine: Machine, dry: bool) -> Outcome | None:
        """Delete it, with its group."""
        if machine.runner is None:
            return None
        if not self._is_there(machine):
            return Outcome.ABSENT
        if self.keep:
            return Outcome.KEPT
        if not dry:
            machine.runner.run(("userdel", self.user))
        return Outcome.REMOVED

    def _is_there(self, machine: Machine) -> bool:
        users = (machine.read("/etc/passwd") or b"").splitlines()
        return any(line.startswith(f"{self.user}:".encode()) for line in users)


@dataclass(frozen=True)
class Result:
    """A step and what became of it."""

    name: str
    outcome: Outcome

    @property
    def was_there(self) -> bool:
        """Whether there was something to take back."""
        return self.outcome is not Outcome.ABSENT


def install(steps: Iterable[Step], machine: Machine, dry: bool = False) -> list[Result]:
    """Do all steps in their order.

    Raises:
        InstallError: one could not be done; running the same again goes on from there.
    """
    return _walk([(step.name, step.apply) for step in steps], machine, dry)


def uninstall(steps: Sequence[Step], machine: Machine, dry: bool = False) -> list[Result]:
    """Take all steps back, the last one first.

    Raises:
        InstallError: one could not be taken back; running the same again goes on from there.
    """
    return _walk([(step.name, step.undo) for step in reversed(steps)], machine, dry)


def _walk(moves: Iterable[tuple[str, Move]], machine: Machine, dry: bool) -> list[Result]:
    results = []
    for name, move in moves:
        try:
            outcome = move(machine, dry)
        except OSError as error:
            raise InstallError(
                f"{name}: {error.strerror or error}.",
                "Mend that, then run the same command again: it goes on where it stopped.",
            ) from None
        if outcome is not None:
            results.append(Result(name, outcome))
    return results


def _remove_empty(machine: Machine, path: str, folders: int) -> None:
    for folder in list(PurePosixPath(path).parents)[:folders]:
        try:
            machine.path(str(folder)).rmdir()
        except OSError:  # somebody else's files are in it, or it is gone already
            return
