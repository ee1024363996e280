"""The state as records: what a proved deployment becomes in the pointer, and what is reported."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fitment_agent.activation import Activation, Pair, Pointer
from fitment_agent.deployment import Deployment, artifacts_of
from fitment_agent.journal import Journal
from fitment_contract.benchmark import BenchmarkReport, SessionTuning
from fitment_contract.messages import ActiveVariant, ModelState, PowerMode
from fitment_contract.phase import Phase
from fitment_contract.variant import Variant


def pair_of(deployment: Deployment, journal: Journal, now: datetime) -> Pair:
    """What the pointer says about a proved deployment."""
    assignment = deployment.assignment
    normal = _activation(deployment, assignment.variant, deployment.benchmark, journal, now)
    if assignment.low_power is None:
        return Pair(normal)
    second = assignment.low_power.variant
    proof = journal.proof(deployment.model, second.digest)
    report = proof.benchmark if proof else None
    return Pair(normal, _activation(deployment, second, report, journal, now))


def _activation(
    deployment: Deployment,
    variant: Variant,
    report: BenchmarkReport | None,
    journal: Journal,
    now: datetime,
) -> Activation:
    alone = deployment.assignment.model_copy(update={"variant": variant, "low_power": None})
    threads = report.latency.threads if report else alone.protocol.threads
    ran = report.kernels.providers if report else {}
    # The runtime reads the list as an order of preference; the CPU takes what the others leave.
    providers = [name for name in variant.needs.providers_any_of if name in ran]
    providers += sorted(set(ran) - set(providers))
    activation = Activation(
        model=deployment.model,
        generation=deployment.generation,
        variant=variant.name,
        model_version=variant.model_version,
        digest=variant.digest,
        path=f"blobs/{variant.digest}",
        runtime=variant.needs.runtime,
        session_options={
            "threads": threads,
            "affinity": [],
            "providers": providers,
            "arena": True,
        },
        activated_at=now.isoformat(timespec="milliseconds"),
        artifacts=tuple(artifact.digest for artifact in artifacts_of(alone)),
    )
    tuning = journal.tuning(variant.digest, report.fingerprint if report else None)
    return activation.tuned(variant.digest, tuned_options(tuning)) if tuning else activation


def tuned_options(tuning: SessionTuning) -> dict[str, Any]:
    """The session options that a tuning decided; on the CPU alone it leaves the providers."""
    options: dict[str, Any] = {
        "threads": tuning.threads,
        "affinity": list(tuning.affinity),
        "arena": tuning.arena,
    }
    return {**options, "providers": list(tuning.providers)} if tuning.providers else options


def model_state(
    model: str, deployment: Deployment | None, pointer: Pointer | None, journal: Journal
) -> ModelState:
    """What to report about a model; the pointer alone says what is active.

    Without a deployment the journal was lost and the pointer is all that is known.
    """
    in_use = _in_use(model, pointer, journal)
    if deployment is None:
        assert pointer is not None
        return ModelState(
            model=model,
            generation=pointer.active.normal.generation,
            phase=Phase.ACTIVE,
            variant=pointer.active.normal.variant,
            digest=pointer.active.normal.digest,
            **in_use,
        )
    second = deployment.assignment.low_power
    proof = journal.proof(model, second.variant.digest) if second else None
    return ModelState(
        model=model,
        generation=deployment.generation,
        phase=deployment.phase,
        variant=deployment.assignment.variant.name,
        digest=deployment.digest,
        rollout=deployment.assignment.rollout,
        waiting=deployment.waiting,
        failure=deployment.failure,
        benchmark=deployment.benchmark,
        low_power_benchmark=proof.benchmark if proof else None,
        bytes_transferred=deployment.bytes_transferred,
        tries=deployment.tries,
        **in_use,
    )


def _in_use(model: str, pointer: Pointer | None, journal: Journal) -> dict[str, Any]:
    """What the pointer says, in the contract's words."""
    if pointer is None:
        return {}
    pair = pointer.active
    return {
        "active": _active_variant(pair.normal),
        "mode": PowerMode(pair.mode) if pair.low_power else None,
        "low_power": _active_variant(pair.low_power) if pair.low_power else None,
        "previous": _active_variant(pointer.previous) if pointer.previous else None,
        "tuning": journal.tuning(pair.normal.digest),
    }


def _active_variant(activation: Activation) -> ActiveVariant:
    return ActiveVariant(
        variant=activation.variant,
        model_version=activation.model_version,
        digest=activation.digest,
        generation=activation.generation,
        since=datetime.fromisoformat(activation.activated_at),
    )
