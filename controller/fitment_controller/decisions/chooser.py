"""The picks for single devices: one variant, and a second one for low power where that is asked.

Devices with equal signatures are one decision, so that a fleet costs as many selections as it has
kinds of devices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fitment_contract.portfolio import Portfolio
from fitment_controller.decisions.evidence import EvidenceIndex
from fitment_controller.decisions.filters import Question
from fitment_controller.decisions.selection import select
from fitment_controller.domain import (
    CandidateNumbers,
    Device,
    LowPowerPick,
    LowPowerRef,
    LowPowerRequest,
    RolloutRequest,
    Selection,
    VariantRef,
)
from fitment_controller.profiles import Profiles
from fitment_controller.profiles.kinds import Objective, Region


@dataclass(frozen=True)
class PlanInput:
    """Everything that a plan is made from.

    Attributes:
        objective: of the request, or the controller's default; where the request names none, a
            region's own goes first.
        current: device to the variant of this model that it runs or is assigned.
        busy: device to the running rollout of the same model that holds it.
    """

    request: RolloutRequest
    portfolio: Portfolio
    objective: Objective
    profiles: Profiles
    evidence: EvidenceIndex
    devices: Sequence[Device]
    current: Mapping[str, VariantRef]
    busy: Mapping[str, str]


@dataclass(frozen=True)
class Choice:
    """What was picked for one device.

    Attributes:
        low_power: None when no second variant was asked for, or nothing fits at all.
    """

    selection: Selection
    low_power: LowPowerPick | None = None


class Chooser:
    """Selects once per signature: all that the answer depends on."""

    def __init__(self, given: PlanInput) -> None:
        self._given = given
        self._made: dict[tuple[object, ...], Choice] = {}

    def choose(self, device: Device) -> Choice:
        """The picks for `device`."""
        signature = self._signature(device)
        if signature not in self._made:
            self._made[signature] = self._choose(device)
        return self._made[signature]

    def _choose(self, device: Device) -> Choice:
        question = self._question(device)
        selection = select(self._given.portfolio, question)
        wanted = self._given.request.low_power
        if wanted is None or selection.chosen is None:
            return Choice(selection)
        second = self._second_question(device, question, selection, wanted)
        return Choice(selection, _second(select(self._given.portfolio, second), selection, wanted))

    def _signature(self, device: Device) -> tuple[object, ...]:
        current = self._given.current.get(device.id)
        facts = device.facts
        return (
            device.device_class,
            device.region,
            device.fingerprint,
            facts.runtimes,
            facts.hardware.memory_bytes,
            facts.storage.free_bytes,
            facts.link.metered,
            current.digests if current else None,
        )

    def _question(self, device: Device) -> Question:
        current = self._given.current.get(device.id)
        region = self._given.profiles.region(device.region)
        second = current.digests[1] if current else None
        return Question(
            facts=device.facts,
            device_class=self._given.profiles.device_class(device.device_class),
            region=region,
            objective=self._objective(region),
            evidence=self._given.evidence,
            current=current.digest if current else None,
            pinned=self._given.request.variant,
            present=frozenset({second} if second else ()),
        )

    def _second_question(
        self, device: Device, first: Question, selection: Selection, wanted: LowPowerRequest
    ) -> Question:
        """About the second variant: what comes with the first one is there, and counts along."""
        assert selection.chosen is not None
        current = self._given.current.get(device.id)
        verdict = selection.verdict(selection.chosen)
        objective = first.objective
        if wanted.objective is not None:
            objective = self._given.profiles.objective(wanted.objective)
        there = {first.current, *_files(self._given.portfolio, selection.chosen)}
        return replace(
            first,
            objective=objective,
            current=current.digests[1] if current else None,
            pinned=wanted.variant,
            present=frozenset(digest for digest in there if digest is not None),
            along=verdict.numbers if verdict else CandidateNumbers(),
        )

    def _objective(self, region: Region) -> Objective:
        if self._given.request.objective is None and region.objective is not None:
            return self._given.profiles.objective(region.objective)
        return self._given.objective


def reference(
    portfolio: Portfolio, choice: Choice, wanted: LowPowerRequest | None
) -> VariantRef | None:
    """What a device is to be assigned; None when nothing fits it."""
    entry = portfolio.entry(choice.selection.chosen) if choice.selection.chosen else None
    if entry is None or entry.variant is None:
        return None
    second = choice.low_power.verdict if choice.low_power else None
    low_power = None
    if second is not None and wanted is not None:
        low_power = LowPowerRef(
            variant=second.variant,
            digest=second.digest,
            below_charge_ratio=wanted.below_charge_ratio,
            above_temperature_celsius=wanted.above_temperature_celsius,
        )
    return VariantRef(
        model_version=portfolio.model_version,
        variant=entry.variant.name,
        digest=entry.variant.digest,
        low_power=low_power,
    )


def why_nothing(selection: Selection) -> str:
    """The sentence of a selection that found nothing, with the rules that stopped it."""
    rules = Counter(verdict.rule for verdict in selection.verdicts)
    shown = ", ".join(f"{rule} ({count})" for rule, count in rules.most_common())
    return f"{selection.reason}; stopped by {shown}" if shown else selection.reason


def _second(second: Selection, first: Selection, wanted: LowPowerRequest) -> LowPowerPick:
    if second.chosen is None:
        named = second.verdict(wanted.variant) if wanted.variant is not None else None
        reason = f"{named.variant}: {named.reason}" if named else why_nothing(second)
        return LowPowerPick(reason=reason, remedy=second.remedy)
    if second.chosen == first.chosen:
        return LowPowerPick(reason=f"{first.chosen} is the pick for normal power as well")
    return LowPowerPick(verdict=second.verdict(second.chosen), reason=second.reason)


def _files(portfolio: Portfolio, variant: str) -> set[str]:
    """The digests of what is on a device that runs `variant`."""
    entry = portfolio.entry(variant)
    assert entry is not None
    assert entry.variant is not None  # it was chosen
    golden = entry.variant.golden
    artifacts = (entry.variant.artifact, golden.artifact if golden else None, portfolio.evaluation)
    return {artifact.digest for artifact in artifacts if artifact is not None}
