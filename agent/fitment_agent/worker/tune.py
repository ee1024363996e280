"""Tuning in the worker: the CPU first, then every other provider in a process of its own.

A driver that hangs, crashes or eats the memory costs its own process; what was found before stands.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from fitment_agent.worker import sandbox
from fitment_agent.worker.apart import run_apart
from fitment_agent.worker.jobs import FinalEvent, JobFailure, TuneDone, TuneJob, WorkerFailed
from fitment_contract.phase import FailureReason
from fitment_runtime.errors import RuntimeFailure
from fitment_runtime.tuning import TuneRequest, challenge, tune

_log = logging.getLogger(__name__)

Tell = Callable[[str, int, int], None]


def tune_variant(job: TuneJob, tell: Tell) -> TuneDone:
    """Find the best session options for a variant whose files are among the blobs.

    Raises:
        JobFailure: it does not load or run here, or its file is missing.
    """
    sandbox.end_after(job.total_wall_limit_seconds)
    if job.providers and job.champion is None:
        return _tune_apart(job, tell)
    if not job.needed and not job.providers:
        # Accelerators' drivers reserve far more address space than they ever use.
        sandbox.limit_memory(job.memory_limit_bytes)
    request = _request(job)
    try:
        if job.champion is None:
            return TuneDone(tuning=tune(request, tell))
        return TuneDone(tuning=challenge(request, job.champion, job.providers[0], tell))
    except RuntimeFailure as failure:
        raise JobFailure(failure.reason, failure.detail) from failure


def _tune_apart(job: TuneJob, tell: Tell) -> TuneDone:
    best = _run(job.model_copy(update={"providers": ()}), tell)
    if isinstance(best, WorkerFailed):
        raise JobFailure(best.reason, best.detail, retryable=best.retryable)
    if not isinstance(best, TuneDone):
        raise JobFailure(FailureReason.INTERNAL, "tuning gave another answer")
    for provider in job.providers:
        changes = {"providers": (provider,), "champion": best.tuning}
        event = _run(job.model_copy(update=changes), tell)
        if isinstance(event, TuneDone):
            best = event
        elif isinstance(event, WorkerFailed):
            _log.warning("%s is out: %s: %s", provider, event.reason.value, event.detail)
    return best


def _run(job: TuneJob, tell: Tell) -> FinalEvent:
    return run_apart(job, job.total_wall_limit_seconds, job.memory_limit_bytes, tell)


def _request(job: TuneJob) -> TuneRequest:
    blobs = Path(job.state_dir) / "blobs"
    golden = blobs / job.variant.golden.artifact.digest if job.variant.golden else None
    path = blobs / job.variant.digest
    if not path.is_file():
        detail = f"the blob {path.name[:12]} is missing; fetch it again"
        raise JobFailure(FailureReason.STORAGE_FAILED, detail, retryable=True)
    return TuneRequest(
        path=path,
        variant=job.variant,
        fingerprint=job.fingerprint,
        golden=golden if golden and golden.is_file() else None,
        providers=job.needed,
        clusters=[cluster.cores for cluster in job.clusters],
        seconds=job.seconds,
    )
