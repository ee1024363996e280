"""A broker process: started, waited for, restarted when it dies, and never left behind."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from fitment_controller.broker import guard
from fitment_controller.broker.errors import BrokerStartError

_log = logging.getLogger(__name__)

_GRACE_SECONDS = 5.0
_START_LIMIT_SECONDS = 20.0
_POLL_SECONDS = 0.02
_BACKOFF_SECONDS = (0.2, 10.0)
_STEADY_SECONDS = 30.0
_LOG_LIMIT_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class ChildCommand:
    """What to run and where its traces go.

    Attributes:
        name: the engine's name, for people.
        arguments: the whole command line. It must name a file of this data directory, because an
            orphan of an earlier run is recognised by its command line.
        pid_file: holds the process id of the running child.
        log_file: gets standard output and standard error; rotated once at a start.
        answers: whether the child is ready to serve.
    """

    name: str
    arguments: Sequence[str]
    pid_file: Path
    log_file: Path
    answers: Callable[[], bool]


class SupervisedChild:
    """Keeps one child process running until it is stopped.

    Args:
        command: what to keep running.
    """

    def __init__(self, command: ChildCommand) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None
        self.restarts = 0

    def start(self) -> None:
        """Starts the child and returns when it answers.

        Raises:
            BrokerStartError: it ended, or did not answer in time.
        """
        self._stopping.clear()
        reclaim_orphan(self._command.pid_file, self._command.arguments)
        self._process = self._spawn()
        try:
            self._wait_until_it_answers(self._process)
        except BrokerStartError:
            self._end(self._process)
            raise
        self._watcher = threading.Thread(
            target=self._watch, name=f"{self._command.name}-watch", daemon=True
        )
        self._watcher.start()

    def stop(self) -> None:
        """Stops the child and returns when it is gone. Safe to call twice."""
        self._stopping.set()
        if self._process is not None:
            self._end(self._process)
        if self._watcher is not None:
            self._watcher.join()

    def running(self) -> bool:
        """Whether the child lives now."""
        return self._process is not None and self._process.poll() is None

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = self._command
        _rotate(command.log_file)
        guarded = [str(command.pid_file), str(_GRACE_SECONDS), *command.arguments]
        with command.log_file.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", str(guard.__file__), *guarded],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the controller, which then stops us
            )

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_LIMIT_SECONDS
        while time.monotonic() < deadline and not self._stopping.is_set():
            if process.poll() is not None:
                raise BrokerStartError(
                    f"{self._command.name} ended at once (status {process.returncode}): "
                    f"{_last_line(self._command.log_file)}",
                    f"read {self._command.log_file}",
                )
            if self._command.answers() and process.poll() is None:
                return
            time.sleep(_POLL_SECONDS)
        raise BrokerStartError(
            f"{self._command.name} did not answer within {_START_LIMIT_SECONDS:.0f} s",
            f"read {self._command.log_file}",
        )

    def _watch(self) -> None:
        """Restarts the child with growing pauses; a steady run makes the next pause short again."""
        shortest, longest = _BACKOFF_SECONDS
        pause = shortest
        while True:
            assert self._process is not None
            started = time.monotonic()
            status = self._process.wait()
            if time.monotonic() - started > _STEADY_SECONDS:
                pause = shortest
            if self._stopping.wait(pause):
                return
            pause = min(pause * 2, longest)
            _log.warning("%s ended with status %d; starting it again", self._command.name, status)
            self._restart()

    def _restart(self) -> None:
        self.restarts += 1
        _close_input(self._process)
        reclaim_orphan(self._command.pid_file, self._command.arguments)
        try:
            self._process = self._spawn()
        except OSError as error:
            _log.error("%s cannot be started: %s", self._command.name, error)
            return
        if self._stopping.is_set():  # stop() may have looked at the process before this one
            self._end(self._process)

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        _close_input(process)
        try:
            process.wait(_GRACE_SECONDS * 2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def reclaim_orphan(pid_file: Path, arguments: Sequence[str]) -> bool:
    """Ends the child of an earlier run whose controller was killed; True if there was one.

    The process named by `pid_file` is touched only when its command line is exactly ours: process
    ids are used again by others.
    """
    try:
        process = psutil.Process(int(pid_file.read_text()))
        if process.cmdline() != list(arguments):
            return False
        process.terminate()
        try:
            process.wait(_GRACE_SECONDS)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(_GRACE_SECONDS)
    except (OSError, ValueError, psutil.Error):
        return False
    return True


def _close_input(process: subprocess.Popen[bytes] | None) -> None:
    """Tells the guard to stop its child."""
    if process is not None and process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()


def _rotate(log_file: Path) -> None:
    if log_file.exists() and log_file.stat().st_size > _LOG_LIMIT_BYTES:
        log_file.replace(log_file.with_name(f"{log_file.name}.1"))


def _last_line(log_file: Path) -> str:
    lines = log_file.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
