"""Fleet to strata and assignments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from fitment_controller.decisions.chooser import (
    Choice,
    Chooser,
    PlanInput,
    reference,
    why_nothing,
)
from fitment_controller.domain import (
    Device,
    Plan,
    PlannedDevice,
    PlannedStratum,
    RegionBytes,
    Unplaceable,
    VariantChange,
    VariantRef,
)
from fitment_controller.profiles import Profiles


def stratum_id(device_class: str, region: str) -> str:
    """The name of the stratum of a class in a region."""
    return f"{device_class}/{region}"


def make_plan(given: PlanInput) -> Plan:
    """Who gets what, what stays, what cannot be placed, and whether it can start."""
    chooser = Chooser(given)
    moved: list[PlannedDevice] = []
    unchanged: list[str] = []
    unplaceable: list[Unplaceable] = []
    single: list[Unplaceable] = []
    for device in sorted(given.devices, key=lambda item: item.id):
        choice = chooser.choose(device)
        after = reference(given.portfolio, choice, given.request.low_power)
        before = given.current.get(device.id)
        second = choice.low_power
        if second is not None and second.verdict is None:
            single.append(_unplaceable(device, second.reason, second.remedy))
        if after is None:
            selection = choice.selection
            unplaceable.append(_unplaceable(device, why_nothing(selection), selection.remedy))
        elif before is not None and before.is_same_as(after):
            unchanged.append(device.id)
        else:
            moved.append(_planned(device, before, after, choice))
    return Plan(
        model=given.portfolio.model,
        model_version=given.portfolio.model_version,
        objective=given.objective.name,
        policy=given.request.policy,
        strata=_strata(moved),
        devices=tuple(moved),
        unchanged=tuple(unchanged),
        unplaceable=tuple(unplaceable),
        without_low_power=tuple(single),
        regions=_regions(moved, given.profiles),
        refusals=_refusals(given, moved, unchanged),
    )


def _planned(
    device: Device,
    before: VariantRef | None,
    after: VariantRef,
    choice: Choice,
) -> PlannedDevice:
    verdict = choice.selection.verdict(after.variant)
    assert verdict is not None  # what was chosen was judged
    second = choice.low_power.verdict if choice.low_power else None
    second_bytes = second.numbers.link_bytes if second else 0
    return PlannedDevice(
        device=device.id,
        device_class=device.device_class,
        region=device.region,
        before=before,
        after=after,
        link_bytes=verdict.numbers.link_bytes + second_bytes,
        low_power_link_bytes=second_bytes,
        reason=choice.selection.reason,
        low_power_reason=choice.low_power.reason if choice.low_power else "",
    )


def _unplaceable(device: Device, reason: str, remedy: str | None) -> Unplaceable:
    return Unplaceable(
        device=device.id,
        device_class=device.device_class,
        region=device.region,
        reason=reason,
        remedy=remedy,
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
    counts: Counter[tuple[str, str, str]] = Counter()
    sizes: Counter[tuple[str, str, str]] = Counter()
    for device in devices:
        second = device.after.low_power
        before = device.before.variant if device.before else ""
        key = (before, device.after.variant, second.variant if second else "")
        counts[key] += 1
        sizes[key] += device.link_bytes
    return tuple(
        VariantChange(
            before=before or None,
            after=after,
            low_power=second or None,
            count=count,
            link_bytes=sizes[before, after, second],
        )
        for (before, after, second), count in sorted(counts.items())
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
    refusals = _misnamed(given)
    if refusals:
        return tuple(refusals)
    if not moved and not unchanged:
        refusals.append("no variant fits any of the selected devices")
    elif not moved:
        refusals.append("nothing to do: every placeable device runs its pick already")
    held = Counter(given.busy[device.device] for device in moved if device.device in given.busy)
    for rollout, count in sorted(held.items()):
        refusals.append(f"rollout {rollout} of the same model still holds {count} of the devices")
    return tuple(refusals)


def _misnamed(given: PlanInput) -> list[str]:
    """Variants that the request names and that cannot be meant."""
    low_power = given.request.low_power
    named = [given.request.variant, low_power.variant if low_power else None]
    names = {item.name for item in given.portfolio.listed() if item.variant is not None}
    refusals = [
        f"the model has no variant {name!r}; it has {', '.join(sorted(names))}"
        for name in dict.fromkeys(named)
        if name is not None and name not in names
    ]
    if named[0] is not None and named[0] == named[1]:
        refusals.append(f"{named[0]} is asked for both for normal and for low power")
    return refusals
