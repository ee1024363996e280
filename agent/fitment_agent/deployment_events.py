"""What can happen to a deployment; `deployment` says what follows from it."""

from __future__ import annotations

from dataclasses import dataclass

from fitment_contract.benchmark import BenchmarkReport
from fitment_contract.messages import Waiting, WaitReason
from fitment_contract.phase import FailureReason


@dataclass(frozen=True)
class Weighed:
    """The device's conditions were looked at.

    Attributes:
        hold: why the deployment has to wait, if it does.
        unmet: every condition that does not hold, also one that holds nothing back any more.
        bytes_transferred: by a transfer that ends with this.
    """

    hold: Waiting | None
    unmet: tuple[WaitReason, ...] = ()
    bytes_transferred: int = 0


@dataclass(frozen=True)
class Fetched:
    """Every partial file is as long as announced."""

    bytes_transferred: int


@dataclass(frozen=True)
class Verified:
    """Every file is among the blobs."""


@dataclass(frozen=True)
class Proved:
    """The trial ran through."""

    report: BenchmarkReport


@dataclass(frozen=True)
class Activated:
    """The pointer is durable."""


@dataclass(frozen=True)
class Failed:
    """A phase's work ended without its result.

    Attributes:
        retryable: the same work may succeed later.
        jitter: a random number from 0 to 1, for the pause before the next try.
        counts: against the limit of tries. What fails because the device has no network does not:
            a week without one is nobody's fault.
        digest: of the variant that failed, where the assignment has two and it is the second.
    """

    reason: FailureReason
    detail: str
    retryable: bool = False
    bytes_transferred: int = 0
    jitter: float = 1.0
    counts: bool = True
    digest: str | None = None


@dataclass(frozen=True)
class Withdrawn:
    """The controller or a person takes the variant back, active or not."""

    detail: str


@dataclass(frozen=True)
class Resumed:
    """The agent started and found this record.

    Attributes:
        after_crash: the agent did not stop by itself the last time.
        partial_bytes: what the transfer has on the disk now.
    """

    after_crash: bool
    partial_bytes: int = 0


@dataclass(frozen=True)
class Ticked:
    """Time passed and nothing else: only the deadline is looked at."""


@dataclass(frozen=True)
class ClockTurned:
    """Somebody set the clock on the wall, by so many seconds forward."""

    seconds: float


Event = (
    Weighed
    | Fetched
    | Verified
    | Proved
    | Activated
    | Failed
    | Withdrawn
    | Resumed
    | Ticked
    | ClockTurned
)
