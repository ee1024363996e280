"""The child process: reads jobs from stdin, one JSON line each, and answers on stdout.

Whatever libraries print goes to stderr, whose end the parent keeps. When stdin ends, the parent
is gone, and so is the child, even in the middle of a job.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from queue import SimpleQueue
from typing import Final, TextIO

from fitment_compress.child import TOLD
from fitment_compress.construct import construct
from fitment_compress.errors import CompressError
from fitment_compress.jobs import (
    Answer,
    BuildJob,
    MeasureJob,
    PrepareJob,
    TimeJob,
    Told,
    parse_job,
)
from fitment_compress.measure import measure
from fitment_compress.prepare import prepare
from fitment_compress.techniques.base import Tell
from fitment_compress.timing import time_in_turns
from fitment_compress.workspace import cannot_write
from fitment_contract.base import Record

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
"""What no candidate is to blame for, and every later one would meet as well."""


def main() -> None:
    """Serve jobs until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    logging.basicConfig(level=logging.ERROR)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    jobs: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin, jobs), daemon=True).start()
    while True:
        answers.write(_answer(jobs.get(), _Teller(answers)).model_dump_json() + "\n")
        answers.flush()


class _Teller:
    """Says how far a job is, not more often than a person reads."""

    INTERVAL_SECONDS = 0.5

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last = time.monotonic()

    def __call__(self, share: float, what: str) -> None:
        now = time.monotonic()
        if now - self._last < self.INTERVAL_SECONDS:
            return
        self._last = now
        self._stream.write(TOLD + Told(share=share, what=what).model_dump_json() + "\n")
        self._stream.flush()


def _read(stdin: TextIO, jobs: SimpleQueue[str]) -> None:
    for line in stdin:
        jobs.put(line)
    os._exit(0)


def _answer(line: str, tell: Tell) -> Answer:
    job = parse_job(line)
    try:
        return Answer(result=_perform(job, tell).model_dump_json())
    except CompressError as error:
        return _refusal(error)
    except MemoryError:
        return Answer(error="CandidateError", problem="It took more memory than there is.")
    except Exception as error:  # noqa: BLE001 - reported to the parent, with the trace on stderr
        if isinstance(error, OSError) and error.errno in _FULL:
            return _refusal(cannot_write(Path(job.workspace), error))
        traceback.print_exc()
        problem = f"{type(error).__name__}: {error}"
        return Answer(error="CandidateError", problem=problem)


def _refusal(error: CompressError) -> Answer:
    return Answer(error=type(error).__name__, problem=error.problem, fix=error.fix)


def _perform(job: PrepareJob | BuildJob | MeasureJob | TimeJob, tell: Tell) -> Record:
    if isinstance(job, PrepareJob):
        return prepare(job)
    if isinstance(job, BuildJob):
        return construct(job, tell)
    if isinstance(job, MeasureJob):
        return measure(job)
    return time_in_turns(job)


if __name__ == "__main__":
    main()
