"""Model versions, and what was measured of their variants."""

from __future__ import annotations

from fitment_contract.base import Count, DeviceId, Digest, Name, Record, Timestamp
from fitment_contract.benchmark import BenchmarkReport
from fitment_contract.device import Fingerprint
from fitment_contract.phase import FailureReason
from fitment_contract.portfolio import Portfolio


class ModelVersion(Record):
    """A portfolio as pushed."""

    model: Name
    version: Count
    portfolio: Portfolio
    pushed_at: Timestamp
    actor: str


class Evidence(Record):
    """A benchmark report with where it came from. Kept for ever, valid or not."""

    report: BenchmarkReport
    device: DeviceId
    device_class: Name
    region: Name
    received_at: Timestamp


class KnownFailure(Record):
    """A variant that does not work on a fingerprint, as its devices reported.

    Attributes:
        reason: of the newest failure.
        count: how often it was reported.
    """

    digest: Digest
    fingerprint: Fingerprint
    reason: FailureReason
    detail: str
    count: Count
