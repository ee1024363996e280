"""Holds a child process that must not outlive the controller.

Run as a script with the standard library only: `python -I -S guard.py PID_FILE GRACE COMMAND...`.
The controller keeps the other end of this process's standard input open. However the controller
ends, also from SIGKILL, the system closes that end, and the child is stopped. A pipe does this on
every system; Linux's parent-death signal is bound to the thread that forked, and others have none.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading


def main(arguments: list[str]) -> int:
    """Runs the command until it ends or standard input does; returns a shell's exit status."""
    pid_file, grace_seconds, *command = arguments
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    _write_pid(pid_file, child.pid)
    threading.Thread(
        target=_stop_at_end_of_input, args=(child, float(grace_seconds)), daemon=True
    ).start()
    status = child.wait()
    return status if status >= 0 else 128 - status


def _write_pid(path: str, pid: int) -> None:
    """Atomically: a half-written number could be another process's."""
    scratch = f"{path}.{os.getpid()}"
    with open(scratch, "w", encoding="ascii") as file:
        file.write(str(pid))
    os.replace(scratch, path)


def _stop_at_end_of_input(child: subprocess.Popen[bytes], grace_seconds: float) -> None:
    while os.read(0, 64):
        pass
    child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(grace_seconds)
        return
    child.kill()


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))  # a thread may still wait for input; leave without joining it
