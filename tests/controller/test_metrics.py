"""What Prometheus gets to see: the promised names, and nothing per device."""

from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

from fitment_controller.domain import Evidence
from fitment_controller.metrics import FleetMetrics
from fitment_controller.service.ports import FleetObserver
from support.contract_samples import MOMENT, REPORT
from support.edge_device import ENERGY, SUSTAINED


def samples(metrics: FleetMetrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = metrics.scrape().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def evidence(valid: bool) -> Evidence:
    return Evidence(
        report=REPORT.model_copy(update={"valid": valid}),
        device="pi-5",
        device_class="pi-5",
        region="eu-west",
        received_at=MOMENT,
    )


def test_events_become_counters_with_their_labels() -> None:
    metrics = FleetMetrics("1.2.3")
    observer: FleetObserver = metrics
    observer.update_finished("activity", "failed", "golden_mismatch")
    observer.update_finished("activity", "failed", "golden_mismatch")
    observer.stage_finished("fetching", 3.0)
    observer.stage_finished("fetching", -1.0)
    observer.downloaded("eu-west", "identity", 1000)
    observer.decided("activity", "unplaceable", "memory")
    found = samples(metrics)
    attempts = (("model", "activity"), ("reason", "golden_mismatch"), ("result", "failed"))
    assert found["fitment_update_attempts_total", attempts] == 2
    assert found["fitment_update_duration_seconds_count", (("stage", "fetching"),)] == 2
    assert found["fitment_update_duration_seconds_sum", (("stage", "fetching"),)] == 3.0
    received = (("encoding", "identity"), ("region", "eu-west"))
    assert found["fitment_download_bytes_total", received] == 1000
    assert found["fitment_build_info", (("version", "1.2.3"),)] == 1


def counted(result: str) -> tuple[tuple[str, str], ...]:
    labels = (("class", "pi-5"), ("mode", "quick"), ("model", "activity"))
    return (*labels, ("result", result))


def test_benchmarks_that_prove_nothing_are_not_shown() -> None:
    metrics = FleetMetrics("1")
    labels = (
        *(("class", "pi-5"), ("model", "activity"), ("simulated", "true")),
        ("variant", REPORT.variant),
    )
    metrics.benchmarked(evidence(valid=False))
    found = samples(metrics)
    assert ("fitment_benchmark_accuracy_ratio", labels) not in found
    assert found["fitment_benchmarks_total", counted("invalid")] == 1
    metrics.benchmarked(evidence(valid=True))
    found = samples(metrics)
    assert found["fitment_benchmark_accuracy_ratio", labels] == 0.868
    assert found["fitment_benchmark_p95_seconds_count", labels] == 1
    assert found["fitment_benchmarks_total", counted("valid")] == 1
    assert ("fitment_benchmark_energy_joules", labels) not in found, "no meter, no number"
    metered = REPORT.model_copy(update={"energy": ENERGY, "sustained": SUSTAINED})
    metrics.benchmarked(evidence(valid=True).model_copy(update={"report": metered}))
    found = samples(metrics)
    assert found["fitment_benchmark_energy_joules", labels] == 0.0123
    assert found["fitment_benchmark_retention_ratio", labels] == 0.97


def test_names_follow_the_conventions() -> None:
    """One prefix, base units, no series per device; two controllers share no registry."""
    metrics = FleetMetrics("1")
    metrics.benchmarked(evidence(valid=True))
    text = metrics.scrape().decode()
    names = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)
    assert names
    for name, kind in names:
        assert name.startswith("fitment_")
        assert kind != "counter" or name.endswith("_total")
        assert not re.search(r"_(ms|millis|kb|mb|percent)(_|$)", name)
    assert 'pi-5",device=' not in text
    assert "device=" not in text
    assert "update_attempts_total{" not in FleetMetrics("1").scrape().decode()
