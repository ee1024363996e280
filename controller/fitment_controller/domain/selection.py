"""A pick with a verdict per candidate, every number with its source."""

from __future__ import annotations

from enum import Enum

from fitment_contract.base import Bytes, Count, Digest, Name, Record
from fitment_contract.device import Fingerprint


class NumberSource(str, Enum):
    """Where a number comes from, best first."""

    FINGERPRINT = "fingerprint"
    """Measured on devices with this very fingerprint."""
    CLASS = "class"
    """Measured on other devices of this class."""
    PREDICTED = "predicted"
    """From a measured latency or the build host's, and the class's prior for such variants."""
    BUILD_HOST = "build-host"
    """Measured on the build host, latency scaled by the class's speed."""


class Estimate(Record):
    """A number with its provenance.

    Attributes:
        n: devices that measured it; 0 for predictions, 1 for the build host.
    """

    value: float
    source: NumberSource
    n: Count = 0


class CandidateNumbers(Record):
    """What is believed about one variant on one device.

    Attributes:
        accuracy: in the metric's own unit and direction.
        accuracy_loss: how much worse than the baseline on the build host, positive is worse.
        worst_slice_loss: the same for the worst slice of the evaluation data.
        link_bytes: what moves over the link to bring it there, with what it is proved with; 0 for
            what runs already.
        disk_bytes: what that takes on the device's disk once it is decoded.
    """

    accuracy: Estimate | None = None
    accuracy_loss: Estimate | None = None
    worst_slice_loss: Estimate | None = None
    latency_p50_seconds: Estimate | None = None
    latency_p95_seconds: Estimate | None = None
    memory_bytes: Estimate | None = None
    link_bytes: Bytes = 0
    disk_bytes: Bytes = 0


class Outcome(str, Enum):
    """What became of a candidate."""

    CHOSEN = "chosen"
    ELIGIBLE = "eligible"
    REJECTED = "rejected"


class Verdict(Record):
    """The judgement over one candidate.

    Attributes:
        rank: 1 for the chosen one; None when rejected.
        rule: the filter rule that rejected it, or the criterion by which it lost to the best.
        value, limit: the number and what it was held against, in the rule's unit.
        reason: one sentence with both.
    """

    variant: Name
    digest: Digest
    outcome: Outcome
    rank: Count | None = None
    rule: Name | None = None
    value: float | None = None
    limit: float | None = None
    reason: str
    numbers: CandidateNumbers = CandidateNumbers()


class LowPowerPick(Record):
    """The second variant for one device, or why it gets none.

    Attributes:
        verdict: over the variant that was picked; None when there is none.
        reason: one sentence why this one, or why none.
        remedy: with none picked, the cheapest change that would bring one.
    """

    verdict: Verdict | None = None
    reason: str
    remedy: str | None = None


class Selection(Record):
    """The pick for one device and model, with a verdict per candidate.

    Attributes:
        chosen: a variant's name, or None when nothing fits.
        reason: one sentence why.
        remedy: with nothing chosen, the cheapest change that would place something.
        kept: the current variant stays because the best is not better beyond the tolerance.
    """

    model: Name
    model_version: Count
    objective: Name
    device_class: Name
    region: Name
    fingerprint: Fingerprint
    chosen: Name | None
    reason: str
    remedy: str | None = None
    kept: bool = False
    verdicts: tuple[Verdict, ...]

    def verdict(self, variant: str) -> Verdict | None:
        """The verdict over `variant`, if it was a candidate."""
        return next((verdict for verdict in self.verdicts if verdict.variant == variant), None)
