"""Every message that crosses the broker.

Upward messages carry the agent's session number and a sequence number within it: several
controllers behind a shared subscription may see them out of order, and `(session, sequence)` says
which one is newer. Downward there is *desired state*, retained and whole, never a queue of jobs:
the newest generation supersedes all before it. Commands are comfort: losing one loses nothing.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from fitment_contract.artifact import Artifact
from fitment_contract.base import (
    Bytes,
    Count,
    Detail,
    DeviceId,
    Digest,
    Name,
    Ratio,
    Record,
    Seconds,
    Timestamp,
    canonical_json,
    sha256_hex,
)
from fitment_contract.benchmark import (
    BenchmarkMode,
    BenchmarkProtocol,
    BenchmarkReport,
    MetricSpec,
    SessionTuning,
)
from fitment_contract.device import DeviceFacts
from fitment_contract.phase import FailureReason, Phase
from fitment_contract.variant import Variant

MESSAGE_VERSION: Final = 1
"""The version of all message schemas; golden files under `tests/contract/golden/` pin them."""


class WaitReason(str, Enum):
    """Which condition holds a deployment back."""

    BATTERY = "battery"
    METERED = "metered"
    THERMAL = "thermal"
    BYTE_BUDGET = "byte_budget"
    WINDOW = "window"
    FOREGROUND = "foreground"
    RETRY = "retry"
    """A transfer failed in a way that may pass; tried again later."""


class Weekday(str, Enum):
    """A day of the week, as calendars and cron write it."""

    MONDAY = "mon"
    TUESDAY = "tue"
    WEDNESDAY = "wed"
    THURSDAY = "thu"
    FRIDAY = "fri"
    SATURDAY = "sat"
    SUNDAY = "sun"


ClockTime = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
"""A time of day, `HH:MM`."""


class Window(Record):
    """Hours in which a device may be worked on, in its own local time.

    Attributes:
        start, end: from `start` until `end`, past midnight when `end` is not after `start`.
        days: on which it starts; empty for every day.
    """

    start: ClockTime
    end: ClockTime
    days: tuple[Weekday, ...] = ()


class DeployConditions(Record):
    """What must hold on the device before it spends bytes, energy or heat on an assignment.

    The device enforces them, offline too. None means that the condition is not asked for.

    Attributes:
        min_charge_ratio: battery floor when on battery.
        require_charging: wait for the charger.
        allow_metered: whether a metered link may carry the bytes.
        max_bytes_per_day: what all deployments together may transfer in one local day; a larger
            file comes over several days.
        max_temperature_celsius: no trial above this.
        windows: only within one of these.
        quiet_in_foreground: wait while an application says that somebody is using it.
        max_defer_seconds: after this long in waiting for a condition, it no longer holds back.
        max_defer: the same for single conditions, in place of `max_defer_seconds`.
    """

    min_charge_ratio: Ratio | None = None
    require_charging: bool = False
    allow_metered: bool = True
    max_bytes_per_day: Annotated[int, Field(gt=0)] | None = None
    max_temperature_celsius: float | None = None
    windows: tuple[Window, ...] = ()
    quiet_in_foreground: bool = False
    max_defer_seconds: Seconds | None = None
    max_defer: dict[WaitReason, Seconds] = Field(default_factory=dict)


class PowerMode(str, Enum):
    """Which of an assignment's variants applications are to use now."""

    NORMAL = "normal"
    LOW_POWER = "low_power"


class LowPower(Record):
    """A second variant, for when energy or coolness is short. The device switches by itself.

    Attributes:
        variant: of the same model version.
        below_charge_ratio: used while the device is on battery and charged less than this.
        above_temperature_celsius: used while the device is hotter than this.
        charge_hysteresis_ratio, temperature_hysteresis_celsius: how far the reading must be on the
            good side of its limit before the device switches back.
    """

    variant: Variant
    below_charge_ratio: Ratio | None = None
    above_temperature_celsius: float | None = None
    charge_hysteresis_ratio: Ratio = 0.05
    temperature_hysteresis_celsius: Annotated[float, Field(ge=0)] = 5.0


class Evaluation(Record):
    """What a device scores a variant with."""

    artifact: Artifact
    metric: MetricSpec


class Signature(Record):
    """A signature over the canonical JSON of what carries it; verification is the worker's step."""

    key_id: str
    algorithm: str
    value: str


class Assignment(Record):
    """The variant that a device is to run for one model.

    Attributes:
        rollout: the rollout that assigned it; None for a lone assignment.
        deadline: after this moment the device gives up and says so.
        protocol: the terms of the trial benchmark.
        low_power: a second variant that is brought and proved along with `variant`.
        signatures: of the assignment; empty in this version.
    """

    model: Name
    variant: Variant
    evaluation: Evaluation | None = None
    conditions: DeployConditions = DeployConditions()
    protocol: BenchmarkProtocol = BenchmarkProtocol()
    low_power: LowPower | None = None
    rollout: str | None = None
    deadline: Timestamp | None = None
    signatures: tuple[Signature, ...] = ()


class Waiting(Record):
    """Why a deployment waits and until when at the latest."""

    reason: WaitReason
    detail: Detail
    until: Timestamp | None = None


class Failure(Record):
    """Why and where a deployment failed.

    Attributes:
        digest: of the variant that failed, where the assignment has two; None is its `variant`.
    """

    phase: Phase
    reason: FailureReason
    detail: Detail
    digest: Digest | None = None


class ActiveVariant(Record):
    """A variant that applications on the device can use."""

    variant: Name
    model_version: Count
    digest: Digest
    generation: Count
    since: Timestamp


class ModelState(Record):
    """What the device has proved about one model.

    Attributes:
        generation: of the desired state that this answers.
        variant, digest: what that generation asked for.
        active: what applications use now; the previous variant until the new one is proved. While
            `mode` is low_power they use its second variant, `low_power`, instead.
        mode, low_power: which of the two is in use, and the second; None when there is none.
        previous: what a rollback returns to; never evicted.
        benchmark: measured on the variant of this generation, once its trial ran.
        low_power_benchmark: the same for the second variant.
        tuning: the session options that were found best for `active`; None until they were.
        bytes_transferred: payload bytes received for this generation, retries included.
    """

    model: Name
    generation: Count
    phase: Phase
    variant: Name | None = None
    digest: Digest | None = None
    rollout: str | None = None
    waiting: Waiting | None = None
    failure: Failure | None = None
    active: ActiveVariant | None = None
    mode: PowerMode | None = None
    low_power: ActiveVariant | None = None
    previous: ActiveVariant | None = None
    benchmark: BenchmarkReport | None = None
    low_power_benchmark: BenchmarkReport | None = None
    tuning: SessionTuning | None = None
    bytes_transferred: Bytes = 0
    tries: Count = 0


class Message(Record):
    """What all messages have in common."""

    version: Literal[1] = 1
    device: DeviceId
    sent_at: Timestamp


class UpMessage(Message):
    """From a device.

    Attributes:
        session: counts the device's connections to the broker; grows for ever.
        sequence: counts the messages within the session.
    """

    session: Count
    sequence: Count


class Birth(UpMessage):
    """The first message of a session: facts and the full reported state.

    Attributes:
        state_digest: of the reported state as the device computes it; see `Vitals`.
        interval_seconds: the next sign of life comes within this; see `Vitals`.
    """

    type: Literal["birth"] = "birth"
    agent_version: str
    facts: DeviceFacts
    generation: Count
    models: tuple[ModelState, ...] = ()
    state_digest: Digest | None = None
    interval_seconds: Seconds | None = None


class Death(UpMessage):
    """The will, or a goodbye. Believed only for the session it was written in."""

    type: Literal["death"] = "death"
    reason: Detail = "connection lost"


class Vitals(UpMessage):
    """The heartbeat, which keeps the presence lease, with values in buckets.

    Attributes:
        state_digest: of the reported state; a controller that knows another asks for a report.
        interval_seconds: the next vitals come within this, however little happens: a device on a
            battery or a metered link speaks less often. None is as often as the controller expects.
    """

    type: Literal["vitals"] = "vitals"
    state_digest: Digest
    uptime_seconds: Seconds
    interval_seconds: Seconds | None = None
    charge_ratio: Ratio | None = None
    charging: bool | None = None
    temperature_celsius: float | None = None
    throttled: bool | None = None
    memory_available_bytes: Bytes | None = None
    storage_free_bytes: Bytes | None = None


class Reported(UpMessage):
    """The state the device has proved; whole, so that the newest replaces all before it.

    Attributes:
        state_digest: of this state as the device computes it; see `Vitals`.
    """

    type: Literal["reported"] = "reported"
    generation: Count
    models: tuple[ModelState, ...] = ()
    state_digest: Digest | None = None


class Bench(UpMessage):
    """A benchmark outside a deployment, or one more of a deployment's trials."""

    type: Literal["bench"] = "bench"
    report: BenchmarkReport


class EventLevel(str, Enum):
    """How much an event matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Event(UpMessage):
    """Something worth a line in the fleet's log."""

    type: Literal["event"] = "event"
    level: EventLevel = EventLevel.INFO
    name: Name
    detail: Detail = ""


class Desired(Message):
    """What the controller wants this device to run: retained, whole, newest wins.

    Attributes:
        generation: grows with every change for this device; a lower one is stale.
        assignments: one per model; a model that is absent is left as it is.
        withdrawn: models to take back. The device leaves the deployment that it runs or has under
            way for them and returns to the previous variant, or to none when there is none; a
            deployment that was rolled back already stays so. Never a model that is also assigned.
    """

    type: Literal["desired"] = "desired"
    generation: Count
    assignments: tuple[Assignment, ...] = ()
    withdrawn: tuple[Name, ...] = ()


class CommandName(str, Enum):
    """What a controller may ask outside desired state."""

    REPORT = "report"
    """Say birth again: facts and full state."""
    BENCHMARK = "benchmark"
    """Benchmark the active variant of `model`, by `mode`, and send a `bench`."""


class Command(Message):
    """A request that loses its meaning with time."""

    type: Literal["command"] = "command"
    id: str
    name: CommandName
    model: Name | None = None
    mode: BenchmarkMode | None = None
    expires_at: Timestamp | None = None


AnyUpMessage = Annotated[
    Birth | Death | Vitals | Reported | Bench | Event, Field(discriminator="type")
]
AnyDownMessage = Annotated[Desired | Command, Field(discriminator="type")]


def state_digest(generation: int, models: tuple[ModelState, ...]) -> Digest:
    """The digest by which both sides see whether the controller knows the device's state.

    The device computes it and says it along with the state, so that a field which only a newer
    agent knows does not make the controller ask for ever.
    """
    state = [generation, [model.model_dump(mode="json", exclude_none=True) for model in models]]
    return sha256_hex(canonical_json(state))
