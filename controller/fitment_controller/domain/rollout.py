"""A plan under way: strata, members, gates."""

from __future__ import annotations

from enum import Enum

from pydantic import Field

from fitment_contract.base import Count, DeviceId, Name, Record, Timestamp
from fitment_controller.domain.devices import VariantRef
from fitment_controller.domain.plan import RolloutRequest


class RolloutState(str, Enum):
    """Where a rollout stands; the table is in `rollout.py`."""

    RUNNING = "running"
    PAUSED = "paused"
    ABORTING = "aborting"
    """No device is added; those on their way are let finish."""
    ABORTED = "aborted"
    COMPLETED = "completed"
    FAILED = "failed"
    """At least one stratum failed; the others ran to their end."""


class StratumState(str, Enum):
    """Where a stratum stands; the table is in `rollout.py`."""

    PENDING = "pending"
    CANARY = "canary"
    WAVES = "waves"
    COMPLETED = "completed"
    FAILED = "failed"
    """Stopped, and every touched device was assigned back to what it ran."""
    ABORTED = "aborted"


class MemberState(str, Enum):
    """Where one device of a rollout stands; the table is in `rollout.py`."""

    PENDING = "pending"
    ASSIGNED = "assigned"
    SUCCEEDED = "succeeded"
    """Active with this digest, and measured."""
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    UNREACHED = "unreached"
    """Offline for as long as the rollout waited; it was never touched."""
    REVERTED = "reverted"
    """Assigned back to what it ran before, or withdrawn."""
    RELEASED = "released"
    """Never touched: its stratum stopped first."""


class GateVerdict(str, Enum):
    """What a gate says."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    WAIT = "wait"
    FAIL = "fail"


class GateResult(Record):
    """One gate with the numbers behind its verdict.

    Attributes:
        value: None while there is no evidence, or where the gate does not apply.
        n: devices behind the value.
    """

    name: Name
    value: float | None = None
    threshold: float
    n: Count
    verdict: GateVerdict
    reason: str


class Member(Record):
    """One device in a rollout.

    Attributes:
        wave: None until assigned; 0 for canaries.
        generation: of the desired state that assigned it.
        reason: why it failed or what it waits for.
        failure: the device's failure reason, `timeout`, or None.
        asked_at: when it was asked last to measure again, because conditions spoilt its benchmark.
        latency_p95_seconds, accuracy: proved on the new variant.
        before_p95_seconds, before_accuracy: of what it ran before, from its own report.
    """

    device: DeviceId
    stratum: str
    before: VariantRef | None = None
    after: VariantRef
    state: MemberState = MemberState.PENDING
    wave: Count | None = None
    generation: Count | None = None
    assigned_at: Timestamp | None = None
    deadline: Timestamp | None = None
    finished_at: Timestamp | None = None
    reason: str = ""
    failure: str | None = None
    asked_at: Timestamp | None = None
    latency_p95_seconds: float | None = None
    accuracy: float | None = None
    before_p95_seconds: float | None = None
    before_accuracy: float | None = None


class Stratum(Record):
    """One class in one region within a rollout.

    Attributes:
        since: of the last progress.
        reason: one sentence why it is where it is.
        gates: as judged last.
        counts: devices per member state.
    """

    id: str
    device_class: Name
    region: Name
    state: StratumState = StratumState.PENDING
    since: Timestamp
    wave: Count = 0
    reason: str = ""
    gates: tuple[GateResult, ...] = ()
    counts: dict[str, Count] = Field(default_factory=dict)


class Rollout(Record):
    """A plan under way. Its members are kept and paged apart.

    Attributes:
        request: as asked, with the version and objective filled in.
        reference_accuracy: the baseline's on the build host, on the shipped evaluation split; None
            when the model has none.
        higher_is_better: the direction of the metric.
    """

    id: str
    request: RolloutRequest
    model_version: Count
    objective: Name
    reference_accuracy: float | None = None
    higher_is_better: bool = True
    state: RolloutState = RolloutState.RUNNING
    reason: str = ""
    created_at: Timestamp
    updated_at: Timestamp
    actor: str
    strata: tuple[Stratum, ...]
