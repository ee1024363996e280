"""Stored assignments to the message that a device gets. Pure: the same state, the same message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from fitment_contract.artifact import Artifact
from fitment_contract.benchmark import BenchmarkProtocol
from fitment_contract.messages import Assignment, Desired, Evaluation, LowPower
from fitment_contract.portfolio import Portfolio
from fitment_contract.variant import Variant
from fitment_controller.domain import Assigned, DesiredState, LowPowerRef


@dataclass(frozen=True)
class Delivery:
    """How assignments are carried out everywhere.

    Attributes:
        artifacts_url: prefix of artifact URLs as devices reach it; `/<digest>` is appended.
        protocol: the terms of trial benchmarks.
    """

    artifacts_url: str
    protocol: BenchmarkProtocol


def assign(state: DesiredState, assigned: Assigned) -> DesiredState:
    """The next generation, in which `assigned` replaces what its model had."""
    others = tuple(entry for entry in state.assigned if entry.model != assigned.model)
    return state.model_copy(
        update={
            "generation": assigned.generation,
            "assigned": (*others, assigned),
            "withdrawn": tuple(name for name in state.withdrawn if name != assigned.model),
            "handed_over": False,
        }
    )


def withdraw(state: DesiredState, model: str, generation: int) -> DesiredState:
    """The generation in which `model` is taken back."""
    return state.model_copy(
        update={
            "generation": generation,
            "assigned": tuple(entry for entry in state.assigned if entry.model != model),
            "withdrawn": tuple(sorted({*state.withdrawn, model})),
            "handed_over": False,
        }
    )


def message(
    state: DesiredState,
    portfolios: Mapping[tuple[str, int], Portfolio],
    delivery: Delivery,
    now: datetime,
) -> Desired:
    """The message for one device; `portfolios` holds every assigned (model, version)."""
    return Desired(
        device=state.device,
        sent_at=now,
        generation=state.generation,
        assignments=tuple(
            _assignment(entry, portfolios[entry.model, entry.ref.model_version], delivery)
            for entry in state.assigned
        ),
        withdrawn=state.withdrawn,
    )


def _assignment(entry: Assigned, portfolio: Portfolio, delivery: Delivery) -> Assignment:
    found = portfolio.entry(entry.ref.variant)
    assert found is not None  # the store keeps every version that is assigned
    assert found.variant is not None
    evaluation = None
    if portfolio.evaluation is not None:
        artifact = _located(portfolio.evaluation, delivery)
        evaluation = Evaluation(artifact=artifact, metric=portfolio.metric)
    return Assignment(
        model=entry.model,
        variant=_reachable(found.variant, delivery),
        evaluation=evaluation,
        conditions=entry.conditions,
        protocol=delivery.protocol,
        low_power=_low_power(entry.ref.low_power, portfolio, delivery),
        rollout=entry.rollout,
        deadline=entry.deadline,
    )


def _low_power(
    second: LowPowerRef | None, portfolio: Portfolio, delivery: Delivery
) -> LowPower | None:
    if second is None:
        return None
    found = portfolio.entry(second.variant)
    assert found is not None  # of the same version as the first
    assert found.variant is not None
    return LowPower(
        variant=_reachable(found.variant, delivery),
        below_charge_ratio=second.below_charge_ratio,
        above_temperature_celsius=second.above_temperature_celsius,
    )


def _reachable(variant: Variant, delivery: Delivery) -> Variant:
    changes: dict[str, object] = {"artifact": _located(variant.artifact, delivery)}
    if variant.golden is not None:
        located = _located(variant.golden.artifact, delivery)
        changes["golden"] = variant.golden.model_copy(update={"artifact": located})
    return variant.model_copy(update=changes)


def _located(artifact: Artifact, delivery: Delivery) -> Artifact:
    return artifact.served(delivery.artifacts_url)
