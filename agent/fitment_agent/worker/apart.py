"""A job in a process of its own: what crashes or leaks there takes nothing else along."""

from __future__ import annotations

import queue
from collections.abc import Callable

from fitment_agent.supervise import WorkerProcess
from fitment_agent.worker.jobs import FinalEvent, Job, Progress, WorkerEvent


def run_apart(
    job: Job,
    wall_limit_seconds: float,
    memory_limit_bytes: int | None,
    tell: Callable[[str, int, int], None] | None = None,
) -> FinalEvent:
    """Do a job in a worker and wait for its end.

    Args:
        job: what is to be done.
        wall_limit_seconds: killed after this.
        memory_limit_bytes: killed above this; None for no limit.
        tell: called with (stage, done, total) as the worker gets on.
    """
    events: queue.SimpleQueue[WorkerEvent] = queue.SimpleQueue()
    worker = WorkerProcess(
        job,
        wall_limit_seconds=wall_limit_seconds,
        memory_limit_bytes=memory_limit_bytes,
        on_event=events.put,
    )
    try:
        while isinstance(event := events.get(), Progress):
            if tell is not None:
                tell(event.stage, event.done, event.total)
    finally:
        worker.stop()
    return event
