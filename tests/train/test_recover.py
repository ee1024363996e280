"""Recovery on small models: better than before, within what earlier steps made of the model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from fitment_compress.errors import TechniqueError
from fitment_compress.graph import replace_initializer, weight_initializers
from fitment_compress.techniques.base import Context
from fitment_compress.techniques.recover import RecoverOptions
from fitment_compress.training.learn import fresh, learn
from fitment_runtime.catalog import find_runtime
from fitment_runtime.dataset import Dataset
from support.compress_models import load, random
from support.runtime_models import constant, save, save_conv_classifier, save_gru, save_mlp
from support.train_models import agreement, balanced, images, run, save_separable, stored, taught

torch = pytest.importorskip("torch", reason="needs PyTorch: make test-train")
pytestmark = pytest.mark.train
torch.set_num_threads(1)

from fitment_compress.training.augment import augment, blend  # noqa: E402
from fitment_compress.training.network import Network  # noqa: E402
from fitment_compress.training.norm import fold_norms, give_biases, insert_norms  # noqa: E402
from fitment_compress.training.objective import (  # noqa: E402
    Objective,
    distillation_loss,
    soft_labels,
)
from fitment_compress.training.verify import refuse_difference  # noqa: E402

PRUNE = ("magnitude-prune", {"sparsity": 0.8, "refit": False})
QUICK: dict[str, Any] = {"epochs": 12, "batch": 32, "rate": 0.01}
TESTED = images(400, seed=99)


def balanced_classifier(path: Path) -> Path:
    return balanced(save_conv_classifier(path))


def recover(**options: Any) -> tuple[str, dict[str, Any]]:
    return "recover", {**QUICK, **options}


@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_pruned_model_recovers_without_labels_and_stays_as_sparse(
    tmp_path: Path, batch_norm: bool
) -> None:
    source = save_separable(tmp_path / "m.onnx")
    pruned = taught(source, source, images(256), [PRUNE], tmp_path)
    better = taught(pruned, source, images(256), [recover(batch_norm=batch_norm)], tmp_path)
    assert agreement(better, source, TESTED) > agreement(pruned, source, TESTED) + 0.05
    before, after = weight_initializers(pruned), weight_initializers(better)
    assert list(before) == list(after)
    for name, values in before.items():
        np.testing.assert_array_equal(after[name] == 0, values == 0)
        assert not np.array_equal(after[name], values)


def test_equal_seeds_learn_equal_weights(tmp_path: Path) -> None:
    source = save_separable(tmp_path / "m.onnx")
    lesson = recover(epochs=1, augment=("flip", "shift", "mix"))

    def learnt(seed: int) -> bytes:
        model = taught(source, source, images(64), [PRUNE, lesson], tmp_path, seed)
        return bytes(model.SerializeToString(deterministic=True))

    assert learnt(1) == learnt(1)
    assert learnt(1) != learnt(2)


def test_labels_count_as_much_as_they_are_given(tmp_path: Path) -> None:
    source = balanced_classifier(tmp_path / "m.onnx")
    opposite = (run(load(source), images(256))[0].argmax(1) + 1) % 4
    samples = images(256, label=opposite)

    def agrees(weight: float) -> float:
        lesson = recover(label_weight=weight, epochs=20)
        return agreement(taught(source, source, samples, [lesson], tmp_path), source, images(256))

    assert agrees(0.0) > 0.95
    assert agrees(1.0) < 0.5


def test_a_codebook_keeps_its_codes_while_its_entries_learn(tmp_path: Path) -> None:
    source = save_separable(tmp_path / "m.onnx")
    model = load(source)
    for name, values in weight_initializers(model).items():
        entries = np.linspace(-1, 1, 11, dtype=np.float32) * abs(values).max()
        nearest = abs(values[..., None] - entries).argmin(axis=-1)
        replace_initializer(model, name, entries[nearest])
    better = taught(model, source, images(256), [recover()], tmp_path)
    assert agreement(better, source, TESTED) > agreement(model, source, TESTED)
    changed = 0
    for name, values in weight_initializers(model).items():
        learnt = weight_initializers(better)[name]
        for entry in np.unique(values):
            (own,) = np.unique(learnt[values == entry])  # one value still stands for one code
            assert (own == 0) == (entry == 0)
            changed += own != entry
    assert changed


@pytest.mark.parametrize("per_channel", [True, False])
def test_training_through_quantisation_keeps_scales_types_and_integer_kernels(
    tmp_path: Path, per_channel: bool
) -> None:
    source = save_separable(tmp_path / "m.onnx")
    steps = [("magnitude-prune", {"sparsity": 0.6}), ("int8-static", {"per_channel": per_channel})]
    quantised = taught(source, source, images(256), steps, tmp_path)
    better = taught(quantised, source, images(256), [recover(rate=0.002)], tmp_path)
    assert agreement(better, source, TESTED) > agreement(quantised, source, TESTED)
    assert [n.op_type for n in better.graph.node] == [n.op_type for n in quantised.graph.node]
    before, after = stored(quantised), stored(better)
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert {"k3_quantized", "b_quantized"} <= moved
    assert not any("scale" in name or "zero_point" in name for name in moved)
    assert all(before[name].dtype == after[name].dtype for name in before)
    np.testing.assert_array_equal(after["k3_quantized"] == 0, before["k3_quantized"] == 0)
    kernels = []
    for model in (quantised, better):
        onnx.save(model, tmp_path / "made.onnx")
        feeds = {"image": random(0, 1, 1, 8, 8)}
        kernels.append(find_runtime("onnxruntime").kernels(tmp_path / "made.onnx", feeds))
    assert kernels[0] == kernels[1]
    assert kernels[1].integer_convolutions


def test_normalisation_put_in_and_folded_changes_nothing(tmp_path: Path) -> None:
    model = load(save_separable(tmp_path / "m.onnx"))
    feeds = {"image": torch.from_numpy(random(3, 64, 1, 8, 8))}
    give_biases(model)
    network = Network(model)
    with torch.no_grad():
        plain = network.eval()(feeds)["logits"]
        insert_norms(network, model, feeds)
        assert len(network.norms) == 3
        torch.testing.assert_close(network.eval()(feeds)["logits"], plain, rtol=1e-4, atol=1e-4)
        network.train()(feeds)
        normal = network.eval()(feeds)["logits"]
        fold_norms(network, model)
    assert not network.norms
    network.write(model)
    refuse_difference(model, network, feeds)
    torch.testing.assert_close(network(feeds)["logits"], normal, rtol=1e-4, atol=1e-4)


def test_a_file_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    model = load(balanced_classifier(tmp_path / "m.onnx"))
    network = Network(model)
    replace_initializer(model, "b", stored(model)["b"] * 2)
    with pytest.raises(TechniqueError, match="does not compute what was trained: logits"):
        refuse_difference(model, network, {"image": torch.from_numpy(random(3, 4, 1, 8, 8))})


def test_models_that_are_no_classifiers_learn_by_squared_error(tmp_path: Path) -> None:
    source = save_mlp(tmp_path / "m.onnx")
    x = random(1, 256, 8)
    samples = Dataset({"x": x}, random(2, 256, 3), None)  # numbers to predict, no classes
    worn = load(source)
    for name, values in weight_initializers(worn).items():
        replace_initializer(worn, name, values * (1 + random(3, *values.shape) / 3))
    better = taught(worn, source, samples, [recover()], tmp_path)
    exact = run(load(source), samples)[0]
    errors = [((run(m, samples)[0] - exact) ** 2).mean() for m in (worn, better)]
    assert errors[1] < 0.1 * errors[0]


def test_models_that_give_probabilities_learn(tmp_path: Path) -> None:
    model = load(balanced_classifier(tmp_path / "m.onnx"))
    model.graph.node[-1].output[0] = "scores"
    model.graph.node.append(helper.make_node("Softmax", ["scores"], ["logits"], axis=-1))
    onnx.save(model, tmp_path / "m.onnx")
    pruned = taught(model, tmp_path / "m.onnx", images(256), [PRUNE], tmp_path)
    better = taught(pruned, tmp_path / "m.onnx", images(256), [recover()], tmp_path)
    assert agreement(better, tmp_path / "m.onnx", TESTED) > agreement(
        pruned, tmp_path / "m.onnx", TESTED
    )


def test_students_start_from_random_weights_and_match_features(tmp_path: Path) -> None:
    source = balanced_classifier(tmp_path / "m.onnx")
    student = fresh(load(source), 3)
    again = fresh(load(source), 3)
    assert student == again != fresh(load(source), 4)
    assert not stored(student)["b"].any()
    lesson = recover(feature_weight=1.0, epochs=20)
    better = taught(student, source, images(256), [lesson], tmp_path)
    assert agreement(better, source, TESTED) > agreement(student, source, TESTED) + 0.2


def test_progress_is_told_to_the_end(tmp_path: Path) -> None:
    source = balanced_classifier(tmp_path / "m.onnx")
    told: list[tuple[float, str]] = []
    lesson = recover(epochs=1.5)
    taught(source, source, images(64), [lesson], tmp_path, tell=lambda *what: told.append(what))
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert told[0][1].startswith("epoch 1/2 loss ")
    assert told[-1][1].startswith("epoch 2/2 loss ")


def test_what_cannot_be_learnt_says_why(tmp_path: Path) -> None:
    source = balanced_classifier(tmp_path / "m.onnx")
    lesson = RecoverOptions(**QUICK)
    with pytest.raises(TechniqueError, match="nothing to learn from"):
        learn(load(source), lesson, Context([], tmp_path, source, None))
    with pytest.raises(TechniqueError, match="nothing to learn from"):
        learn(load(source), lesson, Context([], tmp_path, None, images(8)))
    bare = save(
        tmp_path / "bare.onnx",
        [helper.make_node("Tanh", ["image"], ["y"])],
        [("image", "float32", ["n", 1, 8, 8])],
        [("y", "float32", ["n", 1, 8, 8])],
    )
    with pytest.raises(TechniqueError, match="stores no numbers that could learn"):
        learn(load(bare), lesson, Context([], tmp_path, bare, images(8)))
    matching = lesson.model_copy(update={"feature_weight": 1.0})
    with pytest.raises(TechniqueError, match="no layers whose features"):
        learn(load(bare), matching, Context([], tmp_path, bare, images(8)))
    gru = save_gru(tmp_path / "gru.onnx")
    with pytest.raises(TechniqueError, match="GRU"):
        learn(load(gru), lesson, Context([], tmp_path, gru, images(8)))


def test_models_without_a_batch_axis_are_refused(tmp_path: Path) -> None:
    mixing = save(
        tmp_path / "mixing.onnx",
        [
            helper.make_node("Reshape", ["image", "to"], ["flat"]),
            helper.make_node("Gemm", ["flat", "w"], ["y"]),
        ],
        [("image", "float32", [1, 1, 8, 8])],
        [("y", "float32", [1, 3])],
        [constant("w", random(0, 64, 3)), constant("to", np.array([1, 64]))],
    )
    lesson = RecoverOptions(**QUICK)
    with pytest.raises(TechniqueError, match=r"takes no batches.*free batch axis"):
        learn(load(mixing), lesson, Context([], tmp_path, mixing, images(8)))
    averaging = save(
        tmp_path / "averaging.onnx",
        [
            helper.make_node("ReduceMean", ["image"], ["m"], axes=[0]),
            helper.make_node("Mul", ["image", "w"], ["h"]),
            helper.make_node("Sub", ["h", "m"], ["y"]),
        ],
        [("image", "float32", ["n", 1, 8, 8])],
        [("y", "float32", ["n", 1, 8, 8])],
        [constant("w", random(0, 8, 8))],
    )
    with pytest.raises(TechniqueError, match="something else for a batch"):
        learn(load(averaging), lesson, Context([], tmp_path, averaging, images(8)))
    whole = Dataset({"x": random(0, 4, 2, 8)}, None, None, frozenset({"x"}))
    mlp = save_mlp(tmp_path / "mlp.onnx", batch=2)
    with pytest.raises(TechniqueError, match="needs a batch axis; x has none"):
        learn(load(mlp), lesson, Context([], tmp_path, mlp, whole))


def test_a_loss_that_is_no_number_ends_the_lesson(tmp_path: Path) -> None:
    mlp = save_mlp(tmp_path / "mlp.onnx")
    huge = Dataset({"x": random(0, 64, 8) * np.float32(1e30)}, random(1, 64), None)
    with pytest.raises(TechniqueError, match=r"loss became infinite at a rate of 0\.01"):
        learn(load(mlp), RecoverOptions(**QUICK), Context([], tmp_path, mlp, huge))


def test_without_pytorch_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = balanced_classifier(tmp_path / "m.onnx")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(TechniqueError, match=r"needs PyTorch\. .*pip install 'fitment\[train\]'"):
        learn(load(source), RecoverOptions(), Context([], tmp_path, source, images(8)))


@settings(max_examples=40, deadline=None)
@given(
    temperature=st.floats(0.05, 50.0),
    logits=st.lists(st.integers(-20, 20), min_size=2, max_size=6, unique=True),
)
def test_soft_labels_sum_to_one_and_sharpen(temperature: float, logits: list[int]) -> None:
    scores = torch.tensor([logits], dtype=torch.float64)
    soft = soft_labels(scores, temperature)
    assert float(soft.sum()) == pytest.approx(1.0)
    assert float(soft_labels(scores, temperature / 2).max()) >= float(soft.max()) - 1e-12
    hard = soft_labels(scores, 0.02)
    assert float(hard.max()) == pytest.approx(1.0)
    assert int(hard.argmax()) == int(np.argmax(logits))
    assert float(distillation_loss(scores, scores, temperature)) == pytest.approx(0.0, abs=1e-9)


def divergence(truth: Any, guess: Any) -> float:
    """Kullback-Leibler, of the first row."""
    return float((truth * np.log(truth / guess)).sum(axis=1)[0])


def test_scores_are_compared_softened_and_probabilities_as_they_are() -> None:
    scores = np.array([[2.0, -1.0, 0.5]]), np.array([[0.5, 1.0, -2.0]])
    soft = [np.exp(s / 3) / np.exp(s / 3).sum() for s in scores]
    ours = distillation_loss(torch.from_numpy(scores[1]), torch.from_numpy(scores[0]), 3.0)
    assert float(ours) == pytest.approx(9 * divergence(*soft))
    lesson = RecoverOptions(temperature=1.0, label_weight=0.25)
    objective = Objective(lesson, "p", True, {})
    teacher, student = ({"p": torch.from_numpy(s)} for s in soft)
    assert float(objective(student, teacher, None)) == pytest.approx(divergence(*soft))
    label = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64)
    mixed = 0.75 * divergence(*soft) - 0.25 * np.log(soft[1][0, 1])
    assert float(objective(student, teacher, label)) == pytest.approx(mixed)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), height=st.integers(4, 30), width=st.integers(4, 30))
def test_images_are_moved_and_mirrored_and_nothing_else(seed: int, height: int, width: int) -> None:
    image = torch.arange(1, 2 * height * width + 1).reshape(1, 2, height, width).float()
    batch = image.repeat(8, 1, 1, 1)
    moved = augment(batch, ("flip", "shift"), torch.Generator().manual_seed(seed))
    assert moved.shape == batch.shape
    reach = (max(1, round(height / 14)), max(1, round(width / 14)))
    for picture in moved:
        kept = picture[picture > 0]
        assert kept.unique().numel() == kept.numel()  # every pixel at most once
        least = 2 * (height - reach[0]) * (width - reach[1])
        assert least <= kept.numel() <= 2 * height * width
    assert torch.equal(augment(batch, (), torch.Generator()), batch)


def test_blending_mixes_pairs_by_their_shares() -> None:
    values = torch.tensor([[0.0], [1.0], [10.0]])
    mixed = blend(values, torch.tensor([2, 1, 0]), torch.tensor([0.5, 0.3, 1.0]))
    assert mixed.tolist() == [[5.0], [1.0], [10.0]]
