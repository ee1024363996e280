"""Evidence: a device counts once, with its newest report; what is unusable is left out."""

from __future__ import annotations

from datetime import timedelta

import pytest

from fitment_contract.benchmark import BenchmarkReport
from fitment_controller.decisions.evidence import index_evidence, loss, usable
from fitment_controller.domain import Evidence, NumberSource
from support.core_fleet import NOW, make_entry, make_facts, make_report

VARIANT = make_entry("int8").variant
assert VARIANT is not None
FACTS = make_facts()


def item(device: str, p95: float, minutes: int = 0, **report: object) -> Evidence:
    assert VARIANT is not None
    made = make_report(VARIANT, fingerprint=FACTS.fingerprint, p95=p95, **report)  # type: ignore[arg-type] # a test's shorthand
    return Evidence(
        report=made,
        device=device,
        device_class="pi-5",
        region="eu-west",
        received_at=NOW + timedelta(minutes=minutes),
    )


def nearest(*items: Evidence) -> tuple[NumberSource, float, int] | None:
    assert VARIANT is not None
    found = index_evidence(items).nearest(VARIANT.digest, FACTS, "pi-5")
    return None if found is None else (found[0], found[1].latency_p95_seconds, found[1].n)


def test_a_device_counts_once_with_its_newest_report() -> None:
    items = (item("a", 0.9, 0), item("a", 0.1, 1), item("b", 0.3, 0))
    found = nearest(*items)
    assert found is not None
    assert found[1] == pytest.approx(0.2)
    assert found[2] == 2
    assert nearest(*items[::-1]) == nearest(*items)


def test_one_outlier_does_not_move_the_median() -> None:
    assert nearest(item("a", 0.1), item("b", 0.11), item("c", 50.0)) == (
        NumberSource.FINGERPRINT,
        0.11,
        3,
    )


def test_invalid_reports_and_other_protocols_are_not_used() -> None:
    assert nearest(item("a", 0.1, valid=False)) is None
    other: BenchmarkReport = item("a", 0.1).report.model_copy(update={"protocol": "else/9"})
    assert not usable(other)


def test_a_simulated_class_informs_nobody_real() -> None:
    assert VARIANT is not None
    index = index_evidence([item("a", 0.1, simulated=True)])
    other = make_facts(simulated=True)
    assert index.by_class[VARIANT.digest, "pi-5", True].n == 1
    assert (VARIANT.digest, "pi-5", False) not in index.by_class
    found = index.nearest(VARIANT.digest, other, "pi-5")
    assert found is not None
    assert found[0] is NumberSource.CLASS
    assert index.nearest(VARIANT.digest, make_facts("x86-avx2"), "pi-5") is None


def test_loss_knows_the_direction_of_the_metric() -> None:
    assert loss(0.9, 0.8, higher_is_better=True) == pytest.approx(0.1)
    assert loss(0.9, 0.8, higher_is_better=False) == pytest.approx(-0.1)


def test_scores_on_other_data_do_not_count() -> None:
    """The same file may come again in a version that is scored on another split."""
    assert VARIANT is not None
    index = index_evidence([item("a", 0.1)], evaluation="e" * 64)
    found = index.nearest(VARIANT.digest, FACTS, "pi-5")
    assert found is not None
    assert found[1].accuracy is None
    assert found[1].latency_p95_seconds == 0.1
