"""The fingerprint is the hash of what decides speed, and of nothing else."""

from __future__ import annotations

import pytest

from fitment_contract.device import DeviceFacts, Power, PowerSource, Storage, Thermal
from support.contract_samples import FACTS


@pytest.mark.parametrize(
    "change",
    [
        {"storage": Storage(free_bytes=1)},
        {"power": Power(source=PowerSource.MAINS)},
        {"thermal": Thermal(temperature_celsius=80)},
        {"region": "south-asia"},
        {"labels": {}},
    ],
)
def test_what_changes_by_the_hour_does_not_count(
    change: dict[str, object],
) -> None:
    assert FACTS.model_copy(update=change).fingerprint == FACTS.fingerprint


@pytest.mark.parametrize(
    "change", [{"soc": "bcm2711"}, {"isa": ("asimd",)}, {"cores": 2}, {"architecture": "armv7l"}]
)
def test_hardware_changes_the_fingerprint(change: dict[str, object]) -> None:
    hardware = FACTS.hardware.model_copy(update=change)
    assert FACTS.model_copy(update={"hardware": hardware}).fingerprint != FACTS.fingerprint


def test_a_runtime_update_changes_the_fingerprint() -> None:
    newer = FACTS.runtimes[0].model_copy(update={"version": "1.33.0"})
    assert FACTS.model_copy(update={"runtimes": (newer,)}).fingerprint != FACTS.fingerprint


def test_a_simulated_device_never_shares_a_fingerprint_with_a_real_one() -> None:
    real = FACTS.model_copy(update={"simulated": False})
    assert real.fingerprint != FACTS.fingerprint


def test_the_order_of_isa_features_does_not_matter() -> None:
    turned = FACTS.hardware.model_copy(update={"isa": tuple(reversed(FACTS.hardware.isa))})
    assert FACTS.model_copy(update={"hardware": turned}).fingerprint == FACTS.fingerprint


def test_a_device_may_know_nothing_of_itself() -> None:
    assert len(DeviceFacts().fingerprint) == 16
