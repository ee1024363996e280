"""How an application says that somebody is using it, so that the agent keeps quiet meanwhile.

    from fitment_agent import foreground

    with foreground():
        ...  # while the application's window is in front

It is a shared lock on a file in the agent's state directory. Any number of applications hold it at
once, and the kernel lets go of it when one of them dies. Assignments that ask for quiet
(`quiet_in_foreground`) begin no transfer and no trial while anybody holds it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fitment_agent.errors import StorageError

_LOCK_FILE = "foreground.lock"


@contextmanager
def foreground(state_dir: Path | str | None = None) -> Iterator[None]:
    """Somebody is using this application for as long as the block lasts.

    Where no agent was ever started there is nobody to keep quiet, and nothing happens.

    Args:
        state_dir: the agent's state directory; found through the agent's settings when None.

    Raises:
        StorageError: the agent's lock file is not for this user to read.
    """
    descriptor = _opened(Path(state_dir) if state_dir is not None else _configured_state_dir())
    try:
        if descriptor is not None:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def prepare(state_dir: Path) -> None:
    """Make the lock file, which any user may read and only the agent may write."""
    with suppress(OSError):
        descriptor = os.open(state_dir / _LOCK_FILE, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        os.close(descriptor)


def is_in_use(state_dir: Path) -> bool:
    """Whether an application says that somebody is using it."""
    try:
        descriptor = os.open(state_dir / _LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks: nobody can say anything
        return False
    finally:
        os.close(descriptor)
    return False


def _opened(state_dir: Path) -> int | None:
    path = state_dir / _LOCK_FILE
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(
            f"{path} cannot be opened: {error.strerror}.",
            "Let this application's user read the agent's state directory.",
        ) from None


def _configured_state_dir() -> Path:
    from fitment_agent.settings import load_settings

    return load_settings().state_dir
