"""Fleet to strata and assignments. Devices with equal signatures are one decision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fitment_contract.portfolio import Portfolio
from fitment_controller.decisions.evidence import EvidenceIndex
from fitment_controller.decisions.filters import Question
from fitment_controller.decisions.selection import select
from fitment_controller.domain import (
    Device,
    Plan,
    PlannedDevice,
    PlannedStratum,
    RegionBytes,
    RolloutRequest,
    Selection,
    Unplaceable,
    VariantChange,
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


def stratum_id(device_class: str, region: str) -> str:
    """The name of the stratum of a class in a region."""
    return f"{device_class}/{region}"


def make_plan(given: PlanInput) -> Plan:
    """Who gets what, what stays, what cannot be placed, and whether it can start."""
    chooser = Chooser(given)
    moved: list[PlannedDevice] = []
    unchanged: list[str] = []
    unplaceable: list[Unplaceable] = []
    for device in sorted(given.devices, key=lambda item: item.id):
        selection = chooser.choose(device)
        after = _ref(given.portfolio, selection)
        before = given.current.get(device.id)
        if after is None:
            unplaceable.append(_unplaceable(device, selection))
        elif before is not None and before.digest == after.digest:
            unchanged.append(device.id)
        else:
            moved.append(_planned(device, before, after, selection))
    return Plan(
        model=given.portfolio.model,
        model_version=given.portfolio.model_version,
        objective=given.objective.name,
        policy=given.request.policy,
        strata=_strata(moved),
        devices=tuple(moved),
        unchanged=tuple(unchanged),
        unplaceable=tuple(unplaceable),
        regions=_regions(moved, given.profiles),
        refusals=_refusals(given, moved, unchanged),
    )


class Chooser:
    """Selects once per signature: all that the answer depends on."""

    def __init__(self, given: PlanInput) -> None:
        self._given = given
        self._made: dict[tuple[object, ...], Selection] = {}

    def choose(self, device: Device) -> Selection:
        """The selection for `device`."""
        signature = self._signature(device)
        if signature not in self._made:
            self._made[signature] = select(self._given.portfolio, self._question(device))
        return self._made[signature]

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
            current.digest if current else None,
        )

    def _question(self, device: Device) -> Question:
        current = self._given.current.get(device.id)
        region = self._given.profiles.region(device.region)
        return Question(
            facts=device.facts,
            device_class=self._given.profiles.device_class(device.device_class),
            region=region,
            objective=self._objective(region),
            evidence=self._given.evidence,
            current=current.digest if current else None,
            pinned=self._given.request.variant,
        )

    def _objective(self, region: Region) -> Objective:
        if self._given.request.objective is None and region.objective is not None:
            return self._given.profiles.objective(region.objective)
        return self._given.objective


def _ref(portfolio: Portfolio, selection: Selection) -> VariantRef | None:
    entry = portfolio.entry(selection.chosen) if selection.chosen else None
    if entry is None or entry.variant is None:
        return None
    return VariantRef(
        model_version=portfolio.model_version,
        variant=entry.variant.name,
        digest=entry.variant.digest,
    )


def _planned(
    device: Device,
    before: VariantRef | None,
    after: VariantRef,
    selection: Selection,
) -> PlannedDevice:
    verdict = selection.verdict(after.variant)
    assert verdict is not None  # what was chosen was judged
    return PlannedDevice(
        device=device.id,
        device_class=device.device_class,
        region=device.region,
        before=before,
        after=after,
        link_bytes=verdict.numbers.link_bytes,
        reason=selection.reason,
    )


def _unplaceable(device: Device, selection: Selection) -> Unplaceable:
    rules = Counter(verdict.rule for verdict in selection.verdicts)
    shown = ", ".join(f"{rule} ({count})" for rule, count in rules.most_common())
    return Unplaceable(
        device=device.id,
        device_class=device.device_class,
        region=device.region,
        reason=f"{selection.reason}; stopped by {shown}" if shown else selection.reason,
        remedy=selection.remedy,
    )


def _strata(moved: Iterable[PlannedDevice]) -> tuple[PlannedStratum, ...]:
    groups: dict[tuple[str, str], list[PlannedDevice]] = {}
    for device in moved:
        groups.setdefault((device.device_class, device.region), []).append(device)
    return tuple(
        PlannedStratum(
            id=stratum_id(device_class, region),
            device_class=device_class,
            region=region,
            device_count=len(devices),
            changes=_changes(devices),
        )
        for (device_class, region), devices in sorted(groups.items())
    )


def _changes(devices: Iterable[PlannedDevice]) -> tuple[VariantChange, ...]:
    counts: Counter[tuple[str, str]] = Counter()
    sizes: Counter[tuple[str, str]] = Counter()
    for device in devices:
        key = (device.before.variant if device.before else "", device.after.variant)
        counts[key] += 1
        sizes[key] += device.link_bytes
    return tuple(
        VariantChange(before=before or None, after=after, count=count, link_bytes=sizes[key])
        for key, count in sorted(counts.items())
        for before, after in [key]
    )


def _regions(moved: Iterable[PlannedDevice], profiles: Profiles) -> tuple[RegionBytes, ...]:
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for device in moved:
        counts[device.region] += 1
        sizes[device.region] += device.link_bytes
    result = []
    for name in sorted(counts):
        link = profiles.region(name).link
        rate, price = link.downlink_bytes_per_second, link.price_per_megabyte
        result.append(
            RegionBytes(
                region=name,
                device_count=counts[name],
                link_bytes=sizes[name],
                seconds_per_device=sizes[name] / counts[name] / rate if rate else None,
                price=sizes[name] / 1e6 * price if price is not None else None,
            )
        )
    return tuple(result)


def _refusals(
    given: PlanInput, moved: Sequence[PlannedDevice], unchanged: Sequence[str]
) -> tuple[str, ...]:
    """Why this cannot be started. Devices that cannot be placed are shown, and refuse nothing."""
    if not given.devices:
        return ("no device is selected: check the filter, or register devices first",)
    refusals = []
    pinned = given.request.variant
    entry = given.portfolio.entry(pinned) if pinned is not None else None
    if pinned is not None and (entry is None or entry.variant is None):
        names = ", ".join(item.name for item in given.portfolio.listed())
        refusals.append(f"the model has no variant {pinned!r}; it has {names}")
    elif not moved and not unchanged:
        refusals.append("no variant fits any of the selected devices")
    elif not moved:
        refusals.append("nothing to do: every placeable device runs its pick already")
    held = Counter(given.busy[device.device] for device in moved if device.device in given.busy)
    for rollout, count in sorted(held.items()):
        refusals.append(f"rollout {rollout} of the same model still holds {count} of the devices")
    return tuple(refusals)
