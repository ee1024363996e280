"""The agent's state as one object: journal, pointers and blobs, moved by the pure decisions.

`apply` is the only way that a deployment changes: decide, persist, then do what concerns the
state itself (activate, restore, evict), then hand the rest (the worker's effects) to the caller.
The daemon and the command line both stand on it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from fitment_agent.activation import Activation, Pointer, Pointers
from fitment_agent.blobs import Blobs
from fitment_agent.deployment import (
    Deployment,
    Effect,
    Effects,
    RetryPolicy,
    advance,
    artifacts_of,
    offer,
    take_back,
)
from fitment_agent.deployment_events import Activated, Event, Resumed, Withdrawn
from fitment_agent.errors import RollbackRefusedError, StorageError, UnknownModelError
from fitment_agent.journal import Journal, Proof
from fitment_contract.base import utc_now
from fitment_contract.messages import ActiveVariant, Assignment, Desired, ModelState, state_digest
from fitment_contract.phase import FailureReason, Phase

_log = logging.getLogger(__name__)


class AgentState:
    """Everything that one agent knows and has.

    Args:
        state_dir: holds blobs, pointers and journal.
        journal: of this state directory.
        policy: how failed transfers are tried again.
        clock: tells the wall time.
    """

    def __init__(
        self,
        state_dir: Path,
        journal: Journal,
        policy: RetryPolicy,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.state_dir = state_dir
        self.journal = journal
        self.pointers = Pointers(state_dir)
        self.blobs = Blobs(state_dir)
        self._policy = policy
        self._clock = clock
        self.deployments: dict[str, Deployment] = journal.deployments()
        self.generation = journal.generation()

    def accept(self, desired: Desired) -> dict[str, Effects]:
        """Take over a newer generation; the worker's effects by model.

        Raises:
            StorageError: nothing was taken over.
        """
        offers = {
            assignment.model: self._offer(assignment, desired.generation)
            for assignment in desired.assignments
        }
        for model in desired.withdrawn:
            current = self.deployments.get(model)
            if current is not None and model not in offers:
                offers[model] = take_back(current, desired.generation)
        accepted = [deployment for deployment, _ in offers.values()]
        self.journal.save(*accepted, generation=desired.generation)
        self.generation = desired.generation
        self.deployments.update({deployment.model: deployment for deployment in accepted})
        return {model: self._perform(model, effects) for model, (_, effects) in offers.items()}

    def apply(self, model: str, event: Event) -> Effects:
        """Move a model's deployment by `event`; what is left for the worker to do.

        Raises:
            StorageError: the new phase could not be persisted, and nothing was done.
            TransitionError: the event has no place in this phase.
        """
        before = self.deployments[model]
        after, effects = advance(before, event, self._clock(), self._policy)
        if after != before:
            self.journal.save(after)
            self.deployments[model] = after
        return self._perform(model, effects)

    def resume(self, model: str, after_crash: bool) -> Effects:
        """Take up a deployment that was under way when the agent ended."""
        present = self.blobs.present_bytes(self.deployments[model].artifacts)
        return self.apply(model, Resumed(after_crash, present))

    def withdraw(self, model: str, detail: str) -> Effects:
        """Take a model back by one step: stop what is under way, or return to the previous.

        Raises:
            UnknownModelError: the device has nothing of that name.
            RollbackRefusedError: there is no previous variant to return to.
            StorageError: nothing was changed.
        """
        deployment, pointer = self.deployments.get(model), self.pointers.read(model)
        if deployment is None and pointer is None:
            raise UnknownModelError(
                f"Nothing is known of a model called {model!r}.", "See `fitment-agent models`."
            )
        if deployment is not None and not deployment.is_settled:
            return self.apply(model, Withdrawn(detail))
        if pointer is None or pointer.previous is None:
            raise RollbackRefusedError(
                f"{model} has no previous variant to return to.",
                "Ask the controller for another variant instead.",
            )
        if deployment is not None and deployment.phase is Phase.ACTIVE:
            return self.apply(model, Withdrawn(detail))
        return self._perform(model, (Effect.RESTORE, Effect.SETTLE))

    def reconcile(self) -> list[str]:
        """Make pointers and journal agree after a crash; what had to be mended, in sentences."""
        mended = []
        for model, deployment in list(self.deployments.items()):
            pointer = self.pointers.read(model)
            digest = pointer.current.digest if pointer else None
            if _restore_was_interrupted(deployment, digest):
                self._perform(model, (Effect.RESTORE,))
                mended.append(f"{model}: finished an interrupted rollback")
            lost = digest != deployment.digest or not self.blobs.has(deployment.digest)
            if deployment.phase is Phase.ACTIVE and lost:
                mended.append(self._mend_active(deployment))
        return mended

    def model_states(self) -> tuple[ModelState, ...]:
        """What the device has proved, per model, in the order of names."""
        pointers = self.pointers.all()
        models = sorted({*self.deployments, *pointers})
        return tuple(
            model_state(model, self.deployments.get(model), pointers.get(model)) for model in models
        )

    def digest(self) -> str:
        """The digest by which the controller sees whether it knows this state."""
        return state_digest(self.generation, self.model_states())

    def active_proof(self, model: str) -> Proof | None:
        """The proof of what is active now, if the journal still has it."""
        pointer = self.pointers.read(model)
        return self.journal.proof(model, pointer.current.digest) if pointer else None

    def _offer(self, assignment: Assignment, generation: int) -> tuple[Deployment, Effects]:
        pointer = self.pointers.read(assignment.model)
        usable = pointer is not None and self.blobs.has(pointer.current.digest)
        active = pointer.current.digest if pointer and usable else None
        proof = self.journal.proof(assignment.model, active) if active else None
        return offer(
            self.deployments.get(assignment.model),
            assignment,
            generation,
            active,
            proof.benchmark if proof else None,
        )

    def _perform(self, model: str, effects: Effects) -> Effects:
        """Do the effects that concern the state; the others are for the caller."""
        left: Effects = ()
        for effect in effects:
            if effect is Effect.ACTIVATE:
                left += self._activate(model)
            elif effect is Effect.RESTORE:
                self._restore(model)
            elif effect is Effect.SETTLE:
                self._settle(model)
            else:
                left += (effect,)
        return left

    def _activate(self, model: str) -> Effects:
        deployment = self.deployments[model]
        self.journal.add_proof(deployment)
        activation = activation_of(deployment, self._clock())
        self._write(model, lambda pointer: _moved(pointer, activation))
        return self.apply(model, Activated())

    def _restore(self, model: str) -> None:
        def back(pointer: Pointer | None) -> Pointer | None:
            return Pointer(pointer.previous) if pointer and pointer.previous else None

        self._write(model, back)

    def _settle(self, model: str) -> None:
        """Evict what no pointer and no deployment under way needs; never worth a failure."""
        keep: set[str] = set()
        for pointer in self.pointers.all().values():
            keep |= pointer.artifacts()
        for deployment in self.deployments.values():
            if not deployment.is_settled:
                keep |= {name for artifact in deployment.artifacts for name in artifact.digests()}
        self.blobs.evict(keep)
        try:
            self.journal.forget_proofs(model, keep)
        except StorageError as error:
            _log.warning("%s", error)

    def _mend_active(self, deployment: Deployment) -> str:
        """Write a lost pointer again, or deploy again when the file is gone too."""
        model = deployment.model
        if self.blobs.has(deployment.digest):
            activation = activation_of(deployment, self._clock())
            self._write(model, lambda pointer: _moved(pointer, activation))
            return f"{model}: its pointer was lost and was written again"
        again = Deployment(generation=deployment.generation, assignment=deployment.assignment)
        self.journal.save(again)
        self.deployments[model] = again
        return f"{model}: its file was lost; it is deployed again"

    def _write(self, model: str, change: Callable[[Pointer | None], Pointer | None]) -> None:
        try:
            changed = change(self.pointers.read(model))
            if changed is None:
                self.pointers.remove(model)
            else:
                self.pointers.write(model, changed)
        except OSError as error:
            raise StorageError(
                f"The pointer of {model} cannot be written: {error}.",
                "Make room on the disk and check that the agent may write to it.",
            ) from None


def activation_of(deployment: Deployment, now: datetime) -> Activation:
    """What the pointer says about a proved deployment."""
    variant, report = deployment.assignment.variant, deployment.benchmark
    threads = report.latency.threads if report else deployment.assignment.protocol.threads
    ran = report.kernels.providers if report else {}
    # The runtime reads the list as an order of preference; the CPU takes what the others leave.
    providers = [name for name in variant.needs.providers_any_of if name in ran]
    providers += sorted(set(ran) - set(providers))
    return Activation(
        model=deployment.model,
        generation=deployment.generation,
        variant=variant.name,
        model_version=variant.model_version,
        digest=variant.digest,
        path=f"blobs/{variant.digest}",
        runtime=variant.needs.runtime,
        session_options={"threads": threads, "providers": providers},
        activated_at=now.isoformat(timespec="milliseconds"),
        artifacts=tuple(artifact.digest for artifact in artifacts_of(deployment.assignment)),
    )


def model_state(model: str, deployment: Deployment | None, pointer: Pointer | None) -> ModelState:
    """What to report about a model; the pointer alone says what is active.

    Without a deployment the journal was lost and the pointer is all that is known.
    """
    active = _active_variant(pointer.current) if pointer else None
    previous = _active_variant(pointer.previous) if pointer and pointer.previous else None
    if deployment is None:
        assert active is not None
        return ModelState(
            model=model,
            generation=active.generation,
            phase=Phase.ACTIVE,
            variant=active.variant,
            digest=active.digest,
            active=active,
            previous=previous,
        )
    return ModelState(
        model=model,
        generation=deployment.generation,
        phase=deployment.phase,
        variant=deployment.assignment.variant.name,
        digest=deployment.digest,
        rollout=deployment.assignment.rollout,
        waiting=deployment.waiting,
        failure=deployment.failure,
        active=active,
        previous=previous,
        benchmark=deployment.benchmark,
        bytes_transferred=deployment.bytes_transferred,
        tries=deployment.tries,
    )


def _active_variant(activation: Activation) -> ActiveVariant:
    return ActiveVariant(
        variant=activation.variant,
        model_version=activation.model_version,
        digest=activation.digest,
        generation=activation.generation,
        since=datetime.fromisoformat(activation.activated_at),
    )


def _moved(pointer: Pointer | None, activation: Activation) -> Pointer:
    return pointer.moved_to(activation) if pointer else Pointer(activation)


def _restore_was_interrupted(deployment: Deployment, active_digest: str | None) -> bool:
    failure = deployment.failure
    return (
        failure is not None
        and failure.reason is FailureReason.WITHDRAWN
        and failure.phase is Phase.ACTIVE
        and active_digest == deployment.digest
    )
