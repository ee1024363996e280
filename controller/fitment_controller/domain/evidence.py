"""Model versions, and what was measured of their variants."""

from __future__ import annotations

from fitment_contract.base import Count, DeviceId, Name, Record, Timestamp
from fitment_contract.benchmark import BenchmarkReport
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
