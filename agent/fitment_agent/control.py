"""One agent per state directory, and how the command line speaks with it.

A lock says whether an agent runs and holds its process id. A request is a file in `requests/`,
announced by SIGUSR1; its answer is written beside it. No socket listens anywhere.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from fitment_agent.errors import (
    AgentError,
    AlreadyRunningError,
    DaemonTimeoutError,
    RollbackRefusedError,
    StorageError,
    UnknownModelError,
)

_POLL_SECONDS: Final = 0.05
_ERRORS: Final = {
    kind.__name__: kind for kind in (UnknownModelError, RollbackRefusedError, StorageError)
}


class RunLock:
    """Held by the one agent of a state directory for as long as its process lives.

    Args:
        state_dir: the agent's state directory.
        device_id: by which name it speaks.
    """

    def __init__(self, state_dir: Path, device_id: str) -> None:
        self._path = state_dir / "agent.lock"
        self._device_id = device_id
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock. Storage that cannot be written lets the agent run without.

        Raises:
            AlreadyRunningError: another agent has it.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError:
            return
        if not _try_lock(descriptor):
            os.close(descriptor)
            raise AlreadyRunningError(
                f"Another agent runs in {self._path.parent}.",
                "Stop it first, or give this one another --state-dir.",
            )
        self._descriptor = descriptor
        with suppress(OSError):  # a full disk: nobody can ask who holds it, and it is held
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} {self._device_id}".encode(), 0)

    def release(self) -> None:
        """Give the lock back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class RunningAgent(NamedTuple):
    """The agent that holds a state directory now."""

    pid: int
    device_id: str


def running_agent(state_dir: Path) -> RunningAgent | None:
    """The agent that holds the state directory; None when none does."""
    try:
        descriptor = os.open(state_dir / "agent.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if _try_lock(descriptor):
            return None
        pid, _, device_id = os.pread(descriptor, 256, 0).decode().partition(" ")
        return RunningAgent(int(pid), device_id) if pid else None
    finally:
        os.close(descriptor)


def ask(state_dir: Path, pid: int, request: dict[str, str], wait_seconds: float = 15.0) -> None:
    """Hand a request to the running agent and wait until it is done.

    Raises:
        AgentError: as the agent answered.
        DaemonTimeoutError: it did not answer in time.
    """
    folder = state_dir / "requests"
    path = folder / f"{uuid.uuid4().hex}.json"
    answer = path.with_suffix(".answer")
    try:
        folder.mkdir(exist_ok=True)
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(request), encoding="utf-8")
        temporary.rename(path)
        os.kill(pid, signal.SIGUSR1)
    except OSError as error:
        raise StorageError(
            f"The agent cannot be asked: {error}.", "Run this as the agent's user."
        ) from None
    deadline = time.monotonic() + wait_seconds
    while not answer.exists():
        if time.monotonic() > deadline:
            path.unlink(missing_ok=True)
            raise DaemonTimeoutError(
                f"The agent (process {pid}) did not answer within {wait_seconds:g} s.",
                "Look at its log.",
            )
        time.sleep(_POLL_SECONDS)
    content = json.loads(answer.read_bytes())
    answer.unlink(missing_ok=True)
    if "error" in content:
        raise _ERRORS.get(content["error"], StorageError)(content["detail"], content["next_step"])


def answer_requests(state_dir: Path, handle: Callable[[dict[str, Any]], None]) -> None:
    """Handle every request that waits, and write its answer.

    Args:
        state_dir: the agent's state directory.
        handle: does what a request asks for; its `AgentError` becomes the answer.
    """
    for path in sorted((state_dir / "requests").glob("*.json")):
        try:
            request = json.loads(path.read_bytes())
            path.unlink()
        except (OSError, ValueError):
            continue
        content: dict[str, str] = {}
        try:
            handle(request)
        except AgentError as error:
            content = _answer(type(error).__name__, error.detail, error.next_step)
        except Exception as error:  # noqa: BLE001 - whoever asked must not wait in vain
            detail = f"The agent failed: {type(error).__name__}: {error}"
            content = _answer("StorageError", detail, "Look at its log.")
        temporary = path.with_suffix(".new")
        with suppress(OSError):  # whoever asked gives up after a while
            temporary.write_text(json.dumps(content), encoding="utf-8")
            temporary.rename(path.with_suffix(".answer"))


def _answer(error: str, detail: str, next_step: str) -> dict[str, str]:
    return {"error": error, "detail": detail, "next_step": next_step}


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
