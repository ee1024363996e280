"""Prometheus metrics under the project's names; nothing else in the controller spells them.

Counters follow events as they happen (`FleetMetrics` is the service's observer). Gauges are read
from the service when somebody scrapes (`FleetCollector`), so they vanish with what they describe.
There is no series per device: fleets outgrow that, and `/v1/devices` has the detail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fitment_controller.decisions.evidence import usable
from fitment_controller.domain import Evidence, FleetSummary, Page, Rollout, VariantCell
from fitment_controller.service import FleetService
from fitment_controller.views.rollouts import DONE

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_STAGE_BUCKETS = (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400, 86400)
_LATENCY_BUCKETS = (
    *(0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005),
    *(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)


class FleetMetrics:
    """Counts what passes through the service, in a registry of its own.

    Args:
        version: of this controller.
    """

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        Info("fitment_build", "The running controller", registry=self.registry).info(
            {"version": version}
        )
        self._attempts = self._counter(
            "fitment_update_attempts", "Deployments that ended", "model", "result", "reason"
        )
        self._durations = Histogram(
            "fitment_update_duration_seconds",
            "Time a deployment spent in a phase, as seen by the controller",
            ["stage"],
            buckets=_STAGE_BUCKETS,
            registry=self.registry,
        )
        self._bytes = self._counter(
            "fitment_download_bytes", "Payload bytes that devices received", "region", "encoding"
        )
        self._decisions = self._counter(
            "fitment_selection_decisions", "Selections of plans", "model", "outcome", "reason"
        )
        self._benchmarks = self._counter(
            "fitment_benchmarks",
            "Benchmarks of devices; an invalid one proves nothing",
            *("class", "model", "mode", "result"),
        )
        labels = ["class", "model", "variant", "simulated"]
        self._latency = Histogram(
            "fitment_benchmark_p95_seconds",
            "The 95th percentile of latency that each benchmark on a device found",
            labels,
            buckets=_LATENCY_BUCKETS,
            registry=self.registry,
        )
        self._accuracy = Gauge(
            "fitment_benchmark_accuracy_ratio",
            "Accuracy on the shipped data in the newest benchmark",
            labels,
            registry=self.registry,
        )
        self._energy = Gauge(
            "fitment_benchmark_energy_joules",
            "Energy of one inference above idle in the newest benchmark that metered it",
            labels,
            registry=self.registry,
        )
        self._retention = Gauge(
            "fitment_benchmark_retention_ratio",
            "Speed at the end over speed at the start of the newest full benchmark",
            labels,
            registry=self.registry,
        )

    def scrape(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def update_finished(self, model: str, result: str, reason: str) -> None:
        """A deployment ended."""
        self._attempts.labels(model, result, reason).inc()

    def stage_finished(self, stage: str, seconds: float) -> None:
        """A deployment left a phase."""
        self._durations.labels(stage).observe(max(0.0, seconds))

    def downloaded(self, region: str, encoding: str, size_bytes: int) -> None:
        """A device received payload bytes."""
        self._bytes.labels(region, encoding).inc(max(0, size_bytes))

    def benchmarked(self, evidence: Evidence) -> None:
        """A device measured a variant. Of reports that prove nothing only the count is shown."""
        report = evidence.report
        result = "valid" if usable(report) else "invalid"
        place = (evidence.device_class, report.model)
        self._benchmarks.labels(*place, report.mode.value, result).inc()
        if not usable(report):
            return
        labels = (*place, report.variant, str(report.simulated).lower())
        self._latency.labels(*labels).observe(report.latency.p95_seconds)
        score = report.score()
        if score is not None:
            self._accuracy.labels(*labels).set(score.value)
        if report.energy is not None:
            self._energy.labels(*labels).set(report.energy.joules_per_inference)
        if report.sustained is not None:
            self._retention.labels(*labels).set(report.sustained.retention)

    def decided(self, model: str, outcome: str, reason: str) -> None:
        """A plan placed a device, or could not."""
        self._decisions.labels(model, outcome, reason).inc()

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        return Counter(name, help, labels, registry=self.registry)


class FleetCollector(Collector):
    """Reads the present state when it is scraped.

    Args:
        service: has the state.
        connected: whether the broker connection stands.
        published: messages handed to the broker, by channel.
    """

    def __init__(
        self,
        service: FleetService,
        connected: Callable[[], bool],
        published: Callable[[], Mapping[str, int]],
    ) -> None:
        self._service = service
        self._connected = connected
        self._published = published

    def collect(self) -> Iterable[Metric]:
        """All gauges, and the counters that the service and the gateway keep."""
        summary = self._service.fleet_summary()
        yield _devices(summary)
        yield from _variants(summary)
        yield from _rollouts(self._active_rollouts())
        intake = self._service.intake()
        yield _counts("fitment_messages_received", "Messages taken in", "type", intake.received)
        yield _counts("fitment_messages_dropped", "Messages refused", "reason", intake.dropped)
        yield _counts(
            "fitment_messages_published", "Messages handed over", "channel", self._published()
        )
        connected = GaugeMetricFamily("fitment_broker_connected", "Whether the broker is reached")
        connected.add_metric([], float(self._connected()))
        yield connected

    def describe(self) -> Iterable[Metric]:
        """Nothing beforehand: registering must not read the database."""
        return []

    def _active_rollouts(self) -> list[Rollout]:
        """Running ones; they are among the newest, and each page goes further back."""
        page: Page[Rollout] = self._service.rollouts(limit=100)
        return [rollout for rollout in page.items if rollout.state not in DONE]


def _devices(summary: FleetSummary) -> Metric:
    family = GaugeMetricFamily(
        "fitment_devices", "Registered devices", labels=["region", "class", "state"]
    )
    for cell in summary.devices:
        state = "online" if cell.online else "offline"
        family.add_metric([cell.region, cell.device_class, state], cell.count)
    return family


def _variants(summary: FleetSummary) -> Iterable[Metric]:
    """What devices use, what holds their deployments back, and which of two variants is in use."""
    yield _summed(
        "fitment_assignments",
        "Devices whose applications use a variant, by the phase of their newest deployment",
        ("variant", "phase"),
        ((cell, (cell.variant or "", cell.phase)) for cell in summary.variants),
    )
    yield _summed(
        "fitment_waiting_devices",
        "Devices whose deployment waits for a condition",
        ("reason",),
        ((cell, (cell.wait_reason,)) for cell in summary.variants if cell.wait_reason),
    )
    yield _summed(
        "fitment_power_mode_devices",
        "Devices with two variants, by the one that is in use",
        ("mode",),
        ((cell, (cell.mode,)) for cell in summary.variants if cell.mode),
    )


def _summed(
    name: str,
    help: str,
    labels: Sequence[str],
    cells: Iterable[tuple[VariantCell, tuple[str, ...]]],
) -> Metric:
    """Devices per region, class, model and `labels`: cells tell more apart than one gauge shows."""
    counts: dict[tuple[str, ...], int] = {}
    for cell, values in cells:
        key = (cell.region, cell.device_class, cell.model, *values)
        counts[key] = counts.get(key, 0) + cell.count
    family = GaugeMetricFamily(name, help, labels=["region", "class", "model", *labels])
    for key, count in counts.items():
        family.add_metric(key, count)
    return family


def _rollouts(rollouts: Iterable[Rollout]) -> Iterable[Metric]:
    devices = GaugeMetricFamily(
        "fitment_rollout_devices",
        "Devices of active rollouts",
        labels=["rollout", "stratum", "phase", "state"],
    )
    gate_labels = ["rollout", "stratum", "gate"]
    values = GaugeMetricFamily("fitment_gate_value", "What a gate sees", labels=gate_labels)
    limits = GaugeMetricFamily("fitment_gate_threshold", "What it asks", labels=gate_labels)
    for rollout in rollouts:
        for stratum in rollout.strata:
            for state, count in stratum.counts.items():
                devices.add_metric([rollout.id, stratum.id, stratum.state.value, state], count)
            for gate in stratum.gates:
                limits.add_metric([rollout.id, stratum.id, gate.name], gate.threshold)
                if gate.value is not None:
                    values.add_metric([rollout.id, stratum.id, gate.name], gate.value)
    return devices, values, limits


def _counts(name: str, help: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, help, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family
