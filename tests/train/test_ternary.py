"""Weights of two or three values per channel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitment_compress.errors import TechniqueError
from fitment_compress.graph import weight_initializers
from fitment_compress.techniques.ternary_weights import candidates
from support.compress_models import load, random
from support.runtime_models import save_conv_classifier
from support.train_models import agreement, images, save_separable, stored, taught

torch = pytest.importorskip("torch", reason="needs PyTorch: make test-train")
pytestmark = pytest.mark.train
torch.set_num_threads(1)

from fitment_compress.training.levels import levels  # noqa: E402

QUICK: dict[str, Any] = {"epochs": 15, "batch": 32, "rate": 0.01}
TESTED = images(400, seed=99)


def distinct(rows: Any) -> list[list[float]]:
    """The different values of each row."""
    return [np.unique(row).tolist() for row in rows]


@pytest.mark.parametrize(("kind", "most"), [("binary", 2), ("ternary", 3)])
def test_every_channel_has_its_levels_and_the_model_still_decides(
    tmp_path: Path, kind: str, most: int
) -> None:
    source = save_separable(tmp_path / "m.onnx")
    lesson = ("ternary-weights", {**QUICK, "levels": kind})
    model = taught(source, source, images(256), [lesson], tmp_path)
    channels = distinct(stored(model)["k3"])
    for values in channels:
        assert len({abs(value) for value in values if value}) == 1  # -a and a, or one of them
        assert kind == "ternary" or 0.0 not in values
    assert max(len(values) for values in channels) == most
    hasty = ("ternary-weights", {**QUICK, "levels": kind, "epochs": 0.1})
    untaught = taught(source, source, images(256), [hasty], tmp_path)
    assert agreement(model, source, TESTED) > agreement(untaught, source, TESTED) + 0.1
    for name in ("k1", "k2", "w"):  # first, depthwise, last
        assert len(np.unique(stored(model)[name])) > 10


@pytest.mark.parametrize("then", [[], [("int8-static", {})]])
def test_later_recovery_keeps_the_levels(tmp_path: Path, then: list[Any]) -> None:
    source = save_separable(tmp_path / "m.onnx")
    lesson = ("ternary-weights", {**QUICK, "epochs": 2})
    first = taught(source, source, images(128), [lesson, *then], tmp_path)
    again = taught(first, source, images(128), [("recover", {"epochs": 2, "batch": 32})], tmp_path)
    name = "k3_quantized" if then else "k3"
    before, after = stored(first)[name], stored(again)[name]
    assert not all(np.array_equal(stored(again)[n], v) for n, v in stored(first).items())
    assert [len(row) for row in distinct(before)] == [len(row) for row in distinct(after)]
    np.testing.assert_array_equal(np.sign(before), np.sign(after))


def test_the_ends_are_spared_unless_asked_for(tmp_path: Path) -> None:
    model = load(save_separable(tmp_path / "m.onnx"))
    assert candidates(model, spare_ends=True) == ["k3"]
    assert candidates(model, spare_ends=False) == ["k1", "k3", "w"]
    source = tmp_path / "m.onnx"
    lesson = ("ternary-weights", {"epochs": 1, "spare_ends": False})
    made = taught(source, source, images(64), [lesson], tmp_path)
    for name, rows in weight_initializers(made).items():
        if name != "k2":
            channels = rows if name != "w" else rows.T  # Gemm without transB
            assert all(len(values) <= 3 for values in distinct(channels))


def test_zeroes_of_pruning_stay(tmp_path: Path) -> None:
    source = save_conv_classifier(tmp_path / "m.onnx")
    prune = ("magnitude-prune", {"sparsity": 0.5})
    lesson = ("ternary-weights", {"epochs": 1, "batch": 32, "levels": "binary"})
    pruned = taught(source, source, images(64), [prune], tmp_path)
    model = taught(pruned, source, images(64), [lesson], tmp_path)
    np.testing.assert_array_equal(stored(model)["k2"] == 0, stored(pruned)["k2"] == 0)


def test_a_model_with_ends_only_is_refused(tmp_path: Path) -> None:
    model = load(save_separable(tmp_path / "m.onnx"))
    del model.graph.node[4:6]
    model.graph.node[4].input[0] = "d"
    with pytest.raises(TechniqueError, match=r"first or last layer.*Set spare_ends to false"):
        taught(model, tmp_path / "m.onnx", images(8), [("ternary-weights", {})], tmp_path)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 9999), axis=st.sampled_from([0, 1, -1]), ternary=st.booleans())
def test_levels_are_the_mean_magnitude_of_what_is_kept(seed: int, axis: int, ternary: bool) -> None:
    weights = torch.from_numpy(random(seed, 4, 5))
    rounded = levels(weights, axis, ternary)
    for row, own in zip(weights.movedim(axis, 0), rounded.movedim(axis, 0), strict=True):
        kept = row.abs() > (0.7 * row.abs().mean() if ternary else 0)
        assert bool((own[~kept] == 0).all())
        torch.testing.assert_close(own[kept].abs(), row[kept].abs().mean().expand(int(kept.sum())))
        assert torch.equal(own[kept].sign(), row[kept].sign())
