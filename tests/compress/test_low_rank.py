"""Layers as products of two thin ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitment_compress.errors import TechniqueError
from fitment_compress.graph import constants, count_parameters, replace_initializer
from fitment_compress.macs import count_macs
from fitment_compress.pipeline import build
from fitment_compress.structure.factors import Spectrum, response_spectra, split, weight_spectrum
from fitment_compress.structure.graphs import copy_of
from fitment_compress.structure.refit import layers_of
from fitment_compress.techniques.base import Context
from fitment_compress.techniques.low_rank import LowRankOptions, choose_rank
from fitment_contract.variant import RecipeStep
from support.compress_models import save_elementwise
from support.structure_models import Network, dense_network, feeds_of, run


def factored(model: onnx.ModelProto, folder: Path, **options: Any) -> onnx.ModelProto:
    """A copy after low-rank, calibrated with random samples."""
    step = RecipeStep(technique="low-rank", options=options)
    made = build(copy_of(model), [step], Context(feeds_of(model, 40), folder)).model
    onnx.checker.check_model(made, full_check=True)
    return made


def thin_weight(seed: int, rank: int, *shape: int) -> np.ndarray[Any, Any]:
    """A (outputs, ...) weight whose matrix has a low rank."""
    generator = np.random.default_rng(seed)
    features = int(np.prod(shape[1:]))
    product = generator.normal(size=(shape[0], rank)) @ generator.normal(size=(rank, features))
    return (product / np.sqrt(features * rank)).reshape(shape).astype(np.float32)


def thin_convolution(rank: int = 3) -> onnx.ModelProto:
    net = Network(0, 6, 9, 9)
    model = net.model(net.conv("x", 20, strides=[2, 2], dilations=[2, 1]))
    replace_initializer(model, "conv0.w", thin_weight(1, rank, 20, 6, 3, 3))
    return model


def thin_dense(rank: int = 3) -> onnx.ModelProto:
    model = dense_network(features=40)
    replace_initializer(model, "gemm0.w", thin_weight(1, rank, 40, 32))
    replace_initializer(model, "m", thin_weight(2, rank, 32, 24))
    return model


@pytest.mark.parametrize("basis", ["responses", "weights"])
@pytest.mark.parametrize("made", [thin_convolution, thin_dense])
def test_what_has_a_low_rank_is_found_and_kept_exactly(
    tmp_path: Path, made: Any, basis: str
) -> None:
    model = made()
    small = factored(model, tmp_path, keep=0.99999, basis=basis, multiple_of=1, refit=False)
    feeds = feeds_of(model, 4, seed=3)
    np.testing.assert_allclose(run(small, feeds), run(model, feeds), rtol=1e-3, atol=1e-2)
    assert (count_macs(small) or 0) < 0.6 * (count_macs(model) or 0)
    assert count_parameters(small) < count_parameters(model)


def test_a_convolution_becomes_a_thin_one_and_a_pointwise_one(tmp_path: Path) -> None:
    small = factored(thin_convolution(), tmp_path, multiple_of=1, basis="weights", keep=0.999)
    shapes = [constants(small)[node.input[1]].shape for node in small.graph.node]
    assert shapes == [(3, 6, 3, 3), (20, 3, 1, 1)]
    assert [len(node.input) for node in small.graph.node] == [2, 3]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), rank=st.integers(1, 8))
def test_truncating_the_spectrum_of_weights_is_the_best_approximation(seed: int, rank: int) -> None:
    net = Network(seed, 12)
    model = net.model(net.gemm("x", 9))
    weight = constants(model)["gemm0.w"].astype(np.float64)
    (layer,) = layers_of(model)
    split(model, layer, weight_spectrum(model, layer), rank)
    stored = constants(model)
    product = stored[model.graph.node[0].input[1]] @ stored[model.graph.node[1].input[1]]
    best = np.sqrt(np.square(np.linalg.svd(weight, compute_uv=False)[rank:]).sum())
    assert np.linalg.norm(weight - product) == pytest.approx(best, rel=1e-4)


def test_responses_keep_more_than_weights_where_inputs_are_correlated() -> None:
    net = Network(0, 16)
    model = net.model(net.gemm("x", 16))
    mixing = np.random.default_rng(1).normal(size=(4, 16)).astype(np.float32)
    feeds = [{"x": feed["x"][:, :4] @ mixing + 1} for feed in feeds_of(model, 60)]
    expected = run(model, feeds)

    def error(spectrum: Spectrum) -> float:
        small = copy_of(model)
        split(small, layers_of(small)[0], spectrum, 4)
        return float(abs(run(small, feeds) - expected).max())

    (by_responses,) = response_spectra(model, layers_of(model), feeds)
    assert error(by_responses) < 1e-4
    assert error(weight_spectrum(model, layers_of(model)[0])) > 0.1


@given(
    features=st.integers(1, 400),
    outputs=st.integers(1, 300),
    keep=st.floats(0.01, 0.99),
    by=st.sampled_from(["energy", "macs"]),
    decay=st.floats(0.1, 1.0),
)
def test_a_chosen_rank_always_multiplies_less(
    features: int, outputs: int, keep: float, by: str, decay: float
) -> None:
    energies = decay ** np.arange(outputs, dtype=np.float64)
    options = LowRankOptions.model_validate({"keep": keep, "by": by})
    rank = choose_rank(features, outputs, Spectrum(np.eye(outputs), energies), options)
    if rank is not None:
        assert rank % options.multiple_of == 0
        assert rank * (features + outputs) < 0.76 * features * outputs
        if by == "macs":
            assert rank * (features + outputs) <= keep * features * outputs


def test_rank_for_energy_counts_directions() -> None:
    spectrum = Spectrum(np.eye(4), np.array([6.0, 3.0, 1.0, 0.0]))
    assert [spectrum.rank_for(share) for share in (0.5, 0.6, 0.7, 0.9, 0.95)] == [1, 1, 2, 2, 3]


def test_fitting_the_second_factor_brings_outputs_nearer(tmp_path: Path) -> None:
    model = dense_network(features=40)
    feeds = feeds_of(model, 60, seed=5)
    bare, fitted = (
        factored(model, tmp_path, keep=0.5, by="macs", basis="weights", refit=refit)
        for refit in (False, True)
    )
    errors = [np.square(run(made, feeds) - run(model, feeds)).mean() for made in (bare, fitted)]
    assert errors[1] < 0.95 * errors[0]


def test_factors_can_be_factored_again(tmp_path: Path) -> None:
    model = dense_network(features=64)
    once = factored(model, tmp_path, keep=0.7, by="macs")
    twice = factored(once, tmp_path, keep=0.7, by="macs", multiple_of=1)
    assert (count_macs(twice) or 0) < (count_macs(once) or 0)
    assert run(twice, feeds_of(model, 2)).shape == (2, 4)


def test_layers_that_would_not_gain_are_left_alone(tmp_path: Path) -> None:
    net = Network(0, 4)
    with pytest.raises(TechniqueError, match="Lower `keep`"):
        factored(net.model(net.gemm("x", 4)), tmp_path)


def test_a_model_without_matrices_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TechniqueError, match="this model has none"):
        factored(onnx.load(save_elementwise(tmp_path / "m.onnx")), tmp_path)


def test_responses_without_samples_say_so(tmp_path: Path) -> None:
    step = RecipeStep(technique="low-rank")
    with pytest.raises(TechniqueError, match="needs calibration samples"):
        build(dense_network(), [step], Context([], tmp_path))
