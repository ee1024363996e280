"""What is believed about each variant on one device: every number from its nearest source.

Latency comes measured on this fingerprint, else measured on this class, else predicted. A
prediction is the build host's baseline latency, times the class's speed, times the ratio expected
of the variant (the class's prior where it has one, else the ratio seen on the build host), times
the surprise in what was measured nearby. So numbers of different sources stay on one scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fitment_contract.artifact import Artifact
from fitment_contract.device import DeviceFacts
from fitment_contract.portfolio import Portfolio, PortfolioEntry
from fitment_contract.variant import Variant
from fitment_controller.decisions.evidence import EvidenceIndex, loss, worst_slice_value
from fitment_controller.domain import CandidateNumbers, Estimate, NumberSource
from fitment_controller.profiles.kinds import DeviceClass


@dataclass(frozen=True)
class Candidate:
    """A listed variant with its numbers on the device in question.

    Attributes:
        measured: its latency was measured on this fingerprint or class.
    """

    variant: Variant
    numbers: CandidateNumbers
    measured: bool


def candidates(
    portfolio: Portfolio,
    facts: DeviceFacts,
    device_class: DeviceClass,
    evidence: EvidenceIndex,
    current: str | None = None,
    present: frozenset[str] = frozenset(),
) -> list[Candidate]:
    """Every listed variant of the portfolio with its numbers, by name.

    `current` is the digest of what the device runs now: what came with it is there already.
    `present` are the digests of other files that need no transfer.
    """
    estimator = _Estimator(portfolio, facts, device_class, evidence, current, present)
    listed = sorted(portfolio.listed(), key=lambda entry: entry.name)
    return [estimator.candidate(entry) for entry in listed if entry.variant is not None]


class _Estimator:
    def __init__(
        self,
        portfolio: Portfolio,
        facts: DeviceFacts,
        device_class: DeviceClass,
        evidence: EvidenceIndex,
        current: str | None,
        present: frozenset[str],
    ) -> None:
        self._current = current
        self._present = present
        self._portfolio = portfolio
        self._facts = facts
        self._class = device_class
        self._evidence = evidence
        self._baseline = portfolio.entry(portfolio.baseline)
        self._scale = self._surprise()

    def candidate(self, entry: PortfolioEntry) -> Candidate:
        variant = entry.variant
        assert variant is not None  # a listed entry has one
        nearest = self._evidence.nearest(variant.digest, self._facts, self._class.name)
        accuracy, accuracy_loss, slice_loss = self._accuracy(entry)
        if nearest is not None:
            source, measured = nearest
            p50 = measured.number("latency_p50_seconds", source)
            p95 = measured.number("latency_p95_seconds", source)
            memory = measured.number("memory_bytes", source)
        else:
            p50, p95 = self._predict(entry)
            memory = Estimate(value=variant.needs.memory_bytes, source=NumberSource.BUILD_HOST, n=1)
        fetched = self._to_fetch(variant)
        numbers = CandidateNumbers(
            accuracy=accuracy,
            accuracy_loss=accuracy_loss,
            worst_slice_loss=slice_loss,
            latency_p50_seconds=p50,
            latency_p95_seconds=p95,
            memory_bytes=memory,
            link_bytes=sum(artifact.transfer_bytes() for artifact in fetched),
            disk_bytes=sum(artifact.size_bytes for artifact in fetched),
        )
        return Candidate(variant, numbers, measured=nearest is not None)

    def _to_fetch(self, variant: Variant) -> list[Artifact]:
        """What moves: the file, its golden inputs, and the evaluation split unless it is there."""
        if variant.digest == self._current or variant.digest in self._present:
            return []
        runs_this_model = any(
            entry.variant is not None and entry.variant.digest == self._current
            for entry in self._portfolio.listed()
        )
        evaluation = None if runs_this_model else self._portfolio.evaluation
        golden = variant.golden.artifact if variant.golden else None
        wanted = (variant.artifact, golden, evaluation)
        return [item for item in wanted if item is not None and item.digest not in self._present]

    def _accuracy(
        self, entry: PortfolioEntry
    ) -> tuple[Estimate | None, Estimate | None, Estimate | None]:
        """Accuracy, its loss and the worst slice's loss. Without labels: lost agreement."""
        reference = self._baseline.benchmark if self._baseline else None
        reference_score = reference.score() if reference else None
        if reference_score is None:
            if entry.agreement is None:
                return None, None, None
            lost = 1.0 - entry.agreement.value
            return None, Estimate(value=lost, source=NumberSource.BUILD_HOST, n=1), None
        value, worst = self._scores(entry)
        return (
            value,
            _lost(reference_score.value, value, reference_score.higher_is_better),
            _lost(worst_slice_value(reference_score), worst, reference_score.higher_is_better),
        )

    def _scores(self, entry: PortfolioEntry) -> tuple[Estimate | None, Estimate | None]:
        assert entry.variant is not None
        nearest = self._evidence.nearest(entry.variant.digest, self._facts, self._class.name)
        if nearest is not None and nearest[1].accuracy is not None:
            source, measured = nearest
            return measured.number("accuracy", source), measured.number("worst_slice", source)
        score = entry.benchmark.score() if entry.benchmark else None
        return _built(score.value if score else None), _built(worst_slice_value(score))

    def _predict(self, entry: PortfolioEntry) -> tuple[Estimate | None, Estimate | None]:
        reference = self._baseline.benchmark if self._baseline else None
        expected = self._expected_p95(entry)
        if reference is None or expected is None or reference.latency.p95_seconds <= 0:
            return None, None
        p95 = expected * (self._scale or 1.0)
        p50 = p95 * reference.latency.p50_seconds / reference.latency.p95_seconds
        if self._scale is None and self._prior(entry) is None:
            return _built(p50), _built(p95)
        return (
            Estimate(value=p50, source=NumberSource.PREDICTED),
            Estimate(value=p95, source=NumberSource.PREDICTED),
        )

    def _expected_p95(self, entry: PortfolioEntry) -> float | None:
        """What the build host and the class's profile say, with nothing measured nearby."""
        reference = self._baseline.benchmark if self._baseline else None
        ratio = self._ratio(entry)
        if reference is None or ratio is None:
            return None
        speed = self._class.speed.latency_ratio if self._class.speed else 1.0
        return reference.latency.p95_seconds * speed * ratio

    def _surprise(self) -> float | None:
        """How much slower such devices are than expected; None when none has measured.

        The baseline's measurement is all about the device. Another variant's may be about the
        device or about the variant: the geometric mean over these is drawn towards 1 with the
        weight of one more observation, so that a variant that disappoints loses ground to those
        not tried yet, and one that pleases keeps it.
        """
        for wanted in (NumberSource.FINGERPRINT, NumberSource.CLASS):
            seen: list[float] = []
            for entry in self._portfolio.listed():
                factor = self._factor(entry, wanted)
                if factor is not None and entry.name == self._portfolio.baseline:
                    return factor
                seen += [] if factor is None else [factor]
            if seen:
                return math.exp(math.fsum(map(math.log, seen)) / (len(seen) + 1))
        return None

    def _factor(self, entry: PortfolioEntry, wanted: NumberSource) -> float | None:
        """Measured over expected p95, when it was measured at the wanted nearness."""
        expected = self._expected_p95(entry)
        if entry.variant is None or not expected:
            return None
        nearest = self._evidence.nearest(entry.variant.digest, self._facts, self._class.name)
        if nearest is None or nearest[0] is not wanted:
            return None
        return nearest[1].latency_p95_seconds / expected or None

    def _ratio(self, entry: PortfolioEntry) -> float | None:
        """Expected latency over the baseline's on this class; None when nothing says."""
        if entry.name == self._portfolio.baseline:
            return 1.0
        prior = self._prior(entry)
        if prior is not None:
            return prior
        baseline = self._baseline.benchmark if self._baseline else None
        if entry.benchmark is None or baseline is None or baseline.latency.p95_seconds <= 0:
            return None
        return entry.benchmark.latency.p95_seconds / baseline.latency.p95_seconds or None

    def _prior(self, entry: PortfolioEntry) -> float | None:
        prior = self._class.prior(entry.variant) if entry.variant else None
        return prior.latency_ratio if prior else None


def _built(value: float | None) -> Estimate | None:
    return None if value is None else Estimate(value=value, source=NumberSource.BUILD_HOST, n=1)


def _lost(reference: float | None, value: Estimate | None, higher: bool) -> Estimate | None:
    if reference is None or value is None:
        return None
    return value.model_copy(update={"value": loss(reference, value.value, higher)})
