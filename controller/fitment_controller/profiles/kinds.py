"""What profile files can say: device classes, regions and objectives. Strict on purpose.

A word that nobody reads is an error here, unlike in messages: a file is written by a person who
should learn of a typing mistake now, and not from a fleet that ignores it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from fitment_contract.base import Name
from fitment_contract.messages import ClockTime, DeployConditions, WaitReason, Weekday, Window
from fitment_contract.variant import Variant

API_VERSION = "fitment/v1"

PositiveBytes = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Patience = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """A mapping in a profile file: immutable, finite numbers, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class VariantRule(Section):
    """Names variants by their properties; all that is given must hold.

    Attributes:
        precisions, formats: any of.
        traits: all of.
        reason: why, in a sentence that verdicts repeat.
    """

    precisions: tuple[Name, ...] = ()
    formats: tuple[Name, ...] = ()
    traits: tuple[Name, ...] = ()
    reason: str = Field(min_length=1)

    def covers(self, variant: Variant) -> bool:
        """Whether `variant` is meant."""
        return (
            (not self.precisions or variant.precision in self.precisions)
            and (not self.formats or variant.format in self.formats)
            and set(self.traits) <= set(variant.traits)
        )


# ---------------------------------------------------------------------------------- device class


class Match(Section):
    """Conditions over device facts; all that are given must hold. Patterns are shell globs.

    Attributes:
        architecture, soc, board, os: any of; compared without regard to case.
        isa_all_of, isa_any_of, isa_none_of: instruction-set features.
        accelerators_any_of: at least one of these.
        memory_min_bytes, memory_max_bytes: of physical memory, both inclusive.
    """

    architecture: tuple[str, ...] = ()
    soc: tuple[str, ...] = ()
    board: tuple[str, ...] = ()
    os: tuple[str, ...] = ()
    isa_all_of: tuple[str, ...] = ()
    isa_any_of: tuple[str, ...] = ()
    isa_none_of: tuple[str, ...] = ()
    accelerators_any_of: tuple[str, ...] = ()
    memory_min_bytes: PositiveBytes | None = None
    memory_max_bytes: PositiveBytes | None = None


class Limits(Section):
    """What one model may take of such a device."""

    model_memory_bytes: PositiveBytes | None = None


class Speed(Section):
    """How such a device compares with the build host.

    Attributes:
        latency_ratio: fp32 latency over the build host's, one thread each.
        source: where the figure comes from.
    """

    latency_ratio: PositiveFloat = 1.0
    source: str = Field(min_length=1)


class Prior(Section):
    """What is expected of some variants before anything was measured.

    Attributes:
        precision, traits: the variants meant; the first prior that covers a variant counts.
        latency_ratio: expected latency over the fp32 baseline's on such a device.
        source: where the expectation comes from.
    """

    precision: Name
    traits: tuple[Name, ...] = ()
    latency_ratio: PositiveFloat
    source: str = Field(min_length=1)

    def covers(self, variant: Variant) -> bool:
        """Whether the expectation is about `variant`."""
        return variant.precision == self.precision and set(self.traits) <= set(variant.traits)


class DeviceClass(Section):
    """A named set of match rules with what is known about such devices beforehand.

    Attributes:
        priority: classes are tried from the highest down; the first that matches counts.
        match: alternatives; one of them must hold.
        prefer: breaks ties.
        avoid: such variants come last until one has been measured on such a device.
    """

    apiVersion: Literal["fitment/v1"]
    kind: Literal["DeviceClass"]
    name: Name
    title: str
    priority: int = 0
    match: tuple[Match, ...] = Field(min_length=1)
    limits: Limits = Limits()
    speed: Speed | None = None
    priors: tuple[Prior, ...] = ()
    prefer: tuple[VariantRule, ...] = ()
    avoid: tuple[VariantRule, ...] = ()

    def prior(self, variant: Variant) -> Prior | None:
        """The first expectation that covers `variant`."""
        return next((prior for prior in self.priors if prior.covers(variant)), None)


# ---------------------------------------------------------------------------------------- region


class RegionLink(Section):
    """The link that devices of a region usually have; what a device says of its own goes first.

    Attributes:
        price_per_megabyte: in the region's own currency, for plans.
    """

    downlink_bytes_per_second: PositiveFloat | None = None
    metered: bool = False
    price_per_megabyte: Annotated[float, Field(ge=0)] | None = None


class Budget(Section):
    """What one update may move to one device. None means no limit."""

    bytes_per_update: PositiveBytes | None = None
    metered_bytes_per_update: PositiveBytes | None = None


class RegionWindow(Section):
    """Hours in which devices may be worked on, in each device's own local time.

    Attributes:
        start, end: `HH:MM`; past midnight when `end` is not after `start`.
        days: on which it starts (`mon` to `sun`); every day when left out.
    """

    start: ClockTime
    end: ClockTime
    days: tuple[Weekday, ...] = ()


class MaxDefer(Section):
    """How long single conditions hold back at most, in place of `max_defer_seconds`."""

    battery_seconds: Patience | None = None
    metered_seconds: Patience | None = None
    thermal_seconds: Patience | None = None
    byte_budget_seconds: Patience | None = None
    window_seconds: Patience | None = None
    foreground_seconds: Patience | None = None

    def by_reason(self) -> dict[WaitReason, float]:
        """Those that are given, as assignments carry them."""
        return {
            WaitReason(name.removesuffix("_seconds")): seconds
            for name, seconds in self.model_dump(exclude_none=True).items()
        }


class RegionConditions(Section):
    """What devices of a region wait for before they deploy; they enforce it themselves.

    Attributes:
        min_charge_ratio, require_charging: of the battery, where there is one.
        allow_metered: whether a metered link may carry the bytes.
        max_bytes_per_day: of all deployments together; a larger file comes over several days.
        max_temperature_celsius: no trial above this.
        windows: only within one of these.
        quiet_in_foreground: wait while an application says that somebody is using it.
        max_defer_seconds: after this long a condition holds back no longer.
    """

    min_charge_ratio: Share | None = None
    require_charging: bool = False
    allow_metered: bool = True
    max_bytes_per_day: PositiveBytes | None = None
    max_temperature_celsius: float | None = None
    windows: tuple[RegionWindow, ...] = ()
    quiet_in_foreground: bool = False
    max_defer_seconds: Patience | None = None
    max_defer: MaxDefer = MaxDefer()

    def as_conditions(self) -> DeployConditions:
        """The same, as assignments carry it."""
        same = self.model_dump(exclude={"windows", "max_defer"})
        return DeployConditions(
            **same,
            windows=tuple(Window(**window.model_dump()) for window in self.windows),
            max_defer=self.max_defer.by_reason(),
        )


class Region(Section):
    """Link, budgets and rules of a place.

    Attributes:
        language: of the people there; for models that have a slice per language.
        objective: what "best" means here when a rollout names no objective.
        allow: when given, a variant must be covered by one of these.
        deny: a variant covered by one of these is refused.
    """

    apiVersion: Literal["fitment/v1"]
    kind: Literal["Region"]
    name: Name
    title: str
    language: str | None = None
    objective: Name | None = None
    link: RegionLink = RegionLink()
    budget: Budget = Budget()
    conditions: RegionConditions = RegionConditions()
    allow: tuple[VariantRule, ...] = ()
    deny: tuple[VariantRule, ...] = ()


UNASSIGNED = Region(
    apiVersion="fitment/v1", kind="Region", name="unassigned", title="No region configured"
)
"""The region of devices that name none, or none that a profile describes: no rules, no budget."""


# ------------------------------------------------------------------------------------- objective


class Floors(Section):
    """What a variant must hold to be considered at all. None means no demand.

    Attributes:
        accuracy_loss_max: against the baseline on the build host, in the metric's unit.
        worst_slice_loss_max: the same for the worst slice of the evaluation data.
    """

    accuracy_loss_max: Annotated[float, Field(ge=0)] | None = None
    worst_slice_loss_max: Annotated[float, Field(ge=0)] | None = None
    latency_p95_max_seconds: PositiveFloat | None = None
    memory_max_bytes: PositiveBytes | None = None
    link_max_bytes: PositiveBytes | None = None


class Criterion(Section):
    """One thing to optimise.

    Attributes:
        by: `accuracy` is better higher (or lower, as its metric says), everything else lower.
        tolerance: differences up to this are noise: absolute for accuracy, relative to the best
            for everything else.
    """

    by: Literal["accuracy", "latency_p95", "latency_p50", "memory", "link_bytes"]
    tolerance: Annotated[float, Field(ge=0)]


class Objective(Section):
    """What "best" means: floors, and what to optimise within them, most important first."""

    apiVersion: Literal["fitment/v1"]
    kind: Literal["Objective"]
    name: Name
    title: str
    floors: Floors = Floors()
    optimise: tuple[Criterion, ...] = Field(min_length=1)


ProfileKind = DeviceClass | Region | Objective
KINDS: dict[str, type[DeviceClass] | type[Region] | type[Objective]] = {
    "DeviceClass": DeviceClass,
    "Region": Region,
    "Objective": Objective,
}
