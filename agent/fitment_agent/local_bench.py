"""A benchmark from the command line: the same worker and protocol as in a rollout."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from fitment_agent.errors import BenchmarkFailedError, UnknownModelError
from fitment_agent.work import trial_job
from fitment_agent.worker.apart import run_apart
from fitment_agent.worker.jobs import (
    Done,
    Job,
    RuntimesDone,
    RuntimesJob,
    TrialDone,
    WorkerFailed,
)
from fitment_contract.artifact import Artifact
from fitment_contract.benchmark import BenchmarkProtocol, BenchmarkReport
from fitment_contract.device import DeviceFacts, RuntimeFacts
from fitment_contract.messages import Assignment
from fitment_contract.variant import Needs, Variant


def look_at_runtimes() -> tuple[RuntimeFacts, ...]:
    """What the installed runtimes can do, found out by a worker.

    Raises:
        BenchmarkFailedError: the worker failed.
    """
    event = _result(RuntimesJob(), wall_limit_seconds=120.0)
    return event.runtimes if isinstance(event, RuntimesDone) else ()


def benchmark(
    assignment: Assignment, state_dir: Path, facts: DeviceFacts, protocol: BenchmarkProtocol
) -> BenchmarkReport:
    """Benchmark an assignment whose files are under `state_dir`.

    Raises:
        BenchmarkFailedError: the variant does not run here.
    """
    by_terms = assignment.model_copy(update={"protocol": protocol})
    job = trial_job(by_terms, state_dir, facts)
    event = _result(job, protocol.wall_limit_seconds, protocol.memory_limit_bytes)
    assert isinstance(event, TrialDone)
    return event.report


def assignment_of_file(path: Path, facts: DeviceFacts, folder: Path) -> Assignment:
    """An assignment for a file that no rollout brought; the file is copied into `folder`.

    Raises:
        UnknownModelError: no runtime on this device reads files of this kind.
    """
    format = path.suffix.lstrip(".").lower()
    runtime = next((one for one in facts.runtimes if format in one.formats), None)
    if runtime is None:
        raise UnknownModelError(
            f"{path} is no file that a runtime on this device reads.",
            "Name an .onnx or .tflite file, and see the runtimes in `fitment-agent probe`.",
        )
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    (folder / "blobs").mkdir()
    shutil.copyfile(path, folder / "blobs" / digest)
    variant = Variant(
        name="local-file",
        model="local-file",
        format=format,
        precision="unknown",
        artifact=Artifact(digest=digest, size_bytes=len(content)),
        compressed_bytes=len(content),
        needs=Needs(runtime=runtime.name),
    )
    return Assignment(model=variant.model, variant=variant)


def _result(job: Job, wall_limit_seconds: float, memory_limit_bytes: int | None = None) -> Done:
    event = run_apart(job, wall_limit_seconds, memory_limit_bytes)
    if isinstance(event, WorkerFailed):
        raise BenchmarkFailedError(
            f"{event.reason.value}: {event.detail}.", "Benchmark another variant on this device."
        )
    return event
