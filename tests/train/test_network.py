"""The graph as PyTorch runs it is the graph as the runtime runs it, and is written back whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import helper

from fitment_compress.errors import TechniqueError
from support.compress_models import load, random
from support.runtime_models import constant, save, save_conv_classifier, save_gru, save_two_inputs
from support.train_models import CASES, Case, images, node, run, save_separable, stored, taught

torch = pytest.importorskip("torch", reason="needs PyTorch: make test-train")
pytestmark = pytest.mark.train
torch.set_num_threads(1)

from fitment_compress.training.constraints import codebook  # noqa: E402
from fitment_compress.training.network import OPERATORS, Network  # noqa: E402
from fitment_compress.training.quantised import Grid, QuantisedWeight, fake_quantise  # noqa: E402
from fitment_compress.training.reference import Reference  # noqa: E402


def difference(model: onnx.ModelProto, feeds: dict[str, Any]) -> float:
    """Largest difference of all outputs, over the largest output."""
    tensors = {name: torch.from_numpy(values) for name, values in feeds.items()}
    with torch.no_grad():
        ours = Network(model)(tensors)
    theirs = Reference(model)(tensors)
    for name, values in theirs.items():
        assert ours[name].shape == values.shape
    return max(
        float((ours[name] - values).abs().max() / values.abs().max())
        for name, values in theirs.items()
    )


@pytest.mark.parametrize("name", CASES)
def test_every_operator_computes_what_the_runtime_computes(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    assert difference(case.build(tmp_path / "m.onnx"), {"x": random(9, *case.shape)}) < 1e-4


def test_no_operator_is_untested() -> None:
    assert {name.split()[0] for name in CASES} == set(OPERATORS)


@settings(max_examples=40, deadline=None)
@given(
    pads=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilations=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    mode=st.sampled_from(["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]),
    sides=st.tuples(st.integers(5, 9), st.integers(5, 9)),
)
def test_convolutions_pad_like_the_runtime(
    tmp_path_factory: Any, pads: Any, strides: Any, dilations: Any, mode: str, sides: Any
) -> None:
    if mode != "NOTSET":
        dilations, pads = (1, 1), None  # the runtime pads dilated kernels otherwise than it says
    given_pads = {} if pads is None else {"pads": pads}
    case = Case(
        [node("Conv", "w", strides=strides, dilations=dilations, auto_pad=mode, **given_pads)],
        shape=(1, 2, *sides),
        stored={"w": random(1, 3, 2, 3, 2)},
    )
    model = case.build(tmp_path_factory.mktemp("pads") / "m.onnx")
    assert difference(model, {"x": random(2, *case.shape)}) < 1e-4


def test_whole_models_compute_what_the_runtime_computes(tmp_path: Path) -> None:
    samples = images(16)
    plain = save_conv_classifier(tmp_path / "m.onnx")
    pruned = taught(plain, plain, samples, [("magnitude-prune", {"sparsity": 0.8})], tmp_path)
    for model in (load(plain), pruned):
        assert difference(model, dict(samples.inputs)) < 1e-4
    feeds = {"features": random(0, 6, 4), "token": np.arange(6) % 5}
    assert difference(load(save_two_inputs(tmp_path / "two.onnx")), feeds) < 1e-4


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("flavour", ["u8s8", "s8s8", "u8u8"])
def test_quantised_models_decide_like_the_runtime(
    tmp_path: Path, flavour: str, per_channel: bool
) -> None:
    samples = images(200)
    plain = save_separable(tmp_path / "m.onnx")
    options = {"activation": flavour[:2], "weight": flavour[2:], "per_channel": per_channel}
    model = taught(plain, plain, samples, [("int8-static", options)], tmp_path)
    with torch.no_grad():
        ours = Network(model)({"image": torch.from_numpy(samples.inputs["image"])})["logits"]
    theirs = run(model, samples)[0]
    assert (ours.numpy().argmax(1) == theirs.argmax(1)).mean() > 0.97
    assert abs(ours.numpy() - theirs).mean() < 0.02 * theirs.std()


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [("fp16", {})],
        [("magnitude-prune", {"sparsity": 0.8})],
        [("int8-static", {"per_channel": True})],
        [("int8-static", {"per_channel": False, "activation": "s8"})],
    ],
)
def test_writing_back_what_was_read_changes_nothing(tmp_path: Path, steps: Any) -> None:
    plain = save_separable(tmp_path / "m.onnx")
    model = taught(plain, plain, images(32), steps, tmp_path)
    before = stored(model)
    network = Network(model)
    assert len(network.weights) >= 7 - 2 * bool(steps)
    network.write(model)
    for name, values in stored(model).items():
        assert values.dtype == before[name].dtype
        np.testing.assert_array_equal(values, before[name])


def test_a_tensor_that_is_read_twice_learns_once(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx",
        [
            helper.make_node("MatMul", ["x", "w"], ["h"]),
            helper.make_node("MatMul", ["h", "w"], ["y"]),
        ],
        [("x", "float32", ["n", 4])],
        [("y", "float32", ["n", 4])],
        [constant("w", random(0, 4, 4))],
    )
    network = Network(load(path))
    assert list(network.weights) == ["w"]
    assert len(list(network.parameters())) == 1
    x = torch.from_numpy(random(1, 3, 4))
    network({"x": x})["y"].sum().backward()
    w = network.weights["w"].latent.detach().clone().requires_grad_()
    (x @ w @ w).sum().backward()
    torch.testing.assert_close(network.weights["w"].latent.grad, w.grad)


def test_statistics_limits_and_scales_do_not_learn(tmp_path: Path) -> None:
    norm = CASES["BatchNormalization"].build(tmp_path / "norm.onnx")
    assert set(Network(norm).weights) == {"s", "b"}
    clip = CASES["Clip"].build(tmp_path / "clip.onnx")
    assert not Network(clip).weights


def test_an_operator_that_training_does_not_know_is_named(tmp_path: Path) -> None:
    with pytest.raises(TechniqueError, match="does not know the operator GRU"):
        Network(load(save_gru(tmp_path / "m.onnx")))
    model = CASES["Relu"].build(tmp_path / "m.onnx")
    model.graph.node[0].domain = "com.example"
    with pytest.raises(TechniqueError, match=r"operator Relu of com\.example"):
        Network(model)
    bare = Case([helper.make_node("Constant", [], ["c"], value_float=2.0), node("Mul", "c")])
    with pytest.raises(TechniqueError, match=r"operator Constant \(node c\)"):
        Network(bare.build(tmp_path / "m.onnx"))


@pytest.mark.parametrize(
    ("kind", "use"),
    [
        ("ConvTranspose", {"auto_pad": "SAME_UPPER"}),
        ("ConvTranspose", {"output_shape": [12, 12], "strides": [2, 2]}),
        ("AveragePool", {"kernel_shape": [3, 3], "ceil_mode": 1}),
    ],
)
def test_a_use_of_an_operator_that_training_does_not_know_is_named(
    tmp_path: Path, kind: str, use: dict[str, Any]
) -> None:
    stored = {"w": random(1, 4, 3, 3, 3)} if kind == "ConvTranspose" else {}
    case = Case([node(kind, *stored, **use)], stored=stored)
    network = Network(case.build(tmp_path / "m.onnx"))
    with pytest.raises(TechniqueError, match=rf"operator {kind} \(node y\): .* do not learn"):
        network({"x": torch.from_numpy(random(9, *case.shape))})


def test_integers_have_the_type_that_the_node_says(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s"], ["q"], output_dtype=onnx.TensorProto.INT8),
        helper.make_node("DequantizeLinear", ["q", "s"], ["y"]),
    ]
    case = Case(nodes, stored={"s": np.array(0.02, np.float32)}, opset=21)
    model = case.build(tmp_path / "m.onnx")
    assert difference(model, {"x": random(9, *case.shape)}) < 1e-4


def test_old_opsets_are_refused(tmp_path: Path) -> None:
    model = load(save_conv_classifier(tmp_path / "m.onnx", opset=11))
    with pytest.raises(TechniqueError, match="opset 13 or newer; this model has 11"):
        Network(model)


def test_computed_scales_and_lone_integers_are_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["s"], keepdims=0),
        helper.make_node("QuantizeLinear", ["x", "s"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s"], ["y"]),
    ]
    with pytest.raises(TechniqueError, match="does not know the quantisation of q"):
        Network(Case(nodes).build(tmp_path / "m.onnx"))
    scales = {"s": np.array(0.1, np.float32), "t": np.array(0.2, np.float32)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "t"], ["y"]),
    ]
    with pytest.raises(TechniqueError, match="cannot follow the integers that y is made from"):
        Network(Case(nodes, stored=scales).build(tmp_path / "m.onnx"))


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["i1", "u1", "i4"]),
    axis=st.sampled_from([None, 0, 1]),
    seed=st.integers(0, 10_000),
)
def test_stored_integers_survive_being_read(kind: str, axis: int | None, seed: int) -> None:
    generator = np.random.default_rng(seed)
    info = np.iinfo(kind)
    shape = (5, 3)
    integers = generator.integers(info.min, info.max, shape, dtype=kind, endpoint=True)
    if kind == "i4":
        integers >>= 8  # float32 holds 24 bits: what biases have in practice
    count = () if axis is None else (shape[axis],)
    scale = generator.uniform(1e-4, 2.0, count).astype(np.float32)
    point = generator.integers(0, 5, count).astype(kind)
    grid = Grid(scale, point, axis, int(info.min), int(info.max))
    weight = QuantisedWeight(integers, grid)
    np.testing.assert_array_equal(weight.stored(), integers)
    scales, points = grid.spread(2)
    exact = (integers.astype(np.float64) - points.double().numpy()) * scales.double().numpy()
    np.testing.assert_allclose(weight().detach().numpy(), exact, rtol=1e-5)


def test_a_single_stored_integer_stays_one() -> None:
    grid = Grid(np.array(0.5, np.float32), np.array(0, np.int8), None, -128, 127)
    assert QuantisedWeight(np.array(7, np.int8), grid).stored().shape == ()


@pytest.mark.parametrize("count", [1, 3])
def test_rounding_passes_gradients_inside_the_range_only(count: int) -> None:
    scale = np.full(count if count > 1 else (), 0.5, np.float32)
    grid = Grid(scale, np.zeros(scale.shape, np.uint8), 0 if count > 1 else None, 0, 255)
    values = torch.tensor([-3.0, 0.6, 200.0], requires_grad=True)
    rounded = fake_quantise(values, grid)
    assert rounded.tolist() == [0.0, 0.5, 127.5]
    rounded.sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [0.0, 1.0, 0.0]


@settings(max_examples=60, deadline=None)
@given(
    values=arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 30), st.integers(1, 30)),
        elements=st.sampled_from([0.0, -1.5, 0.25, 3.0, 7.0]),
    )
)
def test_codes_and_entries_give_the_tensor_back(values: Any) -> None:
    found = codebook(values)
    if found is not None:
        codes, entries = found
        np.testing.assert_array_equal(entries[codes], values)
    else:
        used = np.count_nonzero(values)
        assert used < 2 * len(np.unique(values[values != 0]))


def test_free_numbers_are_no_codebook() -> None:
    values = random(0, 40, 40)
    assert codebook(values) is None
    values[:, 2:] = 0.0  # pruning repeats zeroes only
    assert codebook(values) is None
