"""Devices, and what is desired of them and proved by them."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import Field

from fitment_contract.base import (
    Bytes,
    Count,
    DeviceId,
    Digest,
    Name,
    Ratio,
    Record,
    Seconds,
    Timestamp,
)
from fitment_contract.device import DeviceFacts, Fingerprint
from fitment_contract.messages import ActiveVariant, DeployConditions, ModelState, PowerMode

Item = TypeVar("Item")


class DeviceVitals(Record):
    """The newest heartbeat's readings."""

    at: Timestamp
    uptime_seconds: Seconds | None = None
    charge_ratio: Ratio | None = None
    charging: bool | None = None
    temperature_celsius: float | None = None
    throttled: bool | None = None
    memory_available_bytes: Bytes | None = None
    storage_free_bytes: Bytes | None = None


class Device(Record):
    """A device as headquarters knows it.

    Attributes:
        device_class, region: names of profiles; classified from the facts at each birth.
        session, sequence: of the newest message that counted; older ones are dropped.
        online: the presence lease runs and no goodbye of this session arrived.
        interval_seconds: within which the device promised to speak again, if it did.
        lease_until: when silence turns into offline.
        generation: of the desired state that the device reported last.
        state_digest: of the reported state that is stored; vitals with another one are asked about.
    """

    id: DeviceId
    facts: DeviceFacts
    device_class: Name
    region: Name
    fingerprint: Fingerprint
    agent_version: str
    session: Count
    sequence: Count
    online: bool
    interval_seconds: Seconds | None = None
    lease_until: Timestamp
    last_seen: Timestamp
    registered_at: Timestamp
    generation: Count = 0
    state_digest: Digest | None = None
    vitals: DeviceVitals | None = None


class DeviceFilter(Record):
    """Which devices are meant; every condition that is given must hold.

    Attributes:
        ids, classes, regions: any of; empty means all.
        labels: exact values of labels that the device's facts carry.
    """

    ids: tuple[DeviceId, ...] = ()
    classes: tuple[Name, ...] = ()
    regions: tuple[Name, ...] = ()
    labels: dict[str, str] = Field(default_factory=dict)
    online: bool | None = None


class Page(Record, Generic[Item]):
    """Some items of a list; `next` is the cursor of the following page, None at the end."""

    items: tuple[Item, ...]
    next: str | None = None


class LowPowerRef(Record):
    """The second variant of a pair, of the same model version as the first, and when it is used.

    Attributes:
        below_charge_ratio: while the device is on battery and charged less than this.
        above_temperature_celsius: while the device is hotter than this.
    """

    variant: Name
    digest: Digest
    below_charge_ratio: Ratio | None = None
    above_temperature_celsius: float | None = None


class VariantRef(Record):
    """A variant of a model version, by name.

    Attributes:
        low_power: the second variant that comes with it, where there is one.
    """

    model_version: Count
    variant: Name
    digest: Digest
    low_power: LowPowerRef | None = None

    @property
    def digests(self) -> tuple[Digest, Digest | None]:
        """Of the file, and of the second one."""
        return self.digest, self.low_power.digest if self.low_power else None

    def is_same_as(self, other: VariantRef) -> bool:
        """Whether going from one to the other changes nothing on a device."""
        return (self.digest, self.low_power) == (other.digest, other.low_power)


class Assigned(Record):
    """What headquarters wants one device to run for one model.

    Attributes:
        generation: of the device's desired state that brought this assignment.
        rollout: that assigned it.
    """

    model: Name
    ref: VariantRef
    generation: Count
    conditions: DeployConditions = DeployConditions()
    rollout: str | None = None
    deadline: Timestamp | None = None
    assigned_at: Timestamp


class DesiredState(Record):
    """The desired state of one device as stored; `desired.py` makes the message from it.

    Attributes:
        withdrawn: models that the device is to take back to what it ran before, or to none.
        handed_over: this generation reached the broker connection.
    """

    device: DeviceId
    generation: Count = 0
    assigned: tuple[Assigned, ...] = ()
    withdrawn: tuple[Name, ...] = ()
    handed_over: bool = True

    def assignment(self, model: str) -> Assigned | None:
        """What is assigned for `model`, if anything."""
        return next((entry for entry in self.assigned if entry.model == model), None)


class ReportedModel(Record):
    """What one device proved about one model.

    Attributes:
        received_at: of the newest report.
        phase_since: when headquarters first heard of the present phase of this generation.
    """

    device: DeviceId
    state: ModelState
    received_at: Timestamp
    phase_since: Timestamp


def in_use_of(state: ModelState) -> ActiveVariant | None:
    """What applications use now: of a pair, the variant that the device has switched to."""
    if state.mode is PowerMode.LOW_POWER and state.low_power is not None:
        return state.low_power
    return state.active


class DeviceModel(Record):
    """Desired and reported of one model on one device, side by side."""

    device: DeviceId
    model: Name
    assigned: Assigned | None = None
    reported: ReportedModel | None = None


class FleetCell(Record):
    """How many devices share a class, a region and a presence."""

    region: Name
    device_class: Name
    online: bool
    count: Count


class VariantCell(Record):
    """How many devices of a class and region run a variant (or none, while it is on its way).

    Attributes:
        variant: in use by applications; None when nothing is active yet.
        phase: of the newest deployment.
        wait_reason: the condition that holds that deployment back.
        mode: which variant of a pair is in use; None where there is one variant only.
    """

    region: Name
    device_class: Name
    model: Name
    variant: Name | None
    phase: str
    wait_reason: str | None = None
    mode: str | None = None
    count: Count


class FleetSummary(Record):
    """The fleet in counts, for status screens and metrics; cheap at any size."""

    devices: tuple[FleetCell, ...] = ()
    variants: tuple[VariantCell, ...] = ()
