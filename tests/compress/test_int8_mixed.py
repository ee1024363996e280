"""Mixed precision: what is sensitive stays float, and the rest becomes integer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitment_compress.errors import TechniqueError
from fitment_compress.quantisation.sensitivity import (
    WORST,
    changed_decisions,
    has_decisions,
    noise_ratio,
)
from fitment_compress.techniques.int8_mixed import largest_set
from fitment_runtime.catalog import find_runtime
from support.quantisation_models import (
    FASHION,
    accuracy,
    fashion_feeds,
    fashion_images,
    feeds_of,
    made,
    save_residual,
)
from support.structure_models import Network
from support.structure_models import feeds_of as network_feeds

COARSE = {"per_channel": False, "stem": "integer"}


def test_the_layers_that_cost_most_stay_float(tmp_path: Path) -> None:
    data = fashion_images(tmp_path)
    feeds = fashion_feeds()
    model = FASHION / "model.onnx"
    _, path, _ = made(model, tmp_path, feeds, ("int8-static", COARSE))
    assert accuracy(path, data) < accuracy(model, data) - 0.05
    candidate, path, findings = made(
        model, tmp_path, feeds, ("int8-mixed", {**COARSE, "budget": 0.02})
    )
    assert accuracy(path, data) > accuracy(model, data) - 0.015
    assert candidate.traits == ("u8s8", "per-tensor", "mixed-precision")
    spared = {entry.layer for entry in findings.sensitivity if entry.spared}
    worst = max(findings.sensitivity, key=lambda entry: entry.noise_ratio)
    assert worst.layer in spared
    assert worst.operator == "Conv"
    assert 0 < len(spared) < len(findings.sensitivity) / 2
    counts = find_runtime("onnxruntime").kernels(path, feeds[0])
    assert counts.convolutions - counts.integer_convolutions == len(spared)
    assert all(name in findings.notes[0] for name in spared)


def test_a_harmless_quantisation_takes_every_layer(tmp_path: Path) -> None:
    model = save_residual(tmp_path / "m.onnx")
    _, _, findings = made(model, tmp_path, feeds_of(20), ("int8-mixed", {"budget": 0.3}))
    assert [entry.layer for entry in findings.sensitivity] == [
        *("stem", "depthwise", "pointwise", "head"),
    ]
    assert not any(entry.spared for entry in findings.sensitivity)
    assert findings.notes[0].startswith("All 4 layers are in 8 bits")


def test_the_power_of_the_outputs_can_be_the_budget(tmp_path: Path) -> None:
    model = save_residual(tmp_path / "m.onnx")
    options = {"measure": "outputs", "correct_bias": True}
    _, _, whole = made(model, tmp_path, feeds_of(20), ("int8-mixed", {**options, "budget": 0.5}))
    assert "corrected" in whole.notes[1]
    noises = sorted(entry.noise_ratio for entry in whole.sensitivity)
    budget = (noises[0] + noises[1]) / 2
    _, _, tight = made(model, tmp_path, feeds_of(20), ("int8-mixed", {**options, "budget": budget}))
    assert sum(not entry.spared for entry in tight.sensitivity) == 1


def test_a_budget_that_nothing_keeps_to_is_refused(tmp_path: Path) -> None:
    model = save_residual(tmp_path / "m.onnx")
    options = {"measure": "outputs", "budget": 0.0}
    with pytest.raises(TechniqueError, match="Not one layer can be quantised within the budget"):
        made(model, tmp_path, feeds_of(5), ("int8-mixed", options))


class Costs:
    """Layers whose noises add up."""

    def __init__(self, costs: dict[str, int], budget: int) -> None:
        self.costs, self.budget, self.asked = costs, budget, 0

    def fits(self, layers: object) -> bool:
        self.asked += 1
        return sum(self.costs[layer] for layer in layers) <= self.budget  # type: ignore[attr-defined]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 400))
def test_the_set_is_the_largest_and_found_in_few_trials(costs: list[int], budget: int) -> None:
    named = {f"l{index}": cost for index, cost in enumerate(costs)}
    trial = Costs(named, budget)
    cheapest = np.cumsum(sorted(costs))
    best = int((cheapest <= budget).sum())
    if not best:
        with pytest.raises(TechniqueError):
            largest_set(named, trial)
        return
    chosen = largest_set(named, trial)
    assert len(chosen) == best
    assert trial.fits(chosen)
    assert trial.asked <= 1 + 6 + 16 + 1


def test_noise_is_relative_to_each_output() -> None:
    reference = [[np.array([[3.0, 4.0]]), np.array([[1e4]])] for _ in range(3)]
    found = [[old + np.array([[0.5, 0.0]]), other] for old, other in reference]
    assert noise_ratio(reference, found) == pytest.approx((0.25 / 25 + 0) / 2)
    assert noise_ratio(reference, [[old * np.nan, other] for old, other in reference]) == WORST
    assert noise_ratio(reference, reference) == 0.0


def test_decisions_are_counted_at_every_position() -> None:
    reference = [[np.array([[[0.0, 1.0], [2.0, 1.0]]])], [np.array([[[5.0, 1.0], [0.0, 9.0]]])]]
    found = [[values[0].copy()] for values in reference]
    found[1][0][0, 1] = [10.0, 9.0]
    assert changed_decisions(reference, found) == 0.25


def test_integers_are_decisions_and_a_single_number_is_none() -> None:
    labels = [[np.array([3])], [np.array([1])]]
    assert has_decisions(labels)
    assert changed_decisions(labels, [[np.array([3])], [np.array([2])]]) == 0.5
    assert has_decisions([[np.zeros((1, 2), np.float32)]])
    assert not has_decisions([[np.zeros((1, 1), np.float32)]])
    assert not has_decisions([[np.zeros(1, np.float32)]])


def test_a_budget_means_something_where_nothing_is_decided(tmp_path: Path) -> None:
    """The largest of one number is always the same one; every layer would have fitted."""
    net = Network(0, 12)
    model = net.model(net.gemm(net.node("Relu", net.gemm("x", 16)), 1))
    onnx.save(model, tmp_path / "m.onnx")
    samples = network_feeds(model, 20)
    with pytest.raises(TechniqueError, match="Not one layer can be quantised within the budget"):
        made(tmp_path / "m.onnx", tmp_path, samples, ("int8-mixed", {"budget": 0.0}))
    _, _, findings = made(tmp_path / "m.onnx", tmp_path, samples, ("int8-mixed", {"budget": 0.1}))
    assert "of the outputs' power changed, 10.00% allowed" in findings.notes[0]
