"""The agent's state as one object: journal, pointers and blobs, moved by the pure decisions.

`apply` is the only way that a deployment changes: decide, persist, then do what concerns the
state itself (activate, restore, evict), then hand the rest (the worker's effects) to the caller.
The daemon and the command line both stand on it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from fitment_agent.activation import Pair, Pointer, Pointers
from fitment_agent.blobs import Blobs
from fitment_agent.deployment import (
    Deployment,
    Effect,
    Effects,
    RetryPolicy,
    advance,
    offer,
    take_back,
)
from fitment_agent.deployment_events import Activated, Event, Resumed, Withdrawn
from fitment_agent.errors import RollbackRefusedError, StorageError, UnknownModelError
from fitment_agent.journal import Journal, Proof
from fitment_agent.state_records import model_state, pair_of, tuned_options
from fitment_contract.base import utc_now
from fitment_contract.benchmark import BenchmarkReport, SessionTuning
from fitment_contract.messages import (
    Assignment,
    Desired,
    LowPower,
    ModelState,
    PowerMode,
    state_digest,
)
from fitment_contract.phase import Phase

_log = logging.getLogger(__name__)

_OWN: Final = frozenset({Effect.ACTIVATE, Effect.RESTORE, Effect.LEAVE, Effect.SETTLE})


class AgentState:
    """Everything that one agent knows and has.

    Args:
        state_dir: holds blobs, pointers and journal.
        journal: of this state directory.
        policy: how failed transfers are tried again.
        clock: tells the wall time.

    Attributes:
        version: another number whenever anything that is reported may have changed.
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
        self.version = 0

    def accept(self, desired: Desired) -> tuple[dict[str, Effects], StorageError | None]:
        """Take over a newer generation.

        Returns:
            The worker's effects by model; and what the storage refused of the state's own, which
            `reconcile` does later.

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
        self.version += 1
        return self._perform_all({model: effects for model, (_, effects) in offers.items()})

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
            self.version += 1
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
            if _restore_was_interrupted(deployment, pointer):
                self._perform(model, (Effect.RESTORE,))
                mended.append(f"{model}: finished an interrupted rollback")
            if deployment.phase is Phase.ACTIVE and not self._is_whole(pointer, deployment):
                mended.append(self._mend_active(deployment))
            if self._drop_unwanted(deployment):
                mended.append(f"{model}: put away a second variant that is not wanted any more")
        return mended

    def model_states(self) -> tuple[ModelState, ...]:
        """What the device has proved, per model, in the order of names."""
        pointers = self.pointers.all()
        models = sorted({*self.deployments, *pointers})
        return tuple(
            model_state(model, self.deployments.get(model), pointers.get(model), self.journal)
            for model in models
        )

    def digest(self) -> str:
        """The digest by which the controller sees whether it knows this state."""
        return state_digest(self.generation, self.model_states())

    def active_proof(self, model: str) -> Proof | None:
        """The proof of the active variant, alone, if the journal still has it."""
        pointer = self.pointers.read(model)
        proof = self.journal.proof(model, pointer.active.normal.digest) if pointer else None
        if proof is None:
            return None
        return replace(proof, assignment=proof.assignment.model_copy(update={"low_power": None}))

    def active_variants(self, model: str) -> tuple[Assignment, ...]:
        """What applications may be using now, each variant as an assignment of its own."""
        pointer = self.pointers.read(model)
        proof = self.journal.proof(model, pointer.active.normal.digest) if pointer else None
        if pointer is None or proof is None:
            return ()
        alone = proof.assignment.model_copy(update={"low_power": None})
        second = proof.assignment.low_power
        if pointer.active.low_power is None or second is None:
            return (alone,)
        return alone, alone.model_copy(update={"variant": second.variant})

    def keep_low_power_proof(self, model: str, report: BenchmarkReport) -> None:
        """Keep what was measured on the second variant, before its trial counts as passed.

        Raises:
            StorageError: it was not kept.
        """
        self.journal.add_low_power_proof(self.deployments[model].assignment, report)
        self.version += 1

    # Tuning

    def untuned(self, fingerprint: str) -> list[str]:
        """Models whose active variant has not been tuned on a device like this."""
        return [
            model
            for model, pointer in self.pointers.all().items()
            if self.journal.tuning(pointer.active.normal.digest, fingerprint) is None
        ]

    def tuned(self, model: str, tuning: SessionTuning) -> bool:
        """Hand tuned session options to applications; whether the variant is still there.

        The pointer comes first: a crash in between costs another tuning, nothing else.

        Raises:
            StorageError: the pointer or the journal could not be written.
        """
        pointer = self.pointers.read(model)
        if pointer is None:
            return False
        pair = pointer.active.tuned(tuning.digest, tuned_options(tuning))
        if tuning.digest not in pair.artifacts():
            return False
        if pair != pointer.active:
            self._write(model, lambda _: replace(pointer, active=pair))
        self.journal.add_tuning(tuning)
        self.version += 1
        return True

    def switch(self, model: str, mode: PowerMode) -> bool:
        """Point applications at the variant for `mode`, durably; whether anything changed.

        Raises:
            StorageError: the pointer cannot be written, or the file is gone.
        """
        pointer = self.pointers.read(model)
        switched = pointer.switched(mode.value) if pointer else None
        if switched is None or switched == pointer:
            return False
        if not self.blobs.has(switched.current.digest):
            raise StorageError(
                f"The file of {switched.current.variant} is gone.",
                "Restart the agent: it fetches the file again.",
            )
        self._write(model, lambda _: switched)
        return True

    def limits_of(self, model: str, pair: Pair) -> LowPower | None:
        """When the second variant of a pair is to be used; None when nobody knows any more."""
        deployment = self.deployments.get(model)
        proof = self.journal.proof(model, pair.normal.digest)
        known = [deployment.assignment] if deployment else []
        known += [proof.assignment] if proof else []
        return next((one.low_power for one in known if one.low_power and _serves(pair, one)), None)

    # Inside

    def _offer(self, assignment: Assignment, generation: int) -> tuple[Deployment, Effects]:
        pointer = self.pointers.read(assignment.model)
        usable = pointer is not None and self._can_serve(pointer.active, assignment)
        active = pointer.active.normal.digest if pointer and usable else None
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
            elif effect is Effect.LEAVE:
                self._leave(model)
            elif effect is Effect.SETTLE:
                self._settle(model)
            else:
                left += (effect,)
        return left

    def _perform_all(
        self, effects: dict[str, Effects]
    ) -> tuple[dict[str, Effects], StorageError | None]:
        left: dict[str, Effects] = {}
        refused = None
        for model, all_of_it in effects.items():
            try:
                self._renew_terms(self.deployments[model])
                left[model] = self._perform(model, all_of_it)
            except StorageError as error:  # no reason to forget what the worker is to do
                left[model] = tuple(effect for effect in all_of_it if effect not in _OWN)
                refused = error
        return left, refused

    def _renew_terms(self, deployment: Deployment) -> None:
        """What stays active may have other limits now, or no second variant any more."""
        if deployment.phase is Phase.ACTIVE:
            self.journal.add_proof(deployment)
        self._drop_unwanted(deployment)

    def _activate(self, model: str) -> Effects:
        deployment = self.deployments[model]
        self.journal.add_proof(deployment)
        pair = pair_of(deployment, self.journal, self._clock())
        self._write(model, lambda pointer: _moved(pointer, pair))
        return self.apply(model, Activated())

    def _restore(self, model: str) -> None:
        self._write(model, lambda pointer: pointer.moved_back() if pointer else None)

    def _leave(self, model: str) -> None:
        pointer = self.pointers.read(model)
        if pointer and pointer.active.normal.digest == self.deployments[model].digest:
            self._restore(model)

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
        pair = pair_of(deployment, self.journal, self._clock())
        if self._can_serve(pair, deployment.assignment):
            self._write(model, lambda pointer: _moved(pointer, pair))
            return f"{model}: its pointer was lost and was written again"
        # Its deadline was that of the rollout, which it met.
        assignment = deployment.assignment.model_copy(update={"deadline": None})
        again = Deployment(generation=deployment.generation, assignment=assignment)
        self.journal.save(again)
        self.version += 1
        self.deployments[model] = again
        return f"{model}: its file was lost; it is deployed again"

    def _is_whole(self, pointer: Pointer | None, deployment: Deployment) -> bool:
        return pointer is not None and self._can_serve(pointer.active, deployment.assignment)

    def _can_serve(self, pair: Pair, assignment: Assignment) -> bool:
        """Whether what is assigned is there, with its files."""
        files = {pair.normal.digest}
        if assignment.low_power is not None:
            files.add(assignment.low_power.variant.digest)
        return _serves(pair, assignment) and all(self.blobs.has(digest) for digest in files)

    def _drop_unwanted(self, deployment: Deployment) -> bool:
        """Take away the second variant of what is active, if none is assigned any more."""
        pointer = self.pointers.read(deployment.model)
        is_asked = deployment.phase is not Phase.ACTIVE or deployment.assignment.low_power
        if pointer is None or is_asked or pointer.active.low_power is None:
            return False
        alone = replace(pointer, active=Pair(pointer.active.normal))
        self._write(deployment.model, lambda _: alone)
        return True

    def _write(self, model: str, change: Callable[[Pointer | None], Pointer | None]) -> None:
        self.version += 1
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


def _moved(pointer: Pointer | None, pair: Pair) -> Pointer:
    return pointer.moved_to(pair) if pointer else Pointer(pair)


def _serves(pair: Pair, assignment: Assignment) -> bool:
    """Whether the pair holds what is assigned, perhaps with a second variant to spare."""
    wanted = assignment.low_power.variant.digest if assignment.low_power else None
    held = pair.low_power.digest if pair.low_power else None
    return pair.normal.digest == assignment.variant.digest and wanted in (held, None)


def _restore_was_interrupted(deployment: Deployment, pointer: Pointer | None) -> bool:
    failure = deployment.failure
    return (
        failure is not None
        and failure.phase in (Phase.ACTIVE, Phase.ACTIVATING)
        and pointer is not None
        and pointer.active.normal.digest == deployment.digest
    )
