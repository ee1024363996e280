"""Weight sharing: the numbers alone, and in models that the real runtime runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fitment_compress.errors import TechniqueError
from fitment_compress.graph import weight_initializers
from fitment_compress.packing import encode
from fitment_compress.pipeline import Candidate, build
from fitment_compress.techniques.base import Context
from fitment_compress.techniques.codebook import cluster, nearest, share
from fitment_contract.variant import RecipeStep
from support.compress_models import Array, classifier, load, outputs_of, random, save_elementwise
from support.runtime_models import constant, save, save_mlp

FLOATS = arrays.arrays(
    np.float32,
    st.integers(1, 300),
    elements=st.floats(-100, 100, width=32) | st.sampled_from([0.0, 1.0, -1.0]),
)


def made(model: Path, folder: Path, *steps: tuple[str, dict[str, Any]]) -> Candidate:
    feeds = [{"image": random(seed, 1, 1, 8, 8)} for seed in range(8)]
    recipe = [RecipeStep(technique=name, options=options) for name, options in steps]
    candidate = build(load(model), recipe, Context(feeds, folder))
    onnx.save(candidate.model, folder / "candidate.onnx")
    return candidate


def values_of(weight: Array) -> set[float]:
    return set(weight[weight != 0].ravel().tolist())


@given(FLOATS, st.integers(1, 40))
@settings(max_examples=200)
def test_every_value_gets_its_nearest_centre(values: Array, entries: int) -> None:
    centres = cluster(values, entries)
    assert len(centres) <= entries
    assert (np.diff(centres) > 0).all()
    assert values.min() <= centres[0] <= centres[-1] <= values.max()
    distances = abs(values[:, None].astype(np.float64) - centres).min(axis=1)
    found = abs(values.astype(np.float64) - nearest(values, centres))
    assert found == pytest.approx(distances, rel=1e-4, abs=1e-4)


@given(FLOATS, st.integers(2, 40))
def test_zeroes_stay_zero_and_cost_no_entry_where_they_are_most(
    weight: Array, entries: int
) -> None:
    shared = share(weight, entries)
    assert not shared[weight == 0].any()
    assert not np.signbit(shared[weight == 0]).any()
    mostly_zero = 2 * np.count_nonzero(weight) < weight.size
    assert len(np.unique(shared)) <= entries + mostly_zero
    assert shared.dtype == weight.dtype


@given(FLOATS, st.integers(1, 8))
def test_a_few_values_are_kept_as_they_are(values: Array, spare: int) -> None:
    distinct = np.unique(values)
    assert (cluster(values, len(distinct) + spare - 1) == distinct).all()


def test_clusters_are_found_whatever_the_order() -> None:
    rng = np.random.default_rng(0)
    true = np.array([-3.0, -1.0, 0.5, 4.0])
    values = (true[rng.integers(4, size=500)] + rng.normal(0, 0.02, 500)).astype(np.float32)
    centres = cluster(values, 4)
    assert centres == pytest.approx(true, abs=0.02)
    assert (cluster(values[::-1], 4) == centres).all()


def test_one_huge_weight_does_not_take_the_entries_of_all_others() -> None:
    values = np.append(random(0, 1000), np.float32(1000))
    shared = share(values, 16)
    assert len(np.unique(shared)) == 16
    assert shared[-1] == 1000
    noise = np.square(shared[:-1] - values[:-1]).mean()
    assert noise < 0.02  # 16 even steps over the normal distribution leave 0.0115


def test_each_kind_of_layer_has_its_own_bits(tmp_path: Path) -> None:
    nodes = [
        onnx.helper.make_node("Conv", ["x", "depth"], ["a"], group=4),
        onnx.helper.make_node("Conv", ["a", "point", "bias"], ["b"]),
        onnx.helper.make_node("Flatten", ["b"], ["f"]),
        onnx.helper.make_node("Gemm", ["f", "full"], ["g"]),
        onnx.helper.make_node("MatMul", ["g", "last"], ["y"]),
    ]
    weights = {"depth": (4, 1, 5, 5), "point": (9, 4, 1, 1), "full": (9, 20), "last": (20, 30)}
    stored = [constant(name, random(n, *shape)) for n, (name, shape) in enumerate(weights.items())]
    bias = random(9, 9)
    path = save(
        tmp_path / "m.onnx",
        nodes,
        [("x", "float32", ["n", 4, 5, 5])],
        [("y", "float32", ["n", 30])],
        [*stored, constant("bias", bias)],
    )
    options = {"bits": 2, "bits_dense": 1, "bits_grouped": 3}
    model = made(path, tmp_path, ("codebook", options)).model
    counts = {name: len(values_of(w)) for name, w in weight_initializers(model).items()}
    assert counts == {"depth": 8, "point": 4, "full": 2, "last": 2}
    kept = next(tensor for tensor in model.graph.initializer if tensor.name == "bias")
    assert (onnx.numpy_helper.to_array(kept) == bias).all()


def test_the_file_stays_one_of_floats_that_does_the_same(tmp_path: Path) -> None:
    model, data = classifier(tmp_path)
    candidate = made(model, tmp_path, ("codebook", {}))
    assert (candidate.account.precision, candidate.traits) == ("fp32", ("codebook",))
    ours = outputs_of(tmp_path / "candidate.onnx", data)[0].argmax(axis=1)
    assert (ours == outputs_of(model, data)[0].argmax(axis=1)).mean() > 0.95
    before, after = model.stat().st_size, (tmp_path / "candidate.onnx").stat().st_size
    assert abs(after - before) < 200


def test_it_is_the_transfer_that_shrinks(tmp_path: Path) -> None:
    model = save_mlp(tmp_path / "m.onnx", features=200, classes=40)
    made(model, tmp_path, ("codebook", {"bits_dense": 2}))
    shared = len(encode((tmp_path / "candidate.onnx").read_bytes()))
    assert shared < 0.15 * len(encode(model.read_bytes()))


def test_pruned_weights_stay_pruned(tmp_path: Path) -> None:
    model, _ = classifier(tmp_path)
    steps: list[tuple[str, dict[str, Any]]] = [("magnitude-prune", {"sparsity": 0.7})]
    pruned = weight_initializers(made(model, tmp_path, *steps).model)
    shared = weight_initializers(made(model, tmp_path, *steps, ("codebook", {"bits": 3})).model)
    for name, values in pruned.items():
        assert ((shared[name] == 0) == (values == 0)).all()


def test_a_model_without_stored_float_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(TechniqueError, match=r"works on Conv.*has Add, Tanh"):
        made(save_elementwise(tmp_path / "e.onnx"), tmp_path, ("codebook", {}))
    steps = np.array([[1], [2]], np.int8), np.float32(0.5), np.int8(0)
    stored = [constant(name, values) for name, values in zip("wsz", steps, strict=True)]
    quantised = save(
        tmp_path / "q.onnx",
        [
            onnx.helper.make_node("DequantizeLinear", ["w", "s", "z"], ["d"]),
            onnx.helper.make_node("MatMul", ["x", "d"], ["a"]),
            onnx.helper.make_node("Constant", [], ["k"], value=constant("", random(0, 1, 1))),
            onnx.helper.make_node("MatMul", ["a", "k"], ["y"]),
        ],
        [("x", "float32", ["n", 2])],
        [("y", "float32", ["n", 1])],
        stored,
    )
    with pytest.raises(TechniqueError, match="before the quantising step"):
        made(quantised, tmp_path, ("codebook", {}))
