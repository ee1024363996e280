"""What can happen to a deployment; `deployment` says what follows from it."""

from __future__ import annotations

from dataclasses import dataclass

from fitment_contract.benchmark import BenchmarkReport
from fitment_contract.messages import Waiting
from fitment_contract.phase import FailureReason


@dataclass(frozen=True)
class Weighed:
    """The device's conditions were looked at; `hold` says why it has to wait, if it does."""

    hold: Waiting | None


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
    """

    reason: FailureReason
    detail: str
    retryable: bool = False
    bytes_transferred: int = 0
    jitter: float = 1.0


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


Event = Weighed | Fetched | Verified | Proved | Activated | Failed | Withdrawn | Resumed | Ticked
