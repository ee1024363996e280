"""The limits that a worker puts on itself before it touches anything foreign.

They back up the limits that `supervise` enforces from outside. Each is taken where the system
offers it and skipped where it does not; nothing relies on one of them alone.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import resource
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_WATCHDOG_GRACE_SECONDS: Final = 5.0
_ADDRESS_SLACK_BYTES: Final = 512 * 1024 * 1024
"""Address space that libraries map and never touch: thread stacks, allocator arenas."""


def die_with_parent() -> None:
    """Ask Linux to kill this process when the thread that started it is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def leave_no_core() -> None:
    """No core dumps: a crashing model would fill the disk with them."""
    _lower(resource.RLIMIT_CORE, 0)


def limit_memory(limit_bytes: int) -> None:
    """Make one huge allocation fail at once, before the watcher can see its pages.

    The limit is on address space, of which a process has more than it uses; so it is generous, and
    the resident size is watched from outside.
    """
    if sys.platform == "linux":
        _lower(resource.RLIMIT_AS, _address_space_bytes() + limit_bytes + _ADDRESS_SLACK_BYTES)


def end_after(seconds: float) -> None:
    """End this process from a thread of C, which needs no Python lock, if nobody else does."""
    faulthandler.dump_traceback_later(seconds + _WATCHDOG_GRACE_SECONDS, exit=True)


def step_aside() -> None:
    """Give way to everything else; for work whose speed nobody measures."""
    os.nice(10)


def _lower(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    wanted = value if hard == resource.RLIM_INFINITY else min(value, hard)
    try:
        resource.setrlimit(kind, (wanted, wanted))
    except (OSError, ValueError):
        return  # a platform without this limit


def _address_space_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
