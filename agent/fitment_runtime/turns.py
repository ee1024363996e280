"""One timed pass at a time on one machine.

Several agents may share a machine: simulated devices do, and so do `fitment compress` and an agent
beside it. Timed together they would measure each other. The lock is the kernel's, on an empty file
that everybody may open: it falls with the process that holds it, and nothing is ever written.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_NAME: Final = "fitment-benchmark.lock"
_SHARED: Final = Path("/run/lock")  # a service's own /tmp is not everybody's
_POLL_SECONDS: Final = 0.02


@contextmanager
def own_turn(wait_seconds: float, folders: Sequence[Path] = ()) -> Iterator[bool]:
    """Hold the machine's turn for timing; go on without it rather than fail.

    Args:
        wait_seconds: how long to wait for others at most.
        folders: where the lock file may be; the first that can be used is.

    Yields:
        Whether the turn is held.
    """
    handle = _open(folders or (_SHARED, Path(tempfile.gettempdir())))
    if handle is None:
        yield False
        return
    try:
        yield _lock(handle, wait_seconds)
    finally:
        os.close(handle)


def _open(folders: Sequence[Path]) -> int | None:
    for folder in folders:
        for flags in (os.O_RDONLY, os.O_RDONLY | os.O_CREAT):
            # Another user's file in a shared folder may be opened, but not with O_CREAT.
            with suppress(OSError):
                return os.open(folder / _NAME, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    return None


def _lock(handle: int, wait_seconds: float) -> bool:
    try:
        import fcntl
    except ImportError:
        return False
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
        except OSError:  # a file system without locks
            return False
        else:
            return True
