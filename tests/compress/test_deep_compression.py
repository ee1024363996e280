"""Deep Compression (Han, Mao, Dally 2016) in its smallest setting: 256-300-100-10 neurons.

A stand-in for a trained network: most of what it does hangs on a twelfth of its weights. The real
network, trained on digits and retrained after each step, is `bench/deep_compression.py`.
"""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from fitment_compress.packing import encode
from fitment_compress.pipeline import build
from fitment_compress.techniques.base import Context
from fitment_contract.packed import decode
from fitment_contract.variant import RecipeStep
from support.compress_models import Array, load, outputs_of, random, save_npz
from support.runtime_models import constant, save

LAYERS = (256, 300, 100, 10)
STRONG = 0.08


def weights(seed: int, rows: int, columns: int) -> Array:
    """Few large weights among many small ones."""
    rng = np.random.default_rng(seed)
    strong = np.sign(rng.normal(size=(rows, columns))) * rng.normal(1.0, 0.2, (rows, columns))
    mask = rng.random((rows, columns)) < STRONG
    values = np.where(mask, strong, rng.normal(0, 0.01, (rows, columns)))
    return (values / np.sqrt(STRONG * rows)).astype(np.float32)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    nodes, stored = [], []
    for n, (rows, columns) in enumerate(pairwise(LAYERS)):
        stored += [
            constant(f"w{n}", weights(n, rows, columns)),
            constant(f"b{n}", random(n, columns) / 10),
        ]
        nodes += [helper.make_node("Gemm", [f"h{n}", f"w{n}", f"b{n}"], [f"a{n}"])]
        nodes += [helper.make_node("Relu", [f"a{n}"], [f"h{n + 1}"])]
    nodes[-1] = helper.make_node("Identity", ["a2"], ["h3"])
    return save(
        tmp_path / "mlp.onnx",
        nodes,
        [("h0", "float32", ["n", LAYERS[0]])],
        [("h3", "float32", ["n", LAYERS[-1]])],
        stored,
    )


def test_pruning_sharing_and_coding_together_save_the_most(network: Path, tmp_path: Path) -> None:
    prune = RecipeStep(technique="magnitude-prune", options={"sparsity": 1 - STRONG})
    sharing = RecipeStep(technique="codebook")
    plain = network.stat().st_size
    ratios = {}
    for name, steps in {"share": [sharing], "both": [prune, sharing]}.items():
        candidate = build(load(network), steps, Context([], tmp_path))
        onnx.save(candidate.model, tmp_path / f"{name}.onnx")
        content = (tmp_path / f"{name}.onnx").read_bytes()
        packed = encode(content)
        assert b"".join(decode(io.BytesIO(packed), len(content))) == content
        ratios[name] = plain / len(packed)
    assert ratios["share"] > 8
    assert ratios["both"] > 35
    data = save_npz(tmp_path / "data.npz", h0=random(9, 300, LAYERS[0]))
    before, after = (outputs_of(path, data)[0] for path in (network, tmp_path / "both.onnx"))
    assert (before.argmax(axis=1) == after.argmax(axis=1)).mean() > 0.95
