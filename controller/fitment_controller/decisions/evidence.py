"""What a pile of benchmark reports says about a variant on a device.

Rules: invalid reports and reports of another protocol are not used; a device that measured often
counts once, with its newest report; simulated and real devices are never mixed. Latencies and
memory are medians over devices, accuracies are means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean, median

from fitment_contract.benchmark import BENCHMARK_PROTOCOL, BenchmarkReport, Score
from fitment_contract.device import DeviceFacts
from fitment_controller.domain import Estimate, Evidence, KnownFailure, NumberSource


@dataclass(frozen=True)
class Measured:
    """What several devices measured of one variant.

    Attributes:
        accuracy, worst_slice: on the shipped evaluation split; None where there was none.
        n: devices.
    """

    latency_p50_seconds: float
    latency_p95_seconds: float
    memory_bytes: float
    accuracy: float | None
    worst_slice: float | None
    n: int

    def number(self, field_name: str, source: NumberSource) -> Estimate | None:
        """One of the figures with its provenance."""
        value: float | None = getattr(self, field_name)
        return None if value is None else Estimate(value=value, source=source, n=self.n)


_ClassKey = tuple[str, str, bool]


@dataclass(frozen=True)
class EvidenceIndex:
    """Evidence by digest and fingerprint, and by digest and class, aggregated once.

    Attributes:
        by_fingerprint: (digest, fingerprint) to what was measured.
        by_class: (digest, device class, simulated) to what was measured.
        failures: (digest, fingerprint) to the failure that trials ended with there.
    """

    by_fingerprint: Mapping[tuple[str, str], Measured] = field(default_factory=dict)
    by_class: Mapping[_ClassKey, Measured] = field(default_factory=dict)
    failures: Mapping[tuple[str, str], KnownFailure] = field(default_factory=dict)

    def nearest(
        self, digest: str, facts: DeviceFacts, device_class: str
    ) -> tuple[NumberSource, Measured] | None:
        """The measurement that says most about `digest` on such a device, if there is any."""
        measured = self.by_fingerprint.get((digest, facts.fingerprint))
        if measured is not None:
            return NumberSource.FINGERPRINT, measured
        measured = self.by_class.get((digest, device_class, facts.simulated))
        return None if measured is None else (NumberSource.CLASS, measured)


def index_evidence(
    evidence: Iterable[Evidence],
    failures: Iterable[KnownFailure] = (),
    evaluation: str | None = None,
) -> EvidenceIndex:
    """Aggregate reports into what selection asks for.

    `evaluation` is the digest of the split that the portfolio in question is scored on: a file may
    come again in a later version with other data, and scores on different data do not compare.
    """
    newest: dict[tuple[str, str, str], Evidence] = {}
    for item in evidence:
        if not usable(item.report):
            continue
        key = (item.report.digest, item.report.fingerprint, item.device)
        known = newest.get(key)
        if known is None or _order(known) < _order(item):
            newest[key] = item
    fingerprints: dict[tuple[str, str], list[BenchmarkReport]] = {}
    classes: dict[_ClassKey, list[BenchmarkReport]] = {}
    for item in sorted(newest.values(), key=_order):
        report = item.report
        fingerprints.setdefault((report.digest, report.fingerprint), []).append(report)
        class_key = (report.digest, item.device_class, report.simulated)
        classes.setdefault(class_key, []).append(report)
    return EvidenceIndex(
        by_fingerprint={
            key: _aggregate(reports, evaluation) for key, reports in fingerprints.items()
        },
        by_class={key: _aggregate(reports, evaluation) for key, reports in classes.items()},
        failures={(failure.digest, failure.fingerprint): failure for failure in failures},
    )


def usable(report: BenchmarkReport) -> bool:
    """Whether a report may inform a decision."""
    return report.valid and report.protocol == BENCHMARK_PROTOCOL


def worst_slice_value(score: Score | None) -> float | None:
    """The value of the worst slice of a score that has slices."""
    if score is None or score.worst_slice is None:
        return None
    slice_score = score.slices.get(score.worst_slice)
    return None if slice_score is None else slice_score.value


def loss(reference: float, value: float, higher_is_better: bool) -> float:
    """How much worse `value` is than `reference`; negative when it is better."""
    return reference - value if higher_is_better else value - reference


def _order(item: Evidence) -> tuple[float, str]:
    return item.received_at.timestamp(), item.report.id


def _aggregate(reports: list[BenchmarkReport], evaluation: str | None) -> Measured:
    scores = [
        score
        for report in reports
        if (score := report.score()) is not None and score.data_digest == evaluation
    ]
    slices = [value for score in scores if (value := worst_slice_value(score)) is not None]
    return Measured(
        latency_p50_seconds=median(report.latency.p50_seconds for report in reports),
        latency_p95_seconds=median(report.latency.p95_seconds for report in reports),
        memory_bytes=median(report.peak_memory_bytes for report in reports),
        accuracy=fmean(score.value for score in scores) if scores else None,
        worst_slice=fmean(slices) if slices else None,
        n=len(reports),
    )
