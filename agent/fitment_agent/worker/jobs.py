"""What the daemon asks of a worker, and what a worker says back.

A job is one JSON line on the worker's standard input; an event is one JSON line on its standard
output. Paths are absolute: the worker may run elsewhere. Secrets travel as the path of the file
that holds them, never as text.
"""

from __future__ import annotations

import errno
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import ConfigDict, Field, TypeAdapter

from fitment_contract.artifact import Artifact
from fitment_contract.base import Bytes, Count, Detail, Digest, Record, Seconds
from fitment_contract.benchmark import BenchmarkReport, SessionTuning
from fitment_contract.device import CoreCluster, Fingerprint, RuntimeFacts
from fitment_contract.messages import Assignment
from fitment_contract.phase import FailureReason
from fitment_contract.variant import Variant


class FetchJob(Record):
    """Transfer artifacts into partial files, resuming what is there.

    Attributes:
        blobs: folder of complete files, `<digest>` each; what is there is not fetched again.
        partial: folder of partial files, `<digest>` each.
        reserve_bytes: room to leave free on the file system of `partial`.
        bearer_token_file: holds the token to show to the origin of an artifact's first URL.
        allowance_bytes: payload bytes that may be received; None for no limit.
        attempts: how often each URL is tried while it fails in a way that may pass.
        backoff_seconds: pause after the first such failure; it doubles with each.
    """

    kind: Literal["fetch"] = "fetch"
    artifacts: tuple[Artifact, ...]
    blobs: str
    partial: str
    reserve_bytes: Bytes
    bearer_token_file: str | None = None
    allowance_bytes: Bytes | None = None
    attempts: Annotated[int, Field(ge=1)] = 5
    backoff_seconds: Seconds = 0.5


class VerifyJob(Record):
    """Check size and digest of partial files and move the good ones, durably, among the blobs."""

    kind: Literal["verify"] = "verify"
    artifacts: tuple[Artifact, ...]
    partial: str
    blobs: str


class TrialJob(Record):
    """Load a verified variant, check it against its golden inputs and benchmark it.

    With a second variant for low power, both are: one after the other, in a process each.

    Attributes:
        state_dir: the agent's state folder; artifacts are read from `blobs/` under it.
        fingerprint, simulated: of this device, for the report.
        local_samples: npz files of the device's own labelled samples.
    """

    kind: Literal["trial"] = "trial"
    state_dir: str
    assignment: Assignment
    fingerprint: Fingerprint
    simulated: bool
    local_samples: tuple[str, ...] = ()


class TuneJob(Record):
    """Find the session options with which a verified variant runs fastest here.

    Attributes:
        state_dir: the agent's state folder; files are read from `blobs/` under it.
        needed: providers that the variant needs, in order of preference; empty for the CPU.
        providers: others that may run it faster, each tried in a process of its own.
        clusters: this device's cores by kind, the fastest kind first.
        champion: the best so far; the job is then to measure the one in `providers` against it.
        seconds: no measuring is begun after this long.
        wall_limit_seconds, memory_limit_bytes: of each process.
    """

    kind: Literal["tune"] = "tune"
    state_dir: str
    variant: Variant
    fingerprint: Fingerprint
    needed: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    clusters: tuple[CoreCluster, ...] = ()
    champion: SessionTuning | None = None
    seconds: Seconds = 60.0
    wall_limit_seconds: Annotated[float, Field(gt=0)] = 300.0
    memory_limit_bytes: Bytes = 512 * 1024 * 1024

    @property
    def total_wall_limit_seconds(self) -> float:
        """The wall limit of all of its processes together."""
        processes = 1 if self.champion else 1 + len(self.providers)
        return self.wall_limit_seconds * processes


class RuntimesJob(Record):
    """Import the installed runtimes and say what they can do."""

    kind: Literal["runtimes"] = "runtimes"


class Progress(Record):
    """How far a worker is.

    Attributes:
        stage: a word for what it does now.
        done, total: in the unit of the stage; total is 0 where it is not known.
        bytes_transferred: payload bytes received so far, retries included.
    """

    event: Literal["progress"] = "progress"
    stage: str
    done: Count
    total: Count
    bytes_transferred: Bytes = 0


class FetchDone(Record):
    """Every partial file is as long as announced."""

    event: Literal["done"] = "done"
    kind: Literal["fetch"] = "fetch"
    bytes_transferred: Bytes


class VerifyDone(Record):
    """Every artifact is among the blobs, verified and durable."""

    event: Literal["done"] = "done"
    kind: Literal["verify"] = "verify"


class TrialDone(Record):
    """The variant works here; what was measured, on the second one as well if there is one."""

    event: Literal["done"] = "done"
    kind: Literal["trial"] = "trial"
    report: BenchmarkReport
    low_power_report: BenchmarkReport | None = None


class TuneDone(Record):
    """The best session options that were found."""

    event: Literal["done"] = "done"
    kind: Literal["tune"] = "tune"
    tuning: SessionTuning


class RuntimesDone(Record):
    """The runtimes that can be used here."""

    event: Literal["done"] = "done"
    kind: Literal["runtimes"] = "runtimes"
    runtimes: tuple[RuntimeFacts, ...]


class WorkerFailed(Record):
    """The job ended without its result.

    Attributes:
        retryable: the same job may succeed later without anything being changed.
        bytes_transferred: payload bytes received all the same, retries included.
        digest: of the variant that failed, where the job was about two.
    """

    event: Literal["failed"] = "failed"
    reason: FailureReason
    detail: Detail
    retryable: bool = False
    bytes_transferred: Bytes = 0
    digest: Digest | None = None


Job: TypeAlias = FetchJob | VerifyJob | TrialJob | TuneJob | RuntimesJob
Done: TypeAlias = FetchDone | VerifyDone | TrialDone | TuneDone | RuntimesDone
FinalEvent: TypeAlias = Done | WorkerFailed
WorkerEvent: TypeAlias = Progress | FinalEvent

_DEFERRED: Final = ConfigDict(defer_build=True)  # the daemon pays for validators when it needs them

JOBS: Final[TypeAdapter[Job]] = TypeAdapter(
    Annotated[Job, Field(discriminator="kind")], config=_DEFERRED
)
EVENTS: Final[TypeAdapter[WorkerEvent]] = TypeAdapter(
    Annotated[
        Progress | Annotated[Done, Field(discriminator="kind")] | WorkerFailed,
        Field(discriminator="event"),
    ],
    config=_DEFERRED,
)


_SYSTEM_REASONS: Final = {
    errno.ENOSPC: FailureReason.DISK_FULL,
    errno.EDQUOT: FailureReason.DISK_FULL,
    errno.EFBIG: FailureReason.DISK_FULL,
    errno.ENOMEM: FailureReason.MEMORY_EXCEEDED,
}


class JobFailure(Exception):
    """How the code inside a worker gives up; the worker sends `event`."""

    def __init__(
        self,
        reason: FailureReason,
        detail: str,
        *,
        retryable: bool = False,
        bytes_transferred: int = 0,
        digest: str | None = None,
    ) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.event = WorkerFailed(
            reason=reason,
            detail=detail,
            retryable=retryable,
            bytes_transferred=bytes_transferred,
            digest=digest,
        )

    @classmethod
    def of_system(cls, error: OSError, what: str, bytes_transferred: int = 0) -> JobFailure:
        """A failure of the device's storage while it did `what`."""
        reason = _SYSTEM_REASONS.get(error.errno or 0, FailureReason.STORAGE_FAILED)
        return cls(reason, f"{what}: {error}", bytes_transferred=bytes_transferred)
