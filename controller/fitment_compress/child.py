"""The parent's side of a child process: ask, wait, and say what happened when no answer comes."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import IO, Final

import psutil

from fitment_compress.errors import BY_NAME, CandidateError, WorkerError
from fitment_compress.jobs import Answer, AnswerT, Job, Told

POLL_SECONDS: Final = 0.1
TOLD: Final = "~"
"""How lines about work in progress begin; answers are JSON."""

_TAIL_BYTES: Final = 400


@dataclass(frozen=True)
class Limits:
    """What a child may take for one job.

    Attributes:
        wall_seconds: for a job that does not learn.
        learning_seconds: for one that does.
    """

    wall_seconds: float = 600.0
    learning_seconds: float = 4 * 3600.0
    memory_bytes: int = 4 * 1024**3


class Child:
    """A child process that is started when first asked, and again after it died.

    Args:
        limits: a child that exceeds them is killed.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[str] | None = None
        self._stopped = False
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `__exit__`

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._kill()
        self._stderr.close()

    def ask(
        self,
        job: Job[AnswerT],
        *,
        wall_seconds: float | None = None,
        told: Callable[[Told], None] = lambda _: None,
    ) -> AnswerT:
        """The answer to a job.

        Args:
            job: what to do.
            wall_seconds: in place of the limit that holds for every job.
            told: hears how far the child is.

        Raises:
            CompressError: what the child found wrong; the same class as in the child.
            WorkerError: the child crashed, hung, or took too much memory.
        """
        process = self._started()
        assert process.stdin is not None
        try:
            process.stdin.write(job.model_dump_json() + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise self._died(process) from None
        allowed = self._limits.wall_seconds if wall_seconds is None else wall_seconds
        deadline = time.monotonic() + allowed
        while (line := self._wait(process, deadline, allowed)).startswith(TOLD):
            told(Told.model_validate_json(line[len(TOLD) :]))
        answer = Answer.model_validate_json(line)
        if answer.result is None:
            raise BY_NAME.get(answer.error or "", CandidateError)(answer.problem, answer.fix)
        result: AnswerT = type(job).answer.model_validate_json(answer.result)  # type: ignore[assignment]  # `answer` is AnswerT's own class
        return result

    def stop(self) -> None:
        """Kill the process for good; may be called beside an `ask`, which then raises."""
        self._stopped = True
        process = self._process
        if process is not None:
            process.kill()

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._lines = SimpleQueue()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fitment_compress.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                text=True,
                encoding="utf-8",
            )
            threading.Thread(
                target=_forward, args=(self._process.stdout, self._lines), daemon=True
            ).start()
            if self._stopped:  # while there was no process yet that could be killed
                self._process.kill()
        return self._process

    def _wait(self, process: subprocess.Popen[str], deadline: float, allowed: float) -> str:
        while True:
            try:
                line = self._lines.get(timeout=POLL_SECONDS)
            except Empty:
                self._enforce(process, deadline, allowed)
                continue
            if line is None:
                raise self._died(process)
            return line

    def _enforce(self, process: subprocess.Popen[str], deadline: float, allowed: float) -> None:
        limit = self._limits
        if time.monotonic() > deadline:
            self._kill()
            raise WorkerError(f"It took longer than {allowed:.0f} s and was stopped.")
        try:
            resident = psutil.Process(process.pid).memory_info().rss
        except psutil.NoSuchProcess:
            return  # its end of file arrives next
        if resident > limit.memory_bytes:
            self._kill()
            raise WorkerError(
                f"It took {resident / 1024**2:.0f} MB of memory and was stopped; "
                f"allowed are {limit.memory_bytes / 1024**2:.0f} MB."
            )

    def _died(self, process: subprocess.Popen[str]) -> WorkerError:
        status = process.wait()
        self._process = None
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        tail = self._stderr_tail()
        return WorkerError(f"Its process ended {how}." + (f" It said: {tail}" if tail else ""))

    def _stderr_tail(self) -> str:
        size = self._stderr.seek(0, 2)
        self._stderr.seek(max(0, size - _TAIL_BYTES))
        return " ".join(self._stderr.read().decode(errors="replace").split())

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdin is not None:
                self._process.stdin.close()
            self._process = None


def _forward(stdout: IO[str] | None, lines: SimpleQueue[str | None]) -> None:
    assert stdout is not None
    with stdout:
        for line in stdout:
            lines.put(line)
    lines.put(None)
