"""The trial: load, golden inputs, benchmark, score. Runs in the worker, under its limits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fitment_agent.worker import sandbox
from fitment_agent.worker.jobs import JobFailure, TrialDone, TrialJob
from fitment_contract.artifact import Artifact
from fitment_contract.phase import FailureReason
from fitment_runtime.benchmark import BenchmarkRequest, run_benchmark
from fitment_runtime.errors import RuntimeFailure


def try_out(job: TrialJob, tell: Callable[[str, int, int], None]) -> TrialDone:
    """Prove the assigned variant on this device.

    Raises:
        JobFailure: it does not load, run or agree with its golden inputs, or a file is missing.
    """
    protocol = job.assignment.protocol
    sandbox.end_after(protocol.wall_limit_seconds)
    request = _request(job)
    if not job.assignment.variant.needs.providers_any_of:
        # Accelerators' drivers reserve far more address space than they ever use.
        sandbox.limit_memory(protocol.memory_limit_bytes)
    try:
        return TrialDone(report=run_benchmark(request, tell))
    except RuntimeFailure as failure:
        raise JobFailure(failure.reason, failure.detail) from failure


def _request(job: TrialJob) -> BenchmarkRequest:
    blobs = Path(job.state_dir) / "blobs"
    assignment = job.assignment
    variant, evaluation = assignment.variant, assignment.evaluation
    return BenchmarkRequest(
        path=_blob(blobs, variant.artifact),
        variant=variant,
        protocol=assignment.protocol,
        metric=evaluation.metric if evaluation else None,
        evaluation=_blob(blobs, evaluation.artifact) if evaluation else None,
        golden=_blob(blobs, variant.golden.artifact) if variant.golden else None,
        local=[Path(path) for path in job.local_samples],
        fingerprint=job.fingerprint,
        simulated=job.simulated,
    )


def _blob(blobs: Path, artifact: Artifact) -> Path:
    path = blobs / artifact.digest
    if not path.is_file():
        raise JobFailure(
            FailureReason.STORAGE_FAILED,
            f"the blob {artifact.digest[:12]} is missing; fetch it again",
            retryable=True,
        )
    return path
