"""Channels leave all layers that share them, and the rest computes on as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from fitment_compress.errors import TechniqueError
from fitment_compress.graph import constants, count_parameters, replace_initializer
from fitment_compress.macs import count_macs
from fitment_compress.pipeline import build
from fitment_compress.structure.channels import (
    ChannelGroup,
    ChannelMap,
    map_channels,
    remove_channels,
)
from fitment_compress.structure.graphs import copy_of
from fitment_compress.techniques.base import Context, Findings
from fitment_compress.techniques.channel_prune import ChannelPruneOptions, choose_channels
from fitment_contract.variant import RecipeStep
from support.compress_models import save_elementwise
from support.structure_models import (
    Network,
    dense_network,
    feeds_of,
    residual_network,
    run,
    sequence_network,
    shape_of,
)

NETWORKS = {"dense": dense_network, "residual": residual_network, "sequence": sequence_network}


def pruned(model: onnx.ModelProto, folder: Path, **options: Any) -> onnx.ModelProto:
    """A copy after channel-prune, calibrated with random samples."""
    step = RecipeStep(technique="channel-prune", options=options)
    made = build(copy_of(model), [step], Context(feeds_of(model, 20), folder)).model
    onnx.checker.check_model(made, full_check=True)
    return made


def silence(model: onnx.ModelProto, where: ChannelMap, removed: set[int]) -> None:
    """Put zeroes where the removed channels' weights are: they carry nothing any more."""
    for (name, axis), channels in where.slices.items():
        values = np.moveaxis(constants(model)[name].copy(), axis, 0)
        values[[channel in removed for channel in channels]] = 0
        replace_initializer(model, name, np.ascontiguousarray(np.moveaxis(values, 0, axis)))


def block(net: Network, choice: int, x: str, previous: str) -> str:
    """One of seven structures on top of `x` and `previous`, which have the same height."""
    width = net.widths[x]
    if choice == 0:
        return net.node("Relu", net.conv(x, width + 2))
    if choice == 1:
        return net.batch_norm(net.conv(x, width, group=width))
    if choice == 2:
        return net.node("Add", x, net.conv(previous, width, kernel=1))
    if choice == 3:
        return net.concat(x, net.node("Tanh", net.conv(previous, 4)), x)
    if choice == 4:
        return net.conv(net.conv(x, 8, kernel=1), 12, group=4)
    if choice == 5:
        squeezed = net.conv(net.node("GlobalAveragePool", x), width, kernel=1)
        return net.node("Mul", x, net.node("Relu", squeezed))
    return net.node("MaxPool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1])


def random_network(seed: int, choices: list[int]) -> onnx.ModelProto:
    """Blocks in any order, flattened into two dense layers."""
    net = Network(seed, 3, 6, 6)
    x = previous = net.node("Relu", net.conv("x", 6))
    for choice in choices:
        previous, x = x, block(net, choice, x, previous)
    shape = net.store("target", np.array([-1, net.widths[x] * 36]))
    flat = net.node("Reshape", x, shape, width=net.widths[x] * 36)
    return net.model(net.gemm(net.node("Relu", net.gemm(flat, 8)), 3))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    choices=st.lists(st.integers(0, 6), max_size=5),
    ratio=st.floats(0.1, 0.9),
)
def test_channels_that_carry_nothing_leave_without_a_trace(
    seed: int, choices: list[int], ratio: float
) -> None:
    model = random_network(seed, choices)
    where = map_channels(model)
    scores = dict(enumerate(np.random.default_rng(seed).random(10_000).tolist()))
    options = ChannelPruneOptions(ratio=ratio, multiple_of=1)
    removed = choose_channels(where.groups, scores, options)
    silence(model, where, removed)
    feeds = feeds_of(model, 2)
    expected = run(model, feeds)
    small = copy_of(model)
    remove_channels(small, map_channels(small), removed)
    np.testing.assert_allclose(run(small, feeds), expected, rtol=1e-4, atol=1e-5)
    if removed:
        assert count_parameters(small) < count_parameters(model)


@pytest.mark.parametrize("kind", sorted(NETWORKS))
def test_half_of_the_channels_leave_every_kind_of_network(tmp_path: Path, kind: str) -> None:
    model = NETWORKS[kind]()
    small = pruned(model, tmp_path, ratio=0.5)
    assert count_parameters(small) < 0.65 * count_parameters(model)
    assert (count_macs(small) or 0) < 0.65 * (count_macs(model) or 0)
    feeds = feeds_of(model, 3)
    assert run(small, feeds).shape == run(model, feeds).shape


def test_layers_of_a_residual_path_keep_the_same_channels() -> None:
    where = map_channels(residual_network())
    shared = next(group for group in where.groups if len(group.layers) > 1)
    assert [name.split("_")[0] for name in shared.layers] == ["conv"] * 3
    assert len(shared.channels) == 16


@pytest.mark.parametrize("importance", ["activation", "l1", "l2"])
def test_the_least_important_channels_go(tmp_path: Path, importance: str) -> None:
    model = dense_network()
    weights = constants(model)
    weak = [index for index in range(32) if index % 4]  # most channels, spread over the layer
    factors = np.ones(32, np.float32)
    factors[weak] = 0.1
    first = weights["gemm0.w"] * factors
    replace_initializer(model, "gemm0.w", first)
    replace_initializer(model, "gemm0.b", 2 * factors)  # positive: no channel is dead
    replace_initializer(model, "m", weights["m"] * factors[:, None])
    small = pruned(model, tmp_path, ratio=0.75, importance=importance, refit=False)
    kept = constants(small)["gemm0.w"]
    assert kept.shape[1] == 8
    np.testing.assert_array_equal(kept, first[:, ::4])


def test_scaling_a_channel_back_and_forth_does_not_change_its_activation_rank(
    tmp_path: Path,
) -> None:
    model = dense_network()
    scaled = copy_of(model)
    factors = np.logspace(-2, 2, 32).astype(np.float32)
    stored = constants(model)
    replace_initializer(scaled, "gemm0.w", stored["gemm0.w"] * factors)
    replace_initializer(scaled, "gemm0.b", stored["gemm0.b"] * factors)
    replace_initializer(scaled, "m", stored["m"] / factors[:, None])
    feeds = feeds_of(model, 5)
    ours, theirs = (pruned(m, tmp_path, refit=False) for m in (model, scaled))
    np.testing.assert_allclose(run(ours, feeds), run(theirs, feeds), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", sorted(NETWORKS))
def test_fitting_brings_outputs_nearer_on_samples_it_never_saw(tmp_path: Path, kind: str) -> None:
    model = NETWORKS[kind]()
    unseen = feeds_of(model, 50, seed=2)

    def error(refit: bool) -> float:
        options = {"ratio": 0.4, "refit": refit}
        step = RecipeStep(technique="channel-prune", options=options)
        context = Context(feeds_of(model, 100, seed=1), tmp_path)
        made = build(copy_of(model), [step], context).model
        return float(np.square(run(made, unseen) - run(model, unseen)).mean())

    assert error(refit=True) < 0.95 * error(refit=False)


def test_widths_stay_multiples_and_no_group_gets_narrower_than_one(tmp_path: Path) -> None:
    small = pruned(residual_network(width=24), tmp_path, ratio=0.9, multiple_of=8)
    widths = {tensor.dims[0] for tensor in small.graph.initializer if tensor.name.endswith("w")} - {
        16,
        8,
        24,
        32,
    }
    assert shape_of(small, "conv0.w")[0] == 8
    assert widths <= {8}


@given(st.integers(1, 200), st.floats(0.01, 0.99), st.sampled_from([1, 4, 8, 16]))
def test_kept_counts_are_multiples_unless_the_group_is_kept(
    count: int, ratio: float, multiple: int
) -> None:
    kept = ChannelGroup(tuple(range(count)), ("a",)).kept_count(ratio, multiple)
    assert 1 <= kept <= count
    assert kept % multiple == 0 or kept == count


def test_global_scope_takes_more_from_the_flatter_groups() -> None:
    groups = (ChannelGroup((0, 1, 2, 3), ("a",)), ChannelGroup((4, 5, 6, 7), ("b",)))
    scores = {0: 1.0, 1: 1.0, 2: 1.0, 3: 1.0, 4: 0.1, 5: 0.1, 6: 0.1, 7: 8.0}
    options = ChannelPruneOptions(ratio=0.5, multiple_of=1, scope="global")
    assert choose_channels(groups, scores, options) == {4, 5, 6}
    per_group = options.model_copy(update={"scope": "per-group"})
    assert choose_channels(groups, scores, per_group) == {0, 1, 4, 5}


def test_what_an_unknown_operator_reads_stays_whole(tmp_path: Path) -> None:
    net = Network(0, 1, 6, 6)
    opaque = net.node("DepthToSpace", net.conv("x", 16), blocksize=2, width=4)
    with pytest.raises(TechniqueError, match=r"DepthToSpace depthtospace_1 needs it whole"):
        pruned(net.model(net.conv(opaque, 8)), tmp_path)


def test_a_weight_that_is_also_read_whole_keeps_its_channels() -> None:
    net = Network(0, 12)
    scores = net.gemm(net.node("Relu", net.gemm("x", 16)), 3)
    largest = net.node("ReduceMax", "gemm0.w", axes=[0, 1], keepdims=0, width=1)
    frozen = {
        group.layers: group.frozen for group in map_channels(net.model(scores, largest)).groups
    }
    assert frozen["gemm_0",] == "gemm0.w is shared with a layer that needs it whole"


def test_a_layer_that_cannot_be_followed_keeps_what_it_makes() -> None:
    net = Network(0, 3, 6, 6)
    bias = net.node("Identity", net.weight("b", 16), width=16)
    made = net.node("Conv", "x", net.weight("w", 16, 3, 3, 3), bias, width=16)
    groups = map_channels(net.model(net.conv(made, 4))).groups
    assert all(group.frozen for group in groups)


def test_a_shape_that_two_reshapes_share_is_given_to_each(tmp_path: Path) -> None:
    net = Network(0, 2, 4, 4)
    shape = net.store("shape", np.array([-1, 16 * 16]))
    flats = [net.node("Reshape", net.conv("x", 16), shape, width=256) for _ in range(2)]
    model = net.model(net.node("Add", *(net.gemm(flat, 3) for flat in flats)))
    small = pruned(pruned(model, tmp_path, ratio=0.25, multiple_of=4), tmp_path, multiple_of=2)
    shapes = [
        numpy_helper.to_array(tensor).tolist()
        for tensor in small.graph.initializer
        if "shape" in tensor.name
    ]
    assert shapes == [[-1, 6 * 16]] * 2


def test_pruning_twice_prunes_further(tmp_path: Path) -> None:
    once = pruned(residual_network(width=32), tmp_path)
    twice = pruned(once, tmp_path)
    assert [shape_of(model, "conv0.w")[0] for model in (once, twice)] == [16, 8]


def test_a_model_without_layers_is_refused(tmp_path: Path) -> None:
    model = onnx.load(save_elementwise(tmp_path / "m.onnx"))
    with pytest.raises(TechniqueError, match="this model has none"):
        pruned(model, tmp_path)


def test_narrow_models_say_what_would_help(tmp_path: Path) -> None:
    with pytest.raises(TechniqueError, match="Lower `multiple_of`"):
        pruned(residual_network(width=4), tmp_path, multiple_of=16)


def test_findings_are_left_for_the_report(tmp_path: Path) -> None:
    model, findings = dense_network(), Findings()
    context = Context(feeds_of(model, 20), tmp_path, findings=findings)
    build(model, [RecipeStep(technique="channel-prune")], context)
    assert findings.notes[0] == "24 of 60 channels were removed."
    assert findings.notes[1].endswith("of 2 layers were fitted to the remaining channels.")
