"""The phases of a deployment on a device, and the one table that says how they follow each other.

A deployment is one device bringing one model to one assignment of one generation. The agent
persists the phase before it acts on it, so a process killed anywhere resumes from the table.
Anything that is not in the table is an error, never a guess.

    offered -> waiting(why) -> fetching -> verifying -> trial -> activating -> active
                     any failure -> rolled_back, with the reason
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from fitment_contract.errors import TransitionError


class Phase(str, Enum):
    """Where a deployment stands."""

    OFFERED = "offered"
    """The assignment is journalled; nothing was done for it yet."""
    WAITING = "waiting"
    """A condition (battery, meter, window, disk, a later retry) holds it back."""
    FETCHING = "fetching"
    """Bytes are being transferred into a partial file."""
    VERIFYING = "verifying"
    """The complete file's size and digest are being checked."""
    TRIAL = "trial"
    """A child process loads it, runs the golden inputs and benchmarks it."""
    ACTIVATING = "activating"
    """Blob and pointer are being made durable."""
    ACTIVE = "active"
    """Applications get this variant; it was loaded, checked and measured here."""
    ROLLED_BACK = "rolled_back"
    """It failed or was withdrawn; the previous variant is the one in use."""


class PhaseEvent(str, Enum):
    """What moves a deployment from one phase to the next."""

    START = "start"
    DEFER = "defer"
    FETCHED = "fetched"
    VERIFIED = "verified"
    PROVED = "proved"
    ACTIVATED = "activated"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"


TERMINAL: Final = frozenset({Phase.ACTIVE, Phase.ROLLED_BACK})
"""Phases in which a deployment rests until a new generation or a withdrawal."""

TRANSITIONS: Final[dict[tuple[Phase, PhaseEvent], Phase]] = {
    (Phase.OFFERED, PhaseEvent.START): Phase.FETCHING,
    (Phase.OFFERED, PhaseEvent.DEFER): Phase.WAITING,
    (Phase.OFFERED, PhaseEvent.FAILED): Phase.ROLLED_BACK,
    (Phase.WAITING, PhaseEvent.START): Phase.FETCHING,
    (Phase.WAITING, PhaseEvent.FAILED): Phase.ROLLED_BACK,
    (Phase.FETCHING, PhaseEvent.FETCHED): Phase.VERIFYING,
    (Phase.FETCHING, PhaseEvent.DEFER): Phase.WAITING,
    (Phase.FETCHING, PhaseEvent.FAILED): Phase.ROLLED_BACK,
    (Phase.VERIFYING, PhaseEvent.VERIFIED): Phase.TRIAL,
    (Phase.VERIFYING, PhaseEvent.DEFER): Phase.WAITING,
    (Phase.VERIFYING, PhaseEvent.FAILED): Phase.ROLLED_BACK,
    (Phase.TRIAL, PhaseEvent.PROVED): Phase.ACTIVATING,
    (Phase.TRIAL, PhaseEvent.DEFER): Phase.WAITING,
    (Phase.TRIAL, PhaseEvent.FAILED): Phase.ROLLED_BACK,
    (Phase.ACTIVATING, PhaseEvent.ACTIVATED): Phase.ACTIVE,
    (Phase.ACTIVATING, PhaseEvent.FAILED): Phase.ROLLED_BACK,
    (Phase.ACTIVE, PhaseEvent.WITHDRAWN): Phase.ROLLED_BACK,
}


def next_phase(phase: Phase, event: PhaseEvent) -> Phase:
    """The phase that `event` leads to from `phase`.

    Raises:
        TransitionError: the table has no such transition.
    """
    try:
        return TRANSITIONS[phase, event]
    except KeyError:
        raise TransitionError(f"no event {event.value!r} in phase {phase.value!r}") from None


class FailureReason(str, Enum):
    """Why a deployment was rolled back. The device reports exactly one of these.

    The first group says that the bytes could not be had as announced, the second that the model
    does not work on this device, the third that the device itself was in the way, the last that
    somebody asked for it.
    """

    NOT_FOUND = "not_found"
    """Every URL answered 404 or 410."""
    REFUSED = "refused"
    """Every URL answered with another final client error (401, 403, 416 and the like)."""
    UNREACHABLE = "unreachable"
    """No URL could be reached before the attempts ran out."""
    TRUNCATED = "truncated"
    """Fewer bytes than announced, and the server says that there are no more."""
    OVERSIZED = "oversized"
    """More bytes than announced; the transfer was stopped at the announced length."""
    DIGEST_MISMATCH = "digest_mismatch"
    """As long as announced, but not the announced content."""

    UNSUPPORTED = "unsupported"
    """No runtime on this device reads the format, or its version is too old for the file."""
    LOAD_FAILED = "load_failed"
    """The runtime refused the file."""
    INFERENCE_FAILED = "inference_failed"
    """The runtime loaded the file and failed to run it."""
    GOLDEN_MISMATCH = "golden_mismatch"
    """The outputs for the golden inputs are not what the build host computed."""
    TIMED_OUT = "timed_out"
    """The trial took longer than its wall limit."""
    MEMORY_EXCEEDED = "memory_exceeded"
    """The trial took more memory than its limit."""
    CRASHED = "crashed"
    """The runtime's process died from a signal."""
    CRASH_LOOP = "crash_loop"
    """The agent itself was killed in this phase as often as it tries."""

    DISK_FULL = "disk_full"
    """There is no room for the file and its reserve."""
    STORAGE_FAILED = "storage_failed"
    """The device's storage could not be read or written."""
    DEADLINE_PASSED = "deadline_passed"
    """The assignment's deadline passed before it was proved."""

    WITHDRAWN = "withdrawn"
    """The controller or a person took the variant back after it was active."""
    INTERNAL = "internal"
    """The agent failed in a way that it has no word for; the detail says how."""
