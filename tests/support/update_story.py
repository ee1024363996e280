"""One device's life as a list of steps, driven through the agent's real state, fetch and verify.

No daemon and no runtime: what is left is all that writes to the disk. Each step is told to the
world when it is over, and what was told then must be true of whatever is found after a cut.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from fitment_agent.blobs import Blobs
from fitment_agent.deployment import Deployment, RetryPolicy
from fitment_agent.deployment_events import Failed, Fetched, Proved, Verified, Weighed
from fitment_agent.journal import Journal
from fitment_agent.state import AgentState
from fitment_agent.worker.fetch import fetch
from fitment_agent.worker.jobs import FetchDone, FetchJob, JobFailure, VerifyDone, VerifyJob
from fitment_agent.worker.verify import verify
from fitment_compress.packing import encode
from fitment_contract.artifact import PACKED, Artifact, Encoding
from fitment_contract.base import sha256_hex
from fitment_contract.benchmark import SessionTuning
from fitment_contract.messages import Assignment, Desired, LowPower, PowerMode
from fitment_contract.phase import Phase
from fitment_contract.variant import Needs, Variant
from support.agent_records import NOW, a_report

PAIRED, SINGLE = "activity", "vibration"
DAY = "2026-11-23"
POLICY = RetryPolicy(limit=2, base_seconds=0.01, max_seconds=0.02)


@dataclass(frozen=True)
class Step:
    """Something that happens to the device.

    Attributes:
        desired: what headquarters wants from now on; None for what happens on the device alone.
        model, mode: the device's power asks for the other variant of a model.
        withdrawn: a person takes this model back by hand.
        tuned: this variant's session options were found.
    """

    desired: Desired | None = None
    model: str = PAIRED
    mode: PowerMode | None = None
    withdrawn: str | None = None
    tuned: Variant | None = None


@dataclass
class Story:
    """What happens, and every byte that can be fetched meanwhile.

    Args:
        url: of a server of content by digest.
        size_bytes: of every model file.
    """

    url: str
    size_bytes: int = 60_000
    contents: dict[str, bytes] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        paired, single = partial(self._assignment, PAIRED), partial(self._assignment, SINGLE)
        self._want(single("s1"))
        self._want(paired("a1"), single("s1"))
        self._want(paired("a2", "a2-low"), single("s1"))
        self.steps.append(Step(mode=PowerMode.LOW_POWER))
        self._want(paired("a3", "a3-low"), single("s2", packed=True))
        self.steps.append(Step(mode=PowerMode.NORMAL))
        self.steps.append(Step(tuned=paired("a3", "a3-low").variant))
        self.steps.append(Step(mode=PowerMode.LOW_POWER))
        self.steps.append(Step(withdrawn=PAIRED))
        self._want(paired("a4", "a4-low"), withdrawn=(SINGLE,))
        self.steps.append(Step(mode=PowerMode.NORMAL))
        self._want(paired("a5"), single("s3"))

    def _want(self, *assignments: Assignment, withdrawn: tuple[str, ...] = ()) -> None:
        generation = 1 + sum(1 for step in self.steps if step.desired)
        desired = _desired(generation, *assignments)
        self.steps.append(Step(desired.model_copy(update={"withdrawn": withdrawn})))

    def _assignment(
        self, model: str, name: str, low_power: str | None = None, packed: bool = False
    ) -> Assignment:
        variant = self._variant(model, name, packed)
        if low_power is None:
            return Assignment(model=model, variant=variant)
        second = LowPower(variant=self._variant(model, low_power), below_charge_ratio=0.2)
        return Assignment(model=model, variant=variant, low_power=second)

    def _variant(self, model: str, name: str, packed: bool = False) -> Variant:
        content = bytes(random.Random(name).choices(range(16), k=self.size_bytes))
        digest = sha256_hex(content)
        artifact = Artifact(digest=digest, size_bytes=len(content))
        self.contents[digest] = content
        if packed:
            encoded = encode(content)
            self.contents[sha256_hex(encoded)] = encoded
            entry = Encoding(name=PACKED, digest=sha256_hex(encoded), size_bytes=len(encoded))
            artifact = artifact.model_copy(update={"encodings": (entry,)}).served(self.url)
        else:
            artifact = artifact.located(f"{self.url}/{digest}")
        return Variant(
            name=name,
            model=model,
            format="onnx",
            precision="fp32",
            artifact=artifact,
            compressed_bytes=len(content),
            needs=Needs(runtime="onnxruntime"),
        )


def _desired(generation: int, *assignments: Assignment) -> Desired:
    return Desired(device="box-1", sent_at=NOW, generation=generation, assignments=assignments)


def asked_again(steps: Sequence[Step]) -> Step:
    """What is wanted last, in a new rollout: so headquarters answers a failure."""
    last = [step.desired for step in steps if step.desired][-1]
    again = [one.model_copy(update={"rollout": "again"}) for one in last.assignments]
    return Step(_desired(last.generation + 1, *again))


@contextmanager
def opened(folder: Path) -> Iterator[AgentState]:
    """The state under `folder` as the agent opens it, with a clock that stands still."""
    journal = Journal(folder / "journal.db", lambda: NOW)
    try:
        yield AgentState(folder, journal, POLICY, lambda: NOW)
    finally:
        journal.close()


def perform(state: AgentState, step: Step) -> None:
    """Bring one step to its end; one that is behind the device already changes nothing.

    Raises:
        StorageError: the storage refused what the agent itself writes.
    """
    if step.desired is not None:
        if step.desired.generation > state.generation:
            _, refused = state.accept(step.desired)
            if refused is not None:
                raise refused
        settle(state)
    elif step.mode is not None:
        state.switch(step.model, step.mode)
    elif step.withdrawn is not None:
        state.withdraw(step.withdrawn, "by hand")
    elif step.tuned is not None:
        state.tuned(step.model, _tuning(step.tuned))


def settle(state: AgentState) -> None:
    """Bring every deployment to rest, as the conductor and its workers do."""
    for model in list(state.deployments):
        while not state.deployments[model].is_settled:
            _advance(state, state.deployments[model])


def resume(state: AgentState) -> None:
    """What the daemon does when it starts after a crash."""
    state.reconcile()
    for model, deployment in list(state.deployments.items()):
        if not deployment.is_settled:
            state.resume(model, after_crash=True)


def told(state: AgentState, session: int) -> dict[str, Any]:
    """What the world knows of the device once a step is over, told in a session."""
    return {
        "generation": state.generation,
        "session": session,
        "models": {one.model: in_use(state, one.model) for one in state.model_states()},
    }


def in_use(state: AgentState, model: str) -> dict[str, Any] | None:
    """What applications would use of a model, in which mode, and what it would return to."""
    pointer = state.pointers.read(model)
    if pointer is None:
        return None
    return {
        "variant": pointer.active.normal.variant,
        "mode": pointer.active.mode,
        "in_use": pointer.current.variant,
        "previous": pointer.previous.variant if pointer.previous else None,
        "threads": pointer.active.normal.session_options["threads"],
    }


def _advance(state: AgentState, deployment: Deployment) -> None:
    model, assignment = deployment.model, deployment.assignment
    if deployment.phase in (Phase.OFFERED, Phase.WAITING):
        state.apply(model, Weighed(None))
    elif deployment.phase is Phase.FETCHING:
        job = _fetch_job(state.blobs, deployment)
        done = _worked(lambda: fetch(job, lambda *_: None))
        if isinstance(done, FetchDone):
            state.journal.count_bytes(DAY, done.bytes_transferred)
            done = Fetched(done.bytes_transferred)
        state.apply(model, done)
    elif deployment.phase is Phase.VERIFYING:
        blobs, partial_files = str(state.blobs.folder), str(state.blobs.partial_folder)
        check = VerifyJob(artifacts=deployment.artifacts, partial=partial_files, blobs=blobs)
        checked = _worked(lambda: verify(check, lambda *_: None))
        state.apply(model, Verified() if isinstance(checked, VerifyDone) else checked)
    elif deployment.phase is Phase.TRIAL:
        if assignment.low_power is not None:
            second = assignment.model_copy(update={"variant": assignment.low_power.variant})
            state.keep_low_power_proof(model, a_report(second))
        state.apply(model, Proved(a_report(assignment)))
    else:  # cut short while it was activated
        state.resume(model, after_crash=True)


def _worked(work: Callable[[], FetchDone | VerifyDone]) -> FetchDone | VerifyDone | Failed:
    """The worker's answer, as the conductor takes it."""
    try:
        return work()
    except JobFailure as failure:
        event = failure.event
    except OSError as error:
        event = JobFailure.of_system(error, "verify").event
    return Failed(event.reason, event.detail, event.retryable, event.bytes_transferred, jitter=0.0)


def _fetch_job(blobs: Blobs, deployment: Deployment) -> FetchJob:
    return FetchJob(
        artifacts=deployment.artifacts,
        blobs=str(blobs.folder),
        partial=str(blobs.partial_folder),
        reserve_bytes=0,
        attempts=1,
    )


def _tuning(variant: Variant) -> SessionTuning:
    return SessionTuning(
        digest=variant.digest,
        fingerprint="0" * 16,
        threads=3,
        p50_seconds=0.001,
        reference_p50_seconds=0.002,
        candidates=4,
        measured_at=NOW,
    )
