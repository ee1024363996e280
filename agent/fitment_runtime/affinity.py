"""Keeps the calling thread, and every thread that it starts meanwhile, on some of the cores.

Linux threads begin on the cores of the thread that starts them. So a runtime whose threads are
started in here stays there, whatever library it is and whatever it knows of cores itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fitment_runtime.errors import UnsupportedFormat


def usable_cores() -> tuple[int, ...]:
    """The cores that this process may use; all of them where the system does not tell."""
    if sys.platform == "linux":
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


@contextmanager
def pinned(cores: Sequence[int]) -> Iterator[None]:
    """Run the calling thread on `cores` alone; on those it had before when none are named.

    Raises:
        UnsupportedFormat: the system does not let this process use any of them.
    """
    if not cores:
        yield
        return
    if sys.platform != "linux":
        raise UnsupportedFormat("this system does not let a thread choose its cores")
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, cores)
    except (OSError, ValueError, OverflowError) as error:
        names = ", ".join(map(str, cores))
        raise UnsupportedFormat(f"the cores {names} cannot be used here: {error}") from error
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
