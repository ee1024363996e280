"""Start one worker, watch it, and say how it ended, whatever happens to it.

A worker runs what is hostile or broken until shown otherwise, so nothing here waits for its good
will: time and memory are limited from outside, its output is bounded, and its death is translated
into one of the contract's reasons. The daemon never imports what the worker imports.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

from pydantic import ValidationError

from fitment_agent.worker.jobs import EVENTS, FinalEvent, Job, Progress, WorkerEvent, WorkerFailed
from fitment_contract.phase import FailureReason

_POLL_SECONDS: Final = 0.05
_EXIT_GRACE_SECONDS: Final = 10.0
_MAX_LINE_BYTES: Final = 1 << 20
_NOISE_BYTES: Final = 4096
_READ_BYTES: Final = 1 << 16
_SECRET_WORDS: Final = ("TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "_KEY")
_MEMORY_SIGNS: Final = (b"bad_alloc", b"MemoryError", b"Cannot allocate memory", b"out of memory")
_WATCHDOG_SIGN: Final = b"Timeout ("  # what faulthandler writes before it ends the process


class WorkerProcess:
    """One worker and the one thread that watches it.

    Args:
        job: what it is to do; sent over its standard input.
        wall_limit_seconds: killed after this; None for no limit.
        memory_limit_bytes: killed when its resident size is above this; None for no limit.
        on_event: called from the watching thread with every event. The last one is always exactly
            one `Done` or `WorkerFailed`, and comes when the process is gone. It must not wait for
            a thread that is calling `stop`.
    """

    def __init__(
        self,
        job: Job,
        *,
        wall_limit_seconds: float | None,
        memory_limit_bytes: int | None,
        on_event: Callable[[WorkerEvent], None],
    ) -> None:
        self._job = job
        self._wall_limit_seconds = wall_limit_seconds
        self._memory_limit_bytes = memory_limit_bytes
        self._on_event = on_event
        self._lock = threading.Lock()  # no signal is sent once the process may have been reaped
        self._process: subprocess.Popen[bytes] | None = None
        self._killed_for: WorkerFailed | None = None
        self._final: FinalEvent | None = None
        self._bytes_transferred = 0
        self._noise = b""
        self._thread = threading.Thread(target=self._run, name=f"{job.kind}-worker", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        with self._lock:
            running = self._process is not None and self._process.returncode is None
            return self._process.pid if self._process is not None and running else None

    def stop(self) -> None:
        """Kill and reap. When this returns, the last event was delivered.

        Called from `on_event` it only kills.
        """
        self._kill(
            WorkerFailed(
                reason=FailureReason.INTERNAL, detail="stopped by the agent", retryable=True
            )
        )
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        # Started here and not by the caller: on Linux the worker asks to be killed with its parent
        # *thread*, and only this thread is sure to live as long as the worker.
        try:
            process = self._start()
        except OSError as error:
            detail = f"the worker cannot be started: {error.strerror or error}"
            self._kill(WorkerFailed(reason=FailureReason.INTERNAL, detail=detail, retryable=True))
            process = None
        returncode = None
        with contextlib.suppress(Exception):  # why is kept by then, and somebody waits for it
            returncode = self._watch(process) if process is not None else None
        self._on_event(
            verdict(self._final, self._killed_for, returncode, self._noise, self._bytes_transferred)
        )

    def _start(self) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if self._killed_for is not None:
                return None
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fitment_agent.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_child_environment(os.environ),
                start_new_session=True,
            )
            return self._process

    def _watch(self, process: subprocess.Popen[bytes]) -> int:
        started = time.monotonic()
        deadline = (
            started + self._wall_limit_seconds if self._wall_limit_seconds is not None else None
        )
        try:
            self._send_job(process)
            self._read_until_closed(process, deadline)
            grace = time.monotonic() + _EXIT_GRACE_SECONDS
            return self._reap(process, grace if deadline is None else min(grace, deadline))
        except Exception as error:
            detail = f"the worker cannot be watched: {type(error).__name__}: {error}"
            self._kill(WorkerFailed(reason=FailureReason.INTERNAL, detail=detail, retryable=True))
            raise
        finally:
            # Also when `on_event` raised: no worker outlives the thread that watches it.
            self._kill(_internal("the agent stopped watching the worker"))
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
            process.wait()

    def _send_job(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(self._job.model_dump_json().encode() + b"\n")
            process.stdin.flush()  # stays open: its end tells the worker that the daemon died
        except BrokenPipeError:
            return  # it died already; how is seen when it is reaped

    def _read_until_closed(self, process: subprocess.Popen[bytes], deadline: float | None) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        pending = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            selector.register(process.stderr, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(self._seconds_to_next_check(deadline))
                self._enforce(process, deadline)
                for key, _ in ready:
                    data = os.read(key.fd, _READ_BYTES)
                    if not data:
                        selector.unregister(key.fileobj)
                    elif key.fileobj is process.stderr:
                        self._noise = (self._noise + data)[-_NOISE_BYTES:]
                    else:
                        pending = self._take_lines(pending + data)

    def _take_lines(self, data: bytes) -> bytes:
        """Handle every complete line; what is left over."""
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._take_line(line)
        if len(rest) > _MAX_LINE_BYTES:
            self._kill(_internal("the worker wrote a line without end"))
            return b""
        return rest

    def _take_line(self, line: bytes) -> None:
        try:
            event = EVENTS.validate_json(line)
        except ValidationError:
            self._kill(_internal("the worker wrote a line that is no event"))
            return
        if isinstance(event, Progress):
            self._bytes_transferred = event.bytes_transferred
            self._on_event(event)
        elif not isinstance(event, WorkerFailed) and event.kind != self._job.kind:
            self._kill(_internal(f"the worker answered {event.kind} to {self._job.kind}"))
        else:
            self._final = event

    def _seconds_to_next_check(self, deadline: float | None) -> float | None:
        if self._memory_limit_bytes is not None:
            return _POLL_SECONDS
        return None if deadline is None else max(deadline - time.monotonic(), 0.0) + 0.001

    def _enforce(self, process: subprocess.Popen[bytes], deadline: float | None) -> None:
        if deadline is not None and time.monotonic() >= deadline:
            detail = f"killed after its wall limit of {self._wall_limit_seconds:g} s"
            self._kill(WorkerFailed(reason=FailureReason.TIMED_OUT, detail=detail))
        limit = self._memory_limit_bytes
        if limit is not None and (size := resident_bytes(process.pid)) > limit:
            detail = f"killed at a resident size of {size} bytes; the limit is {limit}"
            self._kill(WorkerFailed(reason=FailureReason.MEMORY_EXCEEDED, detail=detail))

    def _reap(self, process: subprocess.Popen[bytes], deadline: float) -> int:
        while True:
            with self._lock:
                returncode = process.poll()
            if returncode is not None:
                return returncode
            if time.monotonic() >= deadline:
                self._kill(_internal("the worker closed its output and did not end"))
            time.sleep(_POLL_SECONDS / 10)

    def _kill(self, why: WorkerFailed) -> None:
        """Kill the worker's process group; the first reason counts."""
        with self._lock:
            if self._process is not None and self._process.returncode is not None:
                return
            self._killed_for = self._killed_for or why
            if self._process is not None:
                # It may have died unreaped; macOS then refuses the signal.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, signal.SIGKILL)


def verdict(
    final: FinalEvent | None,
    killed_for: WorkerFailed | None,
    returncode: int | None,
    noise: bytes,
    bytes_transferred: int,
) -> FinalEvent:
    """How a worker ended.

    Args:
        final: what it said last itself, which counts above all.
        killed_for: why it was killed from here.
        returncode: as `subprocess` gives it: negative for a signal.
        noise: the end of its standard error.
        bytes_transferred: as it said last.
    """
    if final is not None:
        return final
    if killed_for is not None:
        return killed_for.model_copy(update={"bytes_transferred": bytes_transferred})
    tail = noise.decode(errors="replace").strip()[-400:]
    if any(sign in noise for sign in _MEMORY_SIGNS):
        reason, what = FailureReason.MEMORY_EXCEEDED, "ran out of memory"
    elif _WATCHDOG_SIGN in noise:
        reason, what = FailureReason.TIMED_OUT, "was ended by its own watchdog"
    elif returncode is not None and returncode < 0:
        reason, what = FailureReason.CRASHED, f"was killed by {_signal_name(-returncode)}"
    else:
        reason, what = FailureReason.INTERNAL, f"ended with status {returncode} and no result"
    return WorkerFailed(
        reason=reason,
        detail=f"the worker {what}" + (f"; it said last: {tail}" if tail else ""),
        bytes_transferred=bytes_transferred,
    )


def resident_bytes(pid: int) -> int:
    """The resident size of a process; 0 when it is gone or the system does not tell."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return _resident_bytes_by_psutil(pid)


def _resident_bytes_by_psutil(pid: int) -> int:
    try:
        import psutil
    except ImportError:
        return 0
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def _child_environment(environment: os._Environ[str]) -> dict[str, str]:
    """The daemon's environment less what looks secret: a hostile model has no use for it."""
    kept = {
        name: value
        for name, value in environment.items()
        if not any(word in name.upper() for word in _SECRET_WORDS)
    }
    return {**kept, "PYTHONSAFEPATH": "1"}  # the current folder is no place to import from


def _internal(detail: str) -> WorkerFailed:
    return WorkerFailed(reason=FailureReason.INTERNAL, detail=detail)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
