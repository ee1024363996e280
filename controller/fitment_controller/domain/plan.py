"""What a person asks for, and who would get what."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, model_validator

from fitment_contract.base import Bytes, Count, DeviceId, Name, Ratio, Record, Seconds
from fitment_controller.domain.devices import DeviceFilter, VariantRef

MAX_DEADLINE_SECONDS: Final = 90 * 86_400.0
"""A quarter of a year: whoever is away for longer joins a later rollout."""


class RolloutPolicy(Record):
    """How carefully a rollout moves.

    Attributes:
        canary_count: first devices per stratum and distinct variant change.
        wave_ratio: share of the stratum that one wave adds; at least one device.
        max_in_flight: devices of a stratum that may be on their way at once.
        deadline_seconds: a device that is not proved after this long has timed out.
        min_success_ratio: of the finished devices of a stratum after its canaries; canaries must
            all succeed.
        max_accuracy_loss: against the baseline on the build host and against what the device ran
            before, both on the shipped evaluation split, in the metric's unit.
        max_p95_ratio: p95 over the p95 of what the device ran before, median over devices.
    """

    canary_count: Annotated[int, Field(ge=1)] = 1
    wave_ratio: Annotated[float, Field(gt=0, le=1)] = 0.5
    max_in_flight: Annotated[int, Field(ge=1)] = 100
    deadline_seconds: Annotated[float, Field(gt=0, le=MAX_DEADLINE_SECONDS)] = 1800.0
    min_success_ratio: Ratio = 0.9
    max_accuracy_loss: Annotated[float, Field(ge=0)] = 0.02
    max_p95_ratio: Annotated[float, Field(gt=0)] = 1.5


class LowPowerRequest(Record):
    """A second variant to bring along, for when energy or coolness is short.

    Attributes:
        variant, objective: which one; the one named, or the best by this objective.
        below_charge_ratio: used while a device is on battery and charged less than this.
        above_temperature_celsius: used while a device is hotter than this.
    """

    variant: Name | None = None
    objective: Name | None = None
    below_charge_ratio: Ratio | None = None
    above_temperature_celsius: float | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> LowPowerRequest:
        if (self.variant is None) == (self.objective is None):
            raise ValueError("name either a variant or an objective for low power")
        if self.below_charge_ratio is None and self.above_temperature_celsius is None:
            raise ValueError("say below which charge or above which temperature it is used")
        return self


class RolloutRequest(Record):
    """What a person asks for: a model for some devices.

    Attributes:
        model_version: None for the newest.
        objective: None for the controller's default.
        variant: only this variant is considered; every filter still applies to it.
        low_power: a second variant besides; None asks for one variant only, also on devices that
            have two now.
    """

    model: Name
    model_version: Count | None = None
    objective: Name | None = None
    variant: Name | None = None
    low_power: LowPowerRequest | None = None
    devices: DeviceFilter = DeviceFilter()
    policy: RolloutPolicy = RolloutPolicy()


class PlannedDevice(Record):
    """One device and where it goes.

    Attributes:
        before: what is assigned or active now, None when nothing is.
        link_bytes: what moves, with the second variant.
        low_power_link_bytes: the second variant's part of that.
        reason: the selection's.
        low_power_reason: why it gets this second variant, or none; empty when none was asked for.
    """

    device: DeviceId
    device_class: Name
    region: Name
    before: VariantRef | None = None
    after: VariantRef
    link_bytes: Bytes
    low_power_link_bytes: Bytes = 0
    reason: str
    low_power_reason: str = ""


class VariantChange(Record):
    """How many devices of a stratum go from one variant to another."""

    before: Name | None = None
    after: Name
    low_power: Name | None = None
    count: Count
    link_bytes: Bytes


class PlannedStratum(Record):
    """The devices of one class in one region: they are proved by canaries of their own."""

    id: str
    device_class: Name
    region: Name
    device_count: Count
    changes: tuple[VariantChange, ...]


class Unplaceable(Record):
    """A device for which nothing fits, at all or as a second variant."""

    device: DeviceId
    device_class: Name
    region: Name
    reason: str
    remedy: str | None = None


class RegionBytes(Record):
    """What a plan moves into a region, and how long that takes one device after another's budget.

    Attributes:
        seconds_per_device: the mean transfer at the region's link; None when that is not stated.
    """

    region: Name
    device_count: Count
    link_bytes: Bytes
    seconds_per_device: Seconds | None = None
    price: float | None = None


class Plan(Record):
    """Who would get what and why, before anything is touched.

    Attributes:
        devices: that would change, by id.
        unchanged: devices that already run what was picked, by id.
        without_low_power: devices that get no second variant though one was asked for.
        refusals: why it cannot be started; empty when it can.
    """

    model: Name
    model_version: Count
    objective: Name
    policy: RolloutPolicy
    strata: tuple[PlannedStratum, ...]
    devices: tuple[PlannedDevice, ...]
    unchanged: tuple[DeviceId, ...] = ()
    unplaceable: tuple[Unplaceable, ...] = ()
    without_low_power: tuple[Unplaceable, ...] = ()
    regions: tuple[RegionBytes, ...] = ()
    refusals: tuple[str, ...] = ()
