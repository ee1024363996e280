"""Errors to messages on standard error and to exit statuses that scripts can rely on."""

from __future__ import annotations

import sys
from enum import IntEnum
from typing import Final

from fitment_controller.client import ApiError
from fitment_controller.errors import ControllerError


class ExitStatus(IntEnum):
    """What a command's end says."""

    OK = 0
    ERROR = 1
    USAGE = 2
    """Wrong arguments, or an invalid profile."""
    NOT_FOUND = 3
    UNAUTHORIZED = 4
    CONFLICT = 5
    UNREACHABLE = 6
    GATE_FAILED = 7
    """A rollout failed at a gate or was aborted."""
    TIMEOUT = 8


_BY_KIND: Final = {
    "not_found": ExitStatus.NOT_FOUND,
    "unauthorized": ExitStatus.UNAUTHORIZED,
    "forbidden": ExitStatus.UNAUTHORIZED,
    "conflict": ExitStatus.CONFLICT,
    "plan_refused": ExitStatus.CONFLICT,
    "missing_blobs": ExitStatus.CONFLICT,
    "unreachable": ExitStatus.UNREACHABLE,
    "bad_request": ExitStatus.USAGE,
    "settings": ExitStatus.USAGE,
    "profile": ExitStatus.USAGE,
    "usage": ExitStatus.USAGE,
}


class UsageError(ControllerError):
    """Arguments that contradict each other or lack something."""

    kind = "usage"


def exit_status(error: ControllerError) -> ExitStatus:
    """The status for an error, raised here or answered by the controller."""
    kind = error.reason if isinstance(error, ApiError) else error.kind
    return _BY_KIND.get(kind, ExitStatus.ERROR)


def report(error: ControllerError) -> ExitStatus:
    """Says what was wrong and what to do, and returns the status to exit with."""
    say(f"error: {error.detail}")
    if error.next_step:
        say(f"next:  {error.next_step}")
    return exit_status(error)


def say(message: str) -> None:
    """A line for people, on standard error."""
    print(message, file=sys.stderr, flush=True)  # noqa: T201 - the one place that speaks
