"""An agent's state folder with one assignment in it, ready for a trial."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fitment_agent.supervise import WorkerProcess
from fitment_agent.worker.jobs import FinalEvent, Job, Progress, TrialJob, WorkerEvent
from fitment_contract.artifact import Artifact
from fitment_contract.base import sha256_hex
from fitment_contract.benchmark import BenchmarkProtocol, MetricSpec
from fitment_contract.messages import Assignment, Evaluation
from fitment_contract.variant import Golden, Needs, Variant

FINGERPRINT = "0123456789abcdef"
FAST = BenchmarkProtocol(
    warmup=1,
    min_seconds=0.05,
    min_count=10,
    wall_limit_seconds=60,
    memory_limit_bytes=600 * 1024 * 1024,
)


def put_blob(state: Path, path: Path) -> Artifact:
    """Copy a file among the blobs of `state`."""
    content = path.read_bytes()
    blobs = state / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    (blobs / sha256_hex(content)).write_bytes(content)
    return Artifact(digest=sha256_hex(content), size_bytes=len(content))


def trial_job(
    state: Path,
    model: Path,
    *,
    golden: Path | None = None,
    evaluation: Path | None = None,
    protocol: BenchmarkProtocol = FAST,
    runtime: str = "onnxruntime",
    local_samples: tuple[str, ...] = (),
) -> TrialJob:
    """A trial of `model`, whose files are among the blobs of `state`."""
    variant = Variant(
        name="candidate",
        model="toy",
        format="onnx",
        precision="fp32",
        artifact=put_blob(state, model),
        compressed_bytes=1,
        golden=Golden(artifact=put_blob(state, golden), tolerance=1e-3) if golden else None,
        needs=Needs(runtime=runtime),
    )
    scored = (
        Evaluation(artifact=put_blob(state, evaluation), metric=MetricSpec(name="top1"))
        if evaluation
        else None
    )
    return TrialJob(
        state_dir=str(state),
        assignment=Assignment(model="toy", variant=variant, evaluation=scored, protocol=protocol),
        fingerprint=FINGERPRINT,
        simulated=True,
        local_samples=local_samples,
    )


def save_evaluation(path: Path, features: int = 8, count: int = 30) -> Path:
    """Labelled samples for `runtime_models.save_mlp`."""
    rng = np.random.default_rng(0)
    np.savez(
        path,
        x=rng.normal(size=(count, features)).astype(np.float32),
        label=rng.integers(0, 3, count),
    )
    return path


@dataclass
class Outcome:
    """Everything a worker said."""

    final: FinalEvent
    progress: list[Progress]

    @property
    def reason(self) -> Any:
        """The failure's reason; None when it did not fail."""
        return getattr(self.final, "reason", None)


def run_worker(
    job: Job,
    *,
    wall_limit_seconds: float | None = 60,
    memory_limit_bytes: int | None = None,
    meddle: Callable[[WorkerProcess, WorkerEvent], None] | None = None,
) -> Outcome:
    """Run one worker to its end.

    Args:
        job: what it does.
        wall_limit_seconds: as for `WorkerProcess`.
        memory_limit_bytes: as for `WorkerProcess`.
        meddle: called with the worker and every event, from the watching thread.
    """
    import queue

    events: queue.Queue[WorkerEvent] = queue.Queue()
    holder: list[WorkerProcess] = []
    started = queue.Queue[None]()

    def take(event: WorkerEvent) -> None:
        if not holder:
            started.get(timeout=60)
        if meddle is not None:
            meddle(holder[0], event)
        events.put(event)

    worker = WorkerProcess(
        job,
        wall_limit_seconds=wall_limit_seconds,
        memory_limit_bytes=memory_limit_bytes,
        on_event=take,
    )
    holder.append(worker)
    started.put(None)
    progress: list[Progress] = []
    while True:
        event = events.get(timeout=120)
        if not isinstance(event, Progress):
            break
        progress.append(event)
    worker.stop()  # waits for the watching thread; nothing may come after the last event
    assert events.empty()
    assert worker.pid is None
    return Outcome(event, progress)
