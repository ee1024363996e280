"""The trial of two variants of one model, of which the second is for low power.

Each runs in a process of its own, as it would alone: memory that the first one left behind would
be taken for the second one's.
"""

from __future__ import annotations

from collections.abc import Callable

from fitment_agent.worker.apart import run_apart
from fitment_agent.worker.jobs import JobFailure, TrialDone, TrialJob, WorkerFailed
from fitment_contract.benchmark import BenchmarkReport
from fitment_contract.phase import FailureReason
from fitment_contract.variant import Variant

Tell = Callable[[str, int, int], None]


def try_both(job: TrialJob, tell: Tell) -> TrialDone:
    """Prove both variants of the assignment on this device.

    Raises:
        JobFailure: one of them fails its trial, and says which.
    """
    second = job.assignment.low_power
    assert second is not None
    report = _try_alone(job, job.assignment.variant, tell)
    try:
        return TrialDone(report=report, low_power_report=_try_alone(job, second.variant, tell))
    except JobFailure as failure:
        event = failure.event
        raise JobFailure(
            event.reason,
            f"the low-power variant {second.variant.name}: {event.detail}",
            retryable=event.retryable,
            digest=second.variant.digest,
        ) from failure


def _try_alone(job: TrialJob, variant: Variant, tell: Tell) -> BenchmarkReport:
    protocol = job.assignment.protocol
    alone = job.assignment.model_copy(update={"variant": variant, "low_power": None})
    event = run_apart(
        job.model_copy(update={"assignment": alone}),
        protocol.wall_limit_seconds,
        protocol.memory_limit_bytes,
        tell,
    )
    if isinstance(event, TrialDone):
        return event.report
    if isinstance(event, WorkerFailed):
        raise JobFailure(event.reason, event.detail, retryable=event.retryable)
    raise JobFailure(FailureReason.INTERNAL, "the trial gave another answer than was asked for")
