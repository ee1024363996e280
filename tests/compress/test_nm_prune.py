"""N of every M weights along the inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydantic import ValidationError

from fitment_compress.errors import TechniqueError
from fitment_compress.graph import constants, count_parameters, weight_initializers
from fitment_compress.macs import count_macs, count_nonzero_macs
from fitment_compress.pipeline import Candidate, build
from fitment_compress.structure.graphs import copy_of
from fitment_compress.techniques.base import Context
from fitment_compress.techniques.nm_prune import NMPruneOptions, pattern
from fitment_contract.variant import RecipeStep
from support.structure_models import Network, dense_network, feeds_of, residual_network, run


def pruned(model: onnx.ModelProto, folder: Path, **options: Any) -> Candidate:
    step = RecipeStep(technique="nm-prune", options=options)
    return build(copy_of(model), [step], Context(feeds_of(model, 50), folder))


@given(
    weight=arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 4).map(lambda count: 4 * count)),
        elements=st.floats(-8, 8, width=32),
    ),
    n=st.integers(1, 3),
)
def test_every_group_keeps_its_largest(weight: np.ndarray[Any, Any], n: int) -> None:
    kept = pattern(weight, 1, n, 4)
    groups, flags = abs(weight).reshape(-1, 4), kept.reshape(-1, 4)
    assert (flags.sum(axis=1) == n).all()
    least = np.where(flags, groups, np.inf).min(axis=1)
    assert (np.where(flags, 0, groups).max(axis=1) <= least).all()


def test_groups_run_along_the_input_channels_of_convolutions(tmp_path: Path) -> None:
    model = residual_network()
    made = constants(pruned(model, tmp_path).model)
    layers = [
        node.input[1]
        for node in model.graph.node
        if node.op_type == "Conv" and constants(model)[node.input[1]].shape[1] % 4 == 0
    ]
    assert layers
    for name in layers:
        by_group = np.moveaxis(made[name], 1, -1).reshape(-1, 4)
        assert ((by_group != 0).sum(axis=1) == 2).all()


def test_groups_run_along_the_rows_of_dense_layers(tmp_path: Path) -> None:
    made = constants(pruned(dense_network(), tmp_path, n=1).model)
    for name in ("gemm0.w", "m"):
        by_group = made[name].T.reshape(-1, 4)
        assert ((by_group != 0).sum(axis=1) == 1).all()


def test_only_the_count_of_multiplications_that_remain_shrinks(tmp_path: Path) -> None:
    model = dense_network()
    candidate = pruned(model, tmp_path)
    assert count_parameters(candidate.model) == count_parameters(model)
    assert count_macs(candidate.model) == count_macs(model)
    assert (count_nonzero_macs(candidate.model) or 0) * 2 == count_macs(model)
    assert candidate.traits == ("pruned", "n2m4")
    assert run(candidate.model, feeds_of(model, 2)).shape == (2, 4)


def test_transposed_weights_are_read_the_right_way_round(tmp_path: Path) -> None:
    net = Network(0, 8)
    output = net.node("Gemm", "x", net.weight("w", 6, 8), width=6, transB=1)
    made = constants(pruned(net.model(output), tmp_path).model)["w"]
    assert ((made.reshape(-1, 4) != 0).sum(axis=1) == 2).all()


def test_layers_without_groups_stay_dense(tmp_path: Path) -> None:
    net = Network(0, 3, 8, 8)
    with pytest.raises(TechniqueError, match="inputs in groups of 4"):
        pruned(net.model(net.conv(net.conv("x", 6), 6, group=6)), tmp_path)


def test_keeping_all_of_a_group_is_no_pattern() -> None:
    with pytest.raises(ValidationError, match="less than m"):
        NMPruneOptions(n=4, m=4)


def test_fitting_keeps_the_pattern_and_brings_outputs_nearer(tmp_path: Path) -> None:
    model = residual_network()
    unseen = feeds_of(model, 40, seed=3)
    made = [pruned(model, tmp_path, refit=refit).model for refit in (True, False)]
    errors = [np.square(run(each, unseen) - run(model, unseen)).mean() for each in made]
    assert errors[0] < 0.8 * errors[1]
    assert count_nonzero_macs(made[0]) == count_nonzero_macs(made[1])


def test_zeroes_have_one_sign(tmp_path: Path) -> None:
    """Both signs made the transfer of one small network 7 % larger."""
    for values in weight_initializers(pruned(residual_network(), tmp_path).model).values():
        assert not np.signbit(values[values == 0]).any()
