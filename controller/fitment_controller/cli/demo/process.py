"""A child process of the demonstration: its output in a file, gone when the demonstration ends."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from fitment_controller.errors import ControllerError

_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.1
_TAIL_BYTES = 2000


class DemoError(ControllerError):
    """A stage of the demonstration did not get where it should."""

    kind = "demo"


class ChildProcess:
    """Runs a command, its standard output and error in `log_file`.

    Args:
        name: for messages.
        command: the whole command line.
        log_file: gets both streams.
    """

    def __init__(self, name: str, command: Sequence[str], log_file: Path) -> None:
        self.name = name
        self.log_file = log_file
        with log_file.open("ab") as log:
            self._process = subprocess.Popen(
                list(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def __enter__(self) -> ChildProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Ask it to stop, and make it."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def check(self) -> None:
        """Raise when it has ended although nobody asked it to.

        Raises:
            DemoError: it ended; carries the end of its output.
        """
        status = self._process.poll()
        if status is not None:
            raise DemoError(
                f"{self.name} ended with status {status}: {self.tail()}",
                f"The whole output is in {self.log_file}",
            )

    def tail(self) -> str:
        """The end of what it wrote."""
        with self.log_file.open("rb") as log:
            log.seek(max(self.log_file.stat().st_size - _TAIL_BYTES, 0))
            return log.read().decode(errors="replace").strip()


def wait_until(
    done: Callable[[], bool], what: str, limit_seconds: float, children: Sequence[ChildProcess]
) -> None:
    """Poll until `done`, watching the children meanwhile.

    Raises:
        DemoError: a child ended, or the limit passed.
    """
    deadline = time.monotonic() + limit_seconds
    while not done():
        for child in children:
            child.check()
        if time.monotonic() > deadline:
            logs = ", ".join(sorted({str(child.log_file.parent) for child in children}))
            raise DemoError(
                f"{what} took longer than {limit_seconds:.0f} s", f"See the logs in {logs}"
            )
        time.sleep(_POLL_SECONDS)
