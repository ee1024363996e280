"""The short-lived child process: one job in, events out, gone.

`python -m fitment_agent.worker` reads one job from standard input and then waits for its end,
which means that the daemon died. Standard output carries events and nothing else: whatever native
libraries print goes to standard error.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import BinaryIO, Final

from fitment_agent.worker import sandbox
from fitment_agent.worker.jobs import (
    JOBS,
    FetchJob,
    FinalEvent,
    Job,
    JobFailure,
    Progress,
    RuntimesDone,
    TrialJob,
    TuneJob,
    VerifyJob,
    WorkerFailed,
)
from fitment_contract.base import Record
from fitment_contract.phase import FailureReason

_PROGRESS_SECONDS: Final = 0.2


class Speaker:
    """Writes events, one JSON line each.

    Progress is thinned out: at most one event per `_PROGRESS_SECONDS` within a stage.
    """

    def __init__(self, stream: BinaryIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._stage = ""
        self._spoken_at = 0.0

    def progress(self, stage: str, done: int, total: int, bytes_transferred: int = 0) -> None:
        """Say how far the job is, unless that was said just now."""
        now = self._clock()
        if stage == self._stage and now - self._spoken_at < _PROGRESS_SECONDS:
            return
        self._stage, self._spoken_at = stage, now
        self.say(Progress(stage=stage, done=done, total=total, bytes_transferred=bytes_transferred))

    def say(self, event: Record) -> None:
        """Write one event."""
        self._stream.write(event.model_dump_json(exclude_none=True).encode() + b"\n")
        self._stream.flush()


def run(job: Job, speaker: Speaker) -> FinalEvent:
    """Do the job; every failure comes back as an event."""
    try:
        return _dispatch(job, speaker)
    except JobFailure as failure:
        return failure.event
    except MemoryError:
        return WorkerFailed(reason=FailureReason.MEMORY_EXCEEDED, detail="Python ran out of memory")
    except OSError as error:
        return JobFailure.of_system(error, job.kind).event
    except Exception as error:  # noqa: BLE001 - the boundary: the daemon must get a word for it
        traceback.print_exc()
        detail = f"{job.kind}: {type(error).__name__}: {error}"
        return WorkerFailed(reason=FailureReason.INTERNAL, detail=detail)


def main() -> None:
    """Read a job, do it, say how it ended, and leave without running any library's exit code."""
    speaker = Speaker(_claim_stdout())
    sandbox.die_with_parent()
    sandbox.leave_no_core()
    job = JOBS.validate_json(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_stdin, name="stdin", daemon=True).start()
    speaker.say(run(job, speaker))
    sys.stderr.flush()
    os._exit(0)


def _dispatch(job: Job, speaker: Speaker) -> FinalEvent:
    """Each job imports what it needs: only a trial and a look at the runtimes are heavy."""
    if isinstance(job, FetchJob):
        from fitment_agent.worker.fetch import fetch

        sandbox.step_aside()
        return fetch(job, speaker.progress)
    if isinstance(job, VerifyJob):
        from fitment_agent.worker.verify import verify

        sandbox.step_aside()
        return verify(job, speaker.progress)
    if isinstance(job, TrialJob) and job.assignment.low_power is not None:
        from fitment_agent.worker.pair import try_both

        return try_both(job, speaker.progress)
    if isinstance(job, TrialJob):
        from fitment_agent.worker.trial import try_out

        return try_out(job, speaker.progress)
    if isinstance(job, TuneJob):
        from fitment_agent.worker.tune import tune_variant

        return tune_variant(job, speaker.progress)
    from fitment_runtime.catalog import described_runtimes

    return RuntimesDone(runtimes=described_runtimes())


def _claim_stdout() -> BinaryIO:
    """The real standard output, for events alone; descriptor 1 becomes standard error."""
    stream = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return stream


def _end_with_stdin() -> None:
    while sys.stdin.buffer.read(4096):
        continue  # nothing is ever sent after the job
    os._exit(1)
