"""Facts that only a command tells, such as `nmcli` or `termux-battery-status`.

The daemon's loop may not wait for them: some take a second, and those of Termux:API hang for good
when its app is not installed. So answers are kept for a minute and more, a thread fetches new
ones, and a command that failed is left alone for a while.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol

_MAX_BYTES: Final = 256 * 1024
_TIMEOUT_SECONDS: Final = 4.0
_FRESH_SECONDS: Final = 90.0
_RETRY_SECONDS: Final = 600.0


@dataclass(frozen=True)
class Answer:
    """What a command wrote, or why it wrote nothing.

    Attributes:
        text: its standard output; None when it failed.
        fault: why it failed; empty when it did not.
    """

    text: str | None
    fault: str = ""


class Commands(Protocol):
    """Where the output of commands comes from."""

    def ask(self, command: tuple[str, ...], *, wait: bool) -> Answer:
        """What the command says.

        Args:
            command: its name and arguments; no shell reads them.
            wait: for an answer when there is none yet. Without, the latest answer is returned at
                once, and a new one is fetched behind the scenes when that is old.
        """


class RecordedCommands:
    """Output recorded in files: `commands/<name>`, arguments joined with dashes.

    Args:
        prefix: the folder that stands for a machine's root.
    """

    def __init__(self, prefix: Path) -> None:
        self._folder = prefix / "commands"

    def ask(self, command: tuple[str, ...], *, wait: bool) -> Answer:
        """The recorded output."""
        try:
            with (self._folder / "-".join(command)).open("rb") as file:
                return Answer(file.read(_MAX_BYTES).decode(errors="replace"))
        except (OSError, ValueError):
            return Answer(None, f"{command[0]} is not installed")


@dataclass
class _Known:
    """The state of one command."""

    answer: Answer | None = None
    stale_at: float = 0.0
    fetching: threading.Thread | None = None


class LiveCommands:
    """Commands of this machine.

    Args:
        clock: a clock that never jumps.
        timeout_seconds: a command is killed after this.
        fresh_seconds: how long an answer is good for; a failure is for `retry_seconds`.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        timeout_seconds: float = _TIMEOUT_SECONDS,
        fresh_seconds: float = _FRESH_SECONDS,
        retry_seconds: float = _RETRY_SECONDS,
    ) -> None:
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._fresh_seconds = fresh_seconds
        self._retry_seconds = retry_seconds
        self._known: dict[tuple[str, ...], _Known] = {}

    def ask(self, command: tuple[str, ...], *, wait: bool) -> Answer:
        """What the command says; see `Commands`."""
        known = self._known.setdefault(command, _Known())
        fetching = known.fetching
        if fetching is None and self._clock() >= known.stale_at:
            fetching = self._fetch(command, known)
        if known.answer is None and fetching is not None and wait:
            fetching.join()
        return known.answer or Answer(None, f"{command[0]} has not answered yet")

    def _fetch(self, command: tuple[str, ...], known: _Known) -> threading.Thread | None:
        program = shutil.which(command[0])
        if program is None:
            self._keep(known, Answer(None, f"{command[0]} is not installed"))
            return None
        run = partial(self._run, (program, *command[1:]), known)
        fetching = threading.Thread(target=run, name=command[0], daemon=True)
        known.fetching = fetching
        try:
            fetching.start()
        except RuntimeError as error:  # the system has no thread to give
            self._keep(known, Answer(None, f"{command[0]} cannot be asked: {error}"))
            return None
        return fetching

    def _run(self, command: tuple[str, ...], known: _Known) -> None:
        self._keep(known, run_command(command, self._timeout_seconds))

    def _keep(self, known: _Known, answer: Answer) -> None:
        good_for = self._retry_seconds if answer.text is None else self._fresh_seconds
        known.stale_at = self._clock() + good_for
        known.answer = answer
        known.fetching = None  # last: whoever sees this sees the answer


def run_command(command: tuple[str, ...], timeout_seconds: float) -> Answer:
    """Run a command to its end, which comes after `timeout_seconds` at the latest."""
    name = os.path.basename(command[0])
    deadline = time.monotonic() + timeout_seconds
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},  # words that can be compared
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return Answer(None, f"{name} cannot be started: {error}")
    try:
        content = _read_until(process, deadline)
        status = process.wait(max(deadline - time.monotonic(), 0.0))
    except subprocess.TimeoutExpired:
        return Answer(None, f"{name} did not answer within {timeout_seconds:g} s")
    finally:
        _end(process)
    if status != 0:
        return Answer(None, f"{name} ended with status {status}")
    return Answer(content.decode(errors="replace"))


def _read_until(process: subprocess.Popen[bytes], deadline: float) -> bytes:
    """What the command writes until it closes its output, writes too much, or time is up."""
    assert process.stdout is not None
    content = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while len(content) < _MAX_BYTES and selector.select(max(deadline - time.monotonic(), 0.0)):
            chunk = os.read(process.stdout.fileno(), _MAX_BYTES - len(content))
            if not chunk:
                break
            content += chunk
    return content


def _end(process: subprocess.Popen[bytes]) -> None:
    """No command outlives its time, nor what it started when it has to be killed."""
    assert process.stdout is not None
    process.stdout.close()
    if process.returncode is None:  # not reaped, so the number is still its own
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
